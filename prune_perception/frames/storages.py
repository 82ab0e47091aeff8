# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Bag files as streams of serialised messages.

Two libraries share the work. ``rosbags`` reads whole bags of every kind by their index.
``mcap`` reads an MCAP from front to back without an index: that is for a file which was cut when
the recorder died, and for MCAPs that were not written by a ROS 2 recorder.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mcap.records import Channel as McapChannel
from mcap.records import Message as McapMessage
from mcap.records import Schema as McapSchema
from mcap.stream_reader import StreamReader
from rosbags.interfaces import Connection, MessageDefinitionFormat
import rosbags.rosbag1
import rosbags.rosbag2

from prune_perception.frames.errors import RecordingError
from prune_perception.frames.folders import natural_order


@dataclass(frozen=True, slots=True)
class Channel:
    """A topic of a bag, as one publisher or one file declares it."""

    topic: str
    type: str
    """For example ``sensor_msgs/msg/Image``."""
    serialization: str
    """``cdr`` or ``ros1``."""
    definition: str
    """Text of the message definition, or empty if the bag has none."""
    definition_format: str
    """``msg``, ``idl`` or empty."""
    count: int
    """Number of messages."""


@dataclass(frozen=True, slots=True)
class Serialized:
    """A message as it lies in the bag."""

    channel: Channel
    time_ns: int
    """When the recorder received it, ns."""
    data: bytes


class Storage(Protocol):
    """One bag or one file of it."""

    channels: tuple[Channel, ...]

    def messages(self, topic: str) -> Iterator[Serialized]:
        """Yield the messages of a topic, from the first; any exception means damage."""

    def close(self) -> None:
        """Close files."""


def open_storages(path: Path) -> tuple[list[Storage], list[str]]:
    """
    Open a bag.

    :returns: the storages, to be read one after the other, and warnings of one line each.
    :raises RecordingError: it cannot be read at all.
    """
    try:
        return [_IndexedStorage(path)], []
    except PermissionError:
        raise RecordingError(f'{path}: no permission to read it') from None
    except Exception as error:  # see reason()
        why = reason(error)

    if path.is_dir():
        files = _storage_files(path)
        if (path / 'metadata.yaml').exists():
            problem = f'{path}: {why}'
        else:
            problem = f'{path}: metadata.yaml is missing'
        remedy = 'read file by file; `ros2 bag reindex` restores it'
    else:
        files = [path] if path.suffix == '.mcap' else []
        problem, remedy = f'{path}: {why}', 'read without its index'
    if not files:
        advice = ' (`rosbag reindex` may mend it)' if path.suffix == '.bag' else ''
        raise RecordingError(f'{problem}; nothing in it can be read{advice}')

    storages: list[Storage] = []
    warnings = [f'{problem}; {remedy}']
    try:
        for file in files:
            storages.append(_open_file(file, warnings))
    except BaseException:
        for storage in storages:
            storage.close()
        raise
    return storages, warnings


def reason(error: BaseException) -> str:
    """
    Say in one line what a library ran into.

    On damaged files the libraries raise whatever their parsers happen to meet (``struct.error``,
    ``KeyError``, ``AssertionError``, ``TypeError``), so callers catch every ``Exception``.
    """
    text = ' '.join(str(error).split()).rstrip('.')
    kind = type(error).__name__
    if isinstance(error, rosbags.rosbag1.ReaderError | rosbags.rosbag2.ReaderError) and text:
        return text[0].lower() + text[1:]
    if type(error) is LookupError:  # this project's own, a sentence already
        return text
    return f'{kind}: {text}' if text else kind


def _storage_files(folder: Path) -> list[Path]:
    files = [entry for entry in folder.iterdir() if entry.suffix in ('.mcap', '.db3')]
    return sorted(files, key=lambda entry: natural_order(entry.name))


def _open_file(file: Path, warnings: list[str]) -> Storage:
    try:
        return _IndexedStorage(file)
    except Exception as error:  # see reason()
        if file.suffix != '.mcap':
            raise RecordingError(f'{file}: {reason(error)}') from error
        storage = _SequentialStorage(file)
        if storage.damage:
            warnings.append(f'{file}: {storage.damage}')
        return storage


class _IndexedStorage:
    """A bag read by ``rosbags``: rosbag2 folders and files, ROS 1 bags, compressed or not."""

    def __init__(self, path: Path) -> None:
        self._reader: rosbags.rosbag1.Reader | rosbags.rosbag2.Reader
        self._serialization = 'cdr'
        if path.suffix == '.bag' and not path.is_dir():
            self._reader = rosbags.rosbag1.Reader(path)
            self._serialization = 'ros1'
        else:
            self._reader = rosbags.rosbag2.Reader(path)
        self._reader.open()
        self.channels = tuple(self._channel(c) for c in self._reader.connections)

    def _channel(self, connection: Connection) -> Channel:
        formats = {MessageDefinitionFormat.MSG: 'msg', MessageDefinitionFormat.IDL: 'idl'}
        return Channel(
            topic=connection.topic,
            type=connection.msgtype,
            serialization=self._serialization,
            definition=connection.msgdef.data,
            definition_format=formats.get(connection.msgdef.format, ''),
            count=connection.msgcount,
        )

    def messages(self, topic: str) -> Iterator[Serialized]:
        connections = [c for c in self._reader.connections if c.topic == topic]
        if not connections:
            return  # rosbags would take an empty list for all of them
        channels = {c.id: self._channel(c) for c in connections}
        for connection, time_ns, data in self._reader.messages(connections):
            yield Serialized(channels[connection.id], time_ns, data)

    def close(self) -> None:
        with suppress(rosbags.rosbag1.ReaderError, rosbags.rosbag2.ReaderError):  # closed already
            self._reader.close()


class _SequentialStorage:
    """
    An MCAP read by ``mcap`` from front to back, as far as it goes.

    The file is gone through once on opening, to learn its topics; messages come in the order of
    the file.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.damage = ''
        found: dict[int, Channel] = {}
        counts: dict[int, int] = {}
        try:
            for channel_id, channel, _ in self._records():
                found[channel_id] = channel
                counts[channel_id] = counts.get(channel_id, 0) + 1
        except Exception as error:  # see reason()
            total = sum(counts.values())
            if not total:
                raise RecordingError(
                    f'{file}: not a readable MCAP file ({reason(error)})'
                ) from error
            self.damage = f'cut or damaged after {total} messages ({reason(error)})'
        self.channels = tuple(
            Channel(c.topic, c.type, c.serialization, c.definition, c.definition_format, counts[i])
            for i, c in found.items()
        )

    def _records(self) -> Iterator[tuple[int, Channel, McapMessage]]:
        schemas: dict[int, McapSchema] = {}
        channels: dict[int, Channel] = {}
        # No record is longer than its file: a damaged length must not ask for gigabytes.
        limit = self._file.stat().st_size
        with self._file.open('rb') as stream:
            for record in StreamReader(stream, record_size_limit=limit).records:
                if isinstance(record, McapSchema):
                    schemas[record.id] = record
                elif isinstance(record, McapChannel) and record.id not in channels:
                    channels[record.id] = _mcap_channel(record, schemas.get(record.schema_id))
                elif isinstance(record, McapMessage):
                    yield record.channel_id, channels[record.channel_id], record

    def messages(self, topic: str) -> Iterator[Serialized]:
        for _, channel, message in self._records():
            if channel.topic == topic:
                yield Serialized(channel, message.log_time, message.data)

    def close(self) -> None:
        pass


def _mcap_channel(record: McapChannel, schema: McapSchema | None) -> Channel:
    formats = {'ros2msg': 'msg', 'ros1msg': 'msg', 'ros2idl': 'idl', 'omgidl': 'idl'}
    name = schema.name if schema else ''
    if name.count('/') == 1:  # ROS 1 names lack the middle part
        name = name.replace('/', '/msg/')
    return Channel(
        topic=record.topic,
        type=name,
        serialization=record.message_encoding,
        definition=schema.data.decode(errors='replace') if schema else '',
        definition_format=formats.get(schema.encoding, '') if schema else '',
        count=0,
    )
