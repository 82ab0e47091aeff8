# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""A bag as a recording: ROS 1 and ROS 2, raw and compressed image topics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rosbags.typesys import get_types_from_idl, get_types_from_msg, get_typestore, Stores

from prune_perception.frames.encodings import Array
from prune_perception.frames.errors import ImageError, RecordingError
from prune_perception.frames.recording import CompressedFrame, Frame, RawFrame, Recording
from prune_perception.frames.storages import Channel, open_storages, reason, Serialized

RAW_TYPE = 'sensor_msgs/msg/Image'
COMPRESSED_TYPE = 'sensor_msgs/msg/CompressedImage'
IMAGE_TYPES = (RAW_TYPE, COMPRESSED_TYPE)

# What a frame is made of; a definition without these is not that of ROS.
_NEEDED_FIELDS = {
    RAW_TYPE: {'header', 'height', 'width', 'encoding', 'is_bigendian', 'step', 'data'},
    COMPRESSED_TYPE: {'header', 'format', 'data'},
}

_IDL_RULE = '=' * 80 + '\n'


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic of a bag, with the number of messages in all files of it."""

    name: str
    type: str
    count: int


class BagRecording(Recording):
    """
    One image topic of a bag.

    Messages are read with the definitions that the bag carries, and only those of the topics that
    are asked for: an unknown type elsewhere in the bag does no harm. Bags without definitions
    (SQLite bags from before ROS 2 Iron) are read with those of ROS 2 Jazzy.
    """

    def __init__(self, path: Path, topic: str | None, *, max_pixels: int) -> None:
        """Open the bag and choose the topic; raise ``RecordingError`` if there is no choice."""
        self._storages, warnings = open_storages(path)
        self._deserializers: dict[Channel, Callable[[bytes], Any]] = {}
        self._max_pixels = max_pixels
        try:
            self.topics = self._list_topics()
            chosen = _choose(path, self.topics, topic)
            super().__init__(path, topic=chosen.name, count=chosen.count)
            self.transport = 'compressed' if chosen.type == COMPRESSED_TYPE else 'raw'
            self.warnings.extend(warnings)
            for storage in self._storages:
                for channel in storage.channels:
                    if channel.topic == chosen.name:
                        self._deserializer(channel)  # a bad definition is an error of the whole
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close files."""
        for storage in self._storages:
            storage.close()

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames of the image topic, in the order of recording."""
        assert self.topic is not None
        for index, serialized in enumerate(self._serialized(self.topic)):
            yield self._frame(index, serialized)

    def messages(self, topic: str) -> Iterator[tuple[int, Any]]:
        """
        Yield time of recording (ns) and message of any topic, with the fields of its type.

        :raises RecordingError: no such topic, or the bag cannot be read further.
        """
        if topic not in {t.name for t in self.topics}:
            raise RecordingError(
                f'{self.path}: there is no topic {topic!r}; topics: {_names(self.topics)}'
            )
        for index, serialized in enumerate(self._serialized(topic)):
            deserialize = self._deserializer(serialized.channel)
            try:
                message = deserialize(serialized.data)
            except Exception as error:  # see storages.reason()
                raise RecordingError(
                    f'{self.path}: {topic}: message {index + 1} is damaged ({reason(error)})'
                ) from error
            yield serialized.time_ns, message

    def _list_topics(self) -> tuple[Topic, ...]:
        counts: dict[tuple[str, str], int] = {}
        for storage in self._storages:
            for channel in storage.channels:
                key = (channel.topic, channel.type)
                counts[key] = counts.get(key, 0) + channel.count
        return tuple(Topic(name, kind, n) for (name, kind), n in sorted(counts.items()))

    def _serialized(self, topic: str) -> Iterator[Serialized]:
        position = 0
        for storage in self._storages:
            stream = storage.messages(topic)
            while True:
                try:
                    serialized = next(stream, None)
                except Exception as error:  # see storages.reason()
                    raise RecordingError(
                        f'{self.path}: {topic}: cannot be read after message {position} '
                        f'({reason(error)})'
                    ) from error
                if serialized is None:
                    break
                position += 1
                yield serialized

    def _deserializer(self, channel: Channel) -> Callable[[bytes], Any]:
        known = self._deserializers.get(channel)
        if known is None:
            try:
                known = _make_deserializer(channel)
            except Exception as error:  # see storages.reason()
                raise RecordingError(
                    f'{self.path}: {channel.topic}: the definition of {channel.type} cannot be '
                    f'used ({reason(error)})'
                ) from error
            self._deserializers[channel] = known
        return known

    def _frame(self, index: int, serialized: Serialized) -> Frame:
        stamp_ns: int | None = None
        message: CompressedFrame | RawFrame | None = None
        decode: Callable[[], Array]
        try:
            fields = self._deserializer(serialized.channel)(serialized.data)
            stamp_ns = fields.header.stamp.sec * 1_000_000_000 + fields.header.stamp.nanosec
            message = _to_frame_message(serialized.channel.type, fields)
            decode = partial(message.decode, self._max_pixels)
        except RecordingError:
            raise
        except Exception as error:  # see storages.reason()
            # One bad message does not end the bag; it is a frame whose image is an error.
            decode = partial(_raise, f'the message is damaged ({reason(error)})')
        return Frame(
            index=index,
            time_ns=serialized.time_ns,
            stamp_ns=stamp_ns,
            source=f'{self.path}: {self.topic}: image {index + 1}',
            name='',
            message=message,
            decode=decode,
        )


def _raise(text: str) -> Array:
    raise ImageError(text)


def _to_frame_message(kind: str, fields: Any) -> CompressedFrame | RawFrame:
    if kind == COMPRESSED_TYPE:
        return CompressedFrame(fields.format, fields.data, fields.header.frame_id)
    return RawFrame(
        encoding=fields.encoding,
        height=fields.height,
        width=fields.width,
        step=fields.step,
        is_bigendian=bool(fields.is_bigendian),
        data=fields.data,
        frame_id=fields.header.frame_id,
    )


def _choose(path: Path, topics: tuple[Topic, ...], wanted: str | None) -> Topic:
    images = tuple(t for t in topics if t.type in IMAGE_TYPES)
    if wanted is not None:
        for topic in topics:
            if topic.name != wanted:
                continue
            if topic.type not in IMAGE_TYPES:
                raise RecordingError(
                    f'{path}: topic {wanted!r} carries {topic.type or "an unknown type"}, not '
                    f'images; image topics: {_names(images)}'
                )
            if not topic.count:
                raise RecordingError(f'{path}: topic {wanted!r} has no messages')
            return topic
        raise RecordingError(
            f'{path}: there is no topic {wanted!r}; image topics: {_names(images)}'
        )
    # Recorders list what was advertised, published or not.
    full = tuple(t for t in images if t.count)
    if not full:
        empty = f' with messages (empty: {_names(images)})' if images else ''
        raise RecordingError(
            f'{path}: there is no image topic{empty}; topics: {_names(topics)}'
        )
    if len(full) > 1:
        raise RecordingError(
            f'{path}: there are {len(full)} image topics; choose one: {_names(full)}'
        )
    return full[0]


def _names(topics: tuple[Topic, ...]) -> str:
    return ', '.join(f'{t.name} ({t.count} of {t.type})' for t in topics) or 'none'


def _make_deserializer(channel: Channel) -> Callable[[bytes], Any]:
    """Return a function from a message's bytes to an object with its fields."""
    if channel.definition_format:
        store = get_typestore(Stores.EMPTY)
        if channel.definition_format == 'msg':
            store.register(get_types_from_msg(channel.definition, channel.type))
        elif channel.definition.startswith(f'{_IDL_RULE}IDL: '):
            # Several files in one text, each behind a rule and a line with its name.
            for part in channel.definition.split(_IDL_RULE)[1:]:
                store.register(get_types_from_idl(part.partition('\n')[2]))
        else:
            store.register(get_types_from_idl(channel.definition))
    else:
        store = get_typestore(Stores.ROS2_JAZZY)
    if channel.type not in store.fielddefs:
        raise LookupError('the bag does not define it')
    fields = {name for name, _ in store.fielddefs[channel.type][1]}
    if missing := _NEEDED_FIELDS.get(channel.type, set()) - fields:
        raise LookupError(f'it lacks {", ".join(sorted(missing))}')
    if channel.serialization == 'ros1':
        return lambda data: store.deserialize_ros1(data, channel.type)
    if channel.serialization == 'cdr':
        return lambda data: store.deserialize_cdr(data, channel.type)
    raise LookupError(f'its serialization {channel.serialization!r} is neither cdr nor ros1')
