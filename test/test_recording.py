# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Recordings of every kind give the same frames; broken ones say where they broke."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
import tracemalloc
from typing import Any

import cv2
from mcap.reader import make_reader
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter
import numpy as np
import pytest
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import get_types_from_msg, get_typestore, Stores

from prune_perception.frames.bags import BagRecording
from prune_perception.frames.recording import (
    CompressedFrame,
    ImageError,
    open_recording,
    RawFrame,
    RecordingError,
)

RAW, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
START_NS = 1_700_000_000_000_000_000
RECEIVED_LATER_NS = 5_000_000
PERIOD_NS = 100_000_000
ROS2 = get_typestore(Stores.ROS2_JAZZY)
ROS1 = get_typestore(Stores.ROS1_NOETIC)
DEMO = Path(__file__).parent.parent / 'demo' / 'pedestrians'
DEMO_FIRST_FRAME = 131


def picture(number: int, height: int = 24, width: int = 32) -> np.ndarray:
    """Return a picture in BGR that differs from every other number's."""
    return np.full((height, width, 3), (number, 2 * number + 1, 200 - number), np.uint8)


def stamp_ns(number: int) -> int:
    return START_NS + number * PERIOD_NS


def header(store: Any, number: int) -> Any:
    ns = stamp_ns(number)
    time = store.types['builtin_interfaces/msg/Time'](sec=ns // 10**9, nanosec=ns % 10**9)
    more = {'seq': number} if store is ROS1 else {}
    return store.types['std_msgs/msg/Header'](stamp=time, frame_id='camera', **more)


def image_message(store: Any, kind: str, number: int, **changes: Any) -> Any:
    """Return an Image (rgb8, padded) or a CompressedImage (PNG) with a picture."""
    if kind == COMPRESSED:
        data = cv2.imencode('.png', picture(number))[1].ravel()
        fields = {'format': 'bgr8; png compressed bgr8', 'data': data}
    else:
        rows = np.pad(picture(number)[..., ::-1].reshape(24, -1), ((0, 0), (0, 8)))
        fields = {
            'height': 24,
            'width': 32,
            'encoding': 'rgb8',
            'is_bigendian': 0,
            'step': 104,
            'data': rows.ravel(),
        }
    return store.types[kind](header=header(store, number), **(fields | changes))


def text_message(store: Any) -> Any:
    return store.types['std_msgs/msg/String'](data='hello')


Contents = list[tuple[str, str, int, bytes]]
"""Topic, type, time of recording in ns, serialised message."""


def contents(
    count: int = 5, kind: str = COMPRESSED, *, store: Any = ROS2, first: int = 0
) -> Contents:
    """Return images on /camera/image, with a text between each two."""
    serialize = store.serialize_ros1 if store is ROS1 else store.serialize_cdr
    rows: Contents = []
    for number in range(first, first + count):
        time_ns = stamp_ns(number) + RECEIVED_LATER_NS
        message = image_message(store, kind, number)
        rows.append(('/camera/image', kind, time_ns, bytes(serialize(message, kind))))
        text = bytes(serialize(text_message(store), 'std_msgs/msg/String'))
        rows.append(('/chatter', 'std_msgs/msg/String', time_ns + 1, text))
    return rows


def write_bag(
    path: Path,
    rows: Contents,
    *,
    plugin: StoragePlugin = StoragePlugin.MCAP,
    compression: CompressionMode = CompressionMode.NONE,
    empty_topics: tuple[tuple[str, str], ...] = (),
) -> Path:
    """Write a rosbag2 folder."""
    writer = Writer2(path, version=9, storage_plugin=plugin)
    writer.set_compression(compression, CompressionFormat.ZSTD)
    with writer:
        connections = {}
        for topic, kind in [*empty_topics, *dict.fromkeys((row[0], row[1]) for row in rows)]:
            connections[topic] = writer.add_connection(topic, kind, typestore=ROS2)
        for topic, _, time_ns, data in rows:
            writer.write(connections[topic], time_ns, data)
    return path


def write_bag1(path: Path, rows: Contents, compression: str = 'none') -> Path:
    """Write a ROS 1 bag."""
    writer = Writer1(path)
    if compression != 'none':
        writer.set_compression(Writer1.CompressionFormat[compression])
    with writer:
        connections = {}
        for topic, kind, time_ns, data in rows:
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=ROS1)
            writer.write(connections[topic], time_ns, data)
    return path


def write_mcap(
    path: Path,
    rows: Contents,
    *,
    compression: CompressionType = CompressionType.NONE,
    profile: str = 'ros2',
    foreign: bool = False,
    **options: Any,
) -> Path:
    """Write a lone MCAP file with the mcap library, optionally with a topic that is not ROS."""
    with path.open('wb') as stream:
        writer = McapWriter(stream, compression=compression, **options)
        writer.start(profile, 'test')
        channels: dict[str, int] = {}
        if foreign:
            schema = writer.register_schema('foxglove.Log', 'protobuf', b'\x0a\x00')
            channels['/log'] = writer.register_channel('/log', 'protobuf', schema)
            writer.add_message(channels['/log'], START_NS, b'\x08\x01', START_NS)
        for topic, kind, time_ns, data in rows:
            if topic not in channels:
                definition = ROS2.generate_msgdef(kind, ros_version=2)[0].encode()
                schema = writer.register_schema(kind, 'ros2msg', definition)
                channels[topic] = writer.register_channel(topic, 'cdr', schema)
            writer.add_message(channels[topic], time_ns, data, time_ns)
        writer.finish()
    return path


def check_frames(path: Path, count: int = 5, **arguments: Any) -> None:
    """Check that a recording holds the pictures 0 to count - 1, twice over."""
    with open_recording(path, **arguments) as recording:
        assert recording.topic == '/camera/image'
        assert recording.count == count
        for _ in range(2):
            frames = list(recording)
            assert [f.index for f in frames] == list(range(count))
            assert [f.stamp_ns for f in frames] == [stamp_ns(n) for n in range(count)]
            assert [f.time_ns for f in frames] == [
                stamp_ns(n) + RECEIVED_LATER_NS for n in range(count)
            ]
            for number, frame in enumerate(frames):
                assert np.array_equal(frame.image(), picture(number))


BAGS: dict[str, Callable[[Path, str], Path]] = {
    'mcap folder': lambda p, kind: write_bag(p / 'bag', contents(kind=kind)),
    'mcap folder, zstd chunks': lambda p, kind: write_bag(
        p / 'bag', contents(kind=kind), compression=CompressionMode.STORAGE
    ),
    'mcap folder, zstd messages': lambda p, kind: write_bag(
        p / 'bag', contents(kind=kind), compression=CompressionMode.MESSAGE
    ),
    'mcap folder, zstd file': lambda p, kind: write_bag(
        p / 'bag', contents(kind=kind), compression=CompressionMode.FILE
    ),
    'sqlite folder': lambda p, kind: write_bag(
        p / 'bag', contents(kind=kind), plugin=StoragePlugin.SQLITE3
    ),
    'sqlite folder, zstd messages': lambda p, kind: write_bag(
        p / 'bag',
        contents(kind=kind),
        plugin=StoragePlugin.SQLITE3,
        compression=CompressionMode.MESSAGE,
    ),
    'sqlite folder, zstd file': lambda p, kind: write_bag(
        p / 'bag',
        contents(kind=kind),
        plugin=StoragePlugin.SQLITE3,
        compression=CompressionMode.FILE,
    ),
    'mcap file': lambda p, kind: write_bag(p / 'bag', contents(kind=kind)) / 'bag.mcap',
    'sqlite file': lambda p, kind: (
        write_bag(p / 'bag', contents(kind=kind), plugin=StoragePlugin.SQLITE3) / 'bag.db3'
    ),
    'mcap file, zstd': lambda p, kind: write_mcap(
        p / 'a.mcap', contents(kind=kind), compression=CompressionType.ZSTD
    ),
    'mcap file, lz4': lambda p, kind: write_mcap(
        p / 'a.mcap', contents(kind=kind), compression=CompressionType.LZ4
    ),
    'mcap file, no chunks': lambda p, kind: write_mcap(
        p / 'a.mcap', contents(kind=kind), use_chunking=False
    ),
    'mcap file, no profile': lambda p, kind: write_mcap(
        p / 'a.mcap', contents(kind=kind), profile=''
    ),
    'mcap file, foreign topic': lambda p, kind: write_mcap(
        p / 'a.mcap', contents(kind=kind), foreign=True
    ),
    'ros 1': lambda p, kind: write_bag1(p / 'a.bag', contents(kind=kind, store=ROS1)),
    'ros 1, bz2': lambda p, kind: write_bag1(
        p / 'a.bag', contents(kind=kind, store=ROS1), 'BZ2'
    ),
    'ros 1, lz4': lambda p, kind: write_bag1(
        p / 'a.bag', contents(kind=kind, store=ROS1), 'LZ4'
    ),
}


@pytest.mark.parametrize('kind', [RAW, COMPRESSED])
@pytest.mark.parametrize('name', BAGS)
def test_bags_of_every_kind_give_the_same_frames(name: str, kind: str, tmp_path: Path) -> None:
    check_frames(BAGS[name](tmp_path, kind))


def test_messages_carry_what_is_needed_to_publish_them_again(tmp_path: Path) -> None:
    path = write_bag(tmp_path / 'raw', contents(2, RAW))
    with open_recording(path) as recording:
        message = next(iter(recording)).message
        assert isinstance(message, RawFrame)
        sent = image_message(ROS2, RAW, 0)
        assert bytes(message.data) == bytes(sent.data)
        for name in ('encoding', 'height', 'width', 'step', 'is_bigendian'):
            assert getattr(message, name) == getattr(sent, name)
        assert message.frame_id == 'camera'
    path = write_bag(tmp_path / 'compressed', contents(2, COMPRESSED))
    with open_recording(path) as recording:
        message = next(iter(recording)).message
        assert isinstance(message, CompressedFrame)
        sent = image_message(ROS2, COMPRESSED, 0)
        assert bytes(message.data) == bytes(sent.data)
        assert (message.format, message.frame_id) == (sent.format, 'camera')


def test_other_topics_are_readable_too(tmp_path: Path) -> None:
    with open_recording(write_bag(tmp_path / 'bag', contents(3))) as recording:
        assert isinstance(recording, BagRecording)
        assert [(t.name, t.count) for t in recording.topics] == [
            ('/camera/image', 3),
            ('/chatter', 3),
        ]
        texts = list(recording.messages('/chatter'))
        assert [text.data for _, text in texts] == ['hello'] * 3
        assert texts[1][0] == stamp_ns(1) + RECEIVED_LATER_NS + 1
        with pytest.raises(RecordingError, match="no topic '/nothing'; topics: /camera/image"):
            list(recording.messages('/nothing'))


# Choosing the topic


def two_cameras() -> Contents:
    return [
        (f'{topic}_{side}' if topic == '/camera/image' else topic, kind, time_ns, data)
        for side in ('left', 'right')
        for topic, kind, time_ns, data in contents(2)
    ]


def test_several_image_topics_are_listed(tmp_path: Path) -> None:
    path = write_bag(tmp_path / 'bag', two_cameras())
    with pytest.raises(
        RecordingError, match=r'2 image topics; choose one: /camera/image_left .*, /camera/image_r'
    ):
        open_recording(path)
    with open_recording(path, '/camera/image_right') as recording:
        assert len(list(recording)) == 2


def test_topic_that_was_advertised_but_never_published_is_no_choice(tmp_path: Path) -> None:
    path = write_bag(tmp_path / 'bag', contents(), empty_topics=(('/unused/image', RAW),))
    check_frames(path)
    with pytest.raises(RecordingError, match="topic '/unused/image' has no messages"):
        open_recording(path, '/unused/image')


def test_no_image_topic(tmp_path: Path) -> None:
    texts = [row for row in contents() if row[0] == '/chatter']
    path = write_bag(tmp_path / 'bag', texts)
    with pytest.raises(
        RecordingError, match=r'bag: there is no image topic; topics: /chatter \(5 of std_msgs'
    ):
        open_recording(path)
    with pytest.raises(RecordingError, match="'/chatter' carries std_msgs/msg/String, not im"):
        open_recording(path, '/chatter')


def test_unknown_topic(tmp_path: Path) -> None:
    path = write_bag(tmp_path / 'bag', contents())
    with pytest.raises(RecordingError, match=r"no topic '/x'; image topics: /camera/image \(5"):
        open_recording(path, '/x')


# Types


def test_type_that_nobody_knows_does_no_harm_elsewhere(tmp_path: Path) -> None:
    own = get_typestore(Stores.ROS2_JAZZY)
    own.register(get_types_from_msg('float64 speed\n', 'wheels/msg/Speed'))
    with Writer2(tmp_path / 'bag', version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        speeds = writer.add_connection('/speed', 'wheels/msg/Speed', typestore=own)
        images = writer.add_connection('/camera/image', COMPRESSED, typestore=own)
        speed = own.types['wheels/msg/Speed'](speed=1.5)
        for number, row in enumerate(contents()[::2]):
            writer.write(speeds, row[2], own.serialize_cdr(speed, 'wheels/msg/Speed'))
            writer.write(images, row[2], row[3])
            assert number < 5
    check_frames(tmp_path / 'bag')
    with open_recording(tmp_path / 'bag') as recording:
        assert isinstance(recording, BagRecording)
        assert [m.speed for _, m in recording.messages('/speed')] == [1.5] * 5


@pytest.mark.parametrize(
    ('definition', 'text'),
    [('string format', 'it lacks data, header'), ('[', 'TypesysError: Could not parse')],
)
def test_definition_that_cannot_be_used_is_named(
    definition: str, text: str, tmp_path: Path
) -> None:
    path = tmp_path / 'a.mcap'
    with path.open('wb') as stream:
        writer = McapWriter(stream)
        writer.start('ros2', 'test')
        schema = writer.register_schema(COMPRESSED, 'ros2msg', definition.encode())
        channel = writer.register_channel('/camera/image', 'cdr', schema)
        writer.add_message(channel, START_NS, contents(1)[0][3], START_NS)
        writer.finish()
    with pytest.raises(
        RecordingError,
        match=r'/camera/image: the definition of sensor_msgs/msg/CompressedImage cannot be used \('
        + text,
    ):
        open_recording(path)


def test_bag_without_definitions_is_read_with_those_of_ros_2(tmp_path: Path) -> None:
    path = write_bag(tmp_path / 'bag', contents(), plugin=StoragePlugin.SQLITE3)
    import sqlite3

    with sqlite3.connect(path / 'bag.db3') as database:
        database.execute('DELETE FROM message_definitions')
    database.close()
    check_frames(path)


# Damage


def cut(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def numbers_until_error(path: Path, **arguments: Any) -> tuple[list[int], str, list[str]]:
    """Return indices that could be read, the error at the end (or '') and the warnings."""
    indices = []
    with open_recording(path, **arguments) as recording:
        try:
            for frame in recording:
                assert np.array_equal(frame.image(), picture(frame.index))
                indices.append(frame.index)
        except RecordingError as error:
            return indices, str(error), recording.warnings
        return indices, '', recording.warnings


@pytest.mark.parametrize('whole_folder', [True, False])
@pytest.mark.parametrize('chunked', [True, False])
def test_mcap_cut_in_the_middle_is_read_up_to_the_cut(
    whole_folder: bool, chunked: bool, tmp_path: Path
) -> None:
    folder = write_bag(tmp_path / 'bag', contents(40))
    file = folder / 'bag.mcap'
    write_mcap(file, contents(40), use_chunking=chunked, chunk_size=1000)
    cut(file, 0.5)
    indices, error, warnings = numbers_until_error(folder if whole_folder else file)
    assert 10 < len(indices) < 25
    assert indices == list(range(len(indices)))
    assert f'/camera/image: cannot be read after message {len(indices)} (' in error
    assert '\n' not in error
    assert any('bag.mcap: cut or damaged after' in warning for warning in warnings)


def test_missing_metadata_is_a_warning(tmp_path: Path) -> None:
    path = write_bag(tmp_path / 'bag', contents())
    (path / 'metadata.yaml').unlink()
    check_frames(path)
    _, _, warnings = numbers_until_error(path)
    assert len(warnings) == 1
    assert warnings[0].startswith(f'{path}: metadata.yaml is missing; read file by file')


@pytest.mark.parametrize('text', ['', 'x: [', 'rosbag2_bagfile_information: {version: 5}'])
def test_broken_metadata_is_a_warning(text: str, tmp_path: Path) -> None:
    path = write_bag(tmp_path / 'bag', contents())
    (path / 'metadata.yaml').write_text(text)
    check_frames(path)
    assert len(numbers_until_error(path)[2]) == 1


@pytest.mark.parametrize('plugin', list(StoragePlugin))
def test_split_bag_is_read_in_the_order_of_its_files(
    plugin: StoragePlugin, tmp_path: Path
) -> None:
    suffix = 'mcap' if plugin is StoragePlugin.MCAP else 'db3'
    whole = tmp_path / 'whole'
    whole.mkdir()
    for part in range(11):  # 10 comes after 9 and not after 1
        folder = write_bag(
            tmp_path / f'p{part}', contents(1, first=part), plugin=plugin
        )
        (folder / f'p{part}.{suffix}').rename(whole / f'w_{part}.{suffix}')
    check_frames(whole, 11)

    text = (tmp_path / 'p0' / 'metadata.yaml').read_text()
    files = '\n'.join(f'  - w_{part}.{suffix}' for part in range(11))
    text = text.replace(f'  - p0.{suffix}', files).replace('message_count: 1', 'message_count: 11')
    (whole / 'metadata.yaml').write_text(text)
    check_frames(whole, 11)
    assert numbers_until_error(whole)[2] == []

    (whole / f'w_10.{suffix}').unlink()
    check_frames(whole, 10)
    (warning,) = numbers_until_error(whole)[2]
    assert f'w_10.{suffix}' in warning
    assert 'missing' in warning


def test_damaged_chunk_is_told_with_its_position(tmp_path: Path) -> None:
    path = write_mcap(tmp_path / 'a.mcap', contents(40), chunk_size=1000)
    data = bytearray(path.read_bytes())
    at = data.index(contents(40)[40][3])  # picture 20
    data[at + 60] ^= 0xFF
    path.write_bytes(data)
    indices, error, _ = numbers_until_error(path)
    assert 10 < len(indices) <= 20
    assert f'{path}: /camera/image: cannot be read after message {len(indices)} (' in error
    assert 'checksum' in error


def test_sqlite_cut_in_the_middle_is_told(tmp_path: Path) -> None:
    path = write_bag(tmp_path / 'bag', contents(100, RAW), plugin=StoragePlugin.SQLITE3)
    cut(path / 'bag.db3', 0.5)
    with pytest.raises(RecordingError, match=r'bag\.db3: cannot open database .*malformed'):
        open_recording(path)


def test_ros_1_bag_cut_in_the_middle_is_told(tmp_path: Path) -> None:
    path = write_bag1(tmp_path / 'a.bag', contents(store=ROS1))
    cut(path, 0.5)
    with pytest.raises(RecordingError, match=r'a\.bag: .*`rosbag reindex` may mend it'):
        open_recording(path)


@pytest.mark.parametrize('suffix', ['.mcap', '.db3', '.bag'])
@pytest.mark.parametrize('data', [b'', b'nonsense' * 100, b'\x89MCAP0\r\n'])
def test_files_that_are_no_bags_are_told(suffix: str, data: bytes, tmp_path: Path) -> None:
    path = tmp_path / f'a{suffix}'
    path.write_bytes(data)
    with pytest.raises(RecordingError, match=rf'a{suffix}: ') as caught:
        open_recording(path)
    assert '\n' not in str(caught.value)


def test_message_that_is_damaged_does_not_end_the_bag(tmp_path: Path) -> None:
    rows = contents()
    topic, kind, time_ns, data = rows[4]
    rows[4] = (topic, kind, time_ns, data[:30])
    with open_recording(write_bag(tmp_path / 'bag', rows)) as recording:
        frames = list(recording)
        assert len(frames) == 5
        assert frames[2].message is None
        with pytest.raises(ImageError, match=r'/camera/image: image 3: the message is damaged'):
            frames[2].image()
        assert np.array_equal(frames[3].image(), picture(3))


def test_image_that_does_not_decode_is_told_with_file_topic_and_position(tmp_path: Path) -> None:
    rows = contents()
    topic, kind, time_ns, _ = rows[4]
    jpeg = cv2.imencode('.jpg', picture(2))[1].ravel()
    broken = image_message(ROS2, kind, 2, data=jpeg[:-50])
    rows[4] = (topic, kind, time_ns, bytes(ROS2.serialize_cdr(broken, kind)))
    path = write_bag(tmp_path / 'bag', rows)
    with open_recording(path) as recording:
        frames = list(recording)
        with pytest.raises(ImageError, match=r'cut off') as caught:
            frames[2].image()
        assert str(caught.value).startswith(f'{path}: /camera/image: image 3: JPEG picture')
        assert frames[2].stamp_ns == stamp_ns(2)
        assert np.array_equal(frames[3].image(), picture(3))


def test_limit_of_pixels_reaches_the_decoder(tmp_path: Path) -> None:
    with open_recording(write_bag(tmp_path / 'bag', contents(1)), max_pixels=700) as recording:
        with pytest.raises(ImageError, match='PNG picture of 32 x 24 pixels is larger'):
            next(iter(recording)).image()


# Videos and folders


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / 'a.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 20.0, (64, 48))
    for number in range(30):
        writer.write(picture(5 * number, 48, 64))
    writer.release()
    return path


def test_video(video: Path) -> None:
    with open_recording(str(video)) as recording:
        assert (recording.topic, recording.count) == (None, 30)
        for _ in range(2):
            frames = list(recording)
            assert [f.time_ns for f in frames] == [n * 50_000_000 for n in range(30)]
            assert {f.stamp_ns for f in frames} == {None}
            for frame in frames:
                difference = frame.image().astype(int) - picture(5 * frame.index, 48, 64)
                assert np.abs(difference).max() < 8
        assert recording.warnings == []


def test_frame_rate_of_a_video_can_be_given(video: Path) -> None:
    with open_recording(video, frame_rate=5) as recording:
        assert [f.time_ns for f in recording][1] == 200_000_000
    with pytest.raises(RecordingError, match='frame rate must be above 0'):
        open_recording(video, frame_rate=0)


def test_video_that_ends_early_is_a_warning(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_recording(video) as recording:
        recording.count = 40
        list(recording)
        list(recording)
        assert recording.warnings == [
            f'{video}: the video announces 40 frames, but ends after frame 30'
        ]


def test_video_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / 'a.mp4'
    path.write_bytes(b'nothing of the kind')
    with pytest.raises(RecordingError, match=r'a\.mp4: OpenCV cannot open this as a video'):
        open_recording(path)


def test_video_larger_than_the_limit(video: Path) -> None:
    with pytest.raises(RecordingError, match='64 x 48 pixels is larger than the limit'):
        open_recording(video, max_pixels=3000)


def test_folder_counts_numbers_by_value(tmp_path: Path) -> None:
    for number in (0, 2, 10, 1):
        cv2.imwrite(str(tmp_path / f'frame{number}.png'), picture(number))
    (tmp_path / 'notes.txt').write_text('no picture')
    with open_recording(tmp_path) as recording:
        assert recording.count == 4
        frames = list(recording)
        assert [f.name for f in frames] == [f'frame{n}.png' for n in (0, 1, 2, 10)]
        assert [f.time_ns for f in frames] == [0, 100_000_000, 200_000_000, 300_000_000]
        assert np.array_equal(frames[3].image(), picture(10))


def test_bad_picture_in_a_folder_is_named(tmp_path: Path) -> None:
    for number in range(3):
        cv2.imwrite(str(tmp_path / f'{number}.jpg'), picture(number))
    cut(tmp_path / '1.jpg', 0.8)
    with open_recording(tmp_path) as recording:
        frames = list(recording)
        with pytest.raises(ImageError, match=r'1\.jpg \(picture 2\): JPEG picture .* cut off'):
            frames[1].image()
        assert frames[2].image().shape == (24, 32, 3)


def test_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match='holds neither pictures .* nor a bag'):
        open_recording(tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r'nowhere: there is no such file or folder'):
        open_recording(tmp_path / 'nowhere')


def test_topic_of_a_video_or_a_folder(video: Path, tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="a video and has no topics; leave out topic '/x'"):
        open_recording(video, '/x')
    with pytest.raises(RecordingError, match=r'is a folder of pictures and has no topics'):
        open_recording(tmp_path, '/x')


# Memory


def large_rows(count: int) -> Iterator[tuple[str, str, int, bytes]]:
    data = np.zeros(640 * 480, np.uint8)
    for number in range(count):
        changes = {'height': 480, 'width': 640, 'step': 640, 'encoding': 'mono8', 'data': data}
        message = image_message(ROS2, RAW, number, **changes)
        yield '/camera/image', RAW, stamp_ns(number), bytes(ROS2.serialize_cdr(message, RAW))


@pytest.mark.parametrize('kind', ['mcap', 'sqlite', 'mcap without index'])
def test_memory_does_not_grow_with_the_recording(kind: str, tmp_path: Path) -> None:
    def peak(count: int) -> int:
        path = tmp_path / f'{count}'
        plugin = StoragePlugin.SQLITE3 if kind == 'sqlite' else StoragePlugin.MCAP
        write_bag(path, list(large_rows(count)), plugin=plugin)
        if kind == 'mcap without index':
            cut(path / f'{count}.mcap', 0.99)
        with open_recording(path) as recording:
            tracemalloc.start()
            try:
                for frame in recording:
                    frame.image()
            except RecordingError:
                assert kind == 'mcap without index'
            finally:
                used = tracemalloc.get_traced_memory()[1]
                tracemalloc.stop()
        return used

    assert peak(100) < 1.2 * peak(10)


# The recording of the demo


def test_demo_recording_is_small_and_sound() -> None:
    assert sum(file.stat().st_size for file in DEMO.iterdir()) <= 6_000_000
    with open_recording(DEMO) as recording:
        assert isinstance(recording, BagRecording)
        assert recording.warnings == []
        assert recording.topic == '/camera/image_raw/compressed'
        assert recording.count == 120
        frames = list(recording)
        stamps = [frame.stamp_ns for frame in frames]
        assert stamps == [START_NS + n * PERIOD_NS for n in range(120)]
        assert all(frame.image().shape == (576, 768, 3) for frame in frames)
        assert {f.message.frame_id for f in frames if f.message} == {'camera_optical_frame'}
        infos = [info for _, info in recording.messages('/camera/camera_info')]
        assert {(info.width, info.height) for info in infos} == {(768, 576)}
        assert [i.header.stamp.sec * 10**9 + i.header.stamp.nanosec for i in infos] == stamps


def test_demo_recording_opens_with_the_mcap_library() -> None:
    with (DEMO / 'pedestrians.mcap').open('rb') as stream:
        reader = make_reader(stream, validate_crcs=True)
        summary = reader.get_summary()
        assert summary is not None
        assert summary.statistics is not None
        assert summary.statistics.message_count == 240
        topics = [channel.topic for _, channel, _ in reader.iter_messages()]
    assert topics.count('/camera/image_raw/compressed') == 120
    assert topics.count('/camera/camera_info') == 120


def test_demo_recording_shows_the_frames_of_the_video_that_it_says(data: Path) -> None:
    with (
        open_recording(data / 'pets09-s2l1' / 'vtest.avi') as original,
        open_recording(DEMO) as recording,
    ):
        shown = (f for f in original if f.index >= DEMO_FIRST_FRAME - 1)
        before = None
        for mine, theirs in zip(recording, shown, strict=False):
            likeness = cv2.PSNR(mine.image(), theirs.image())
            assert likeness > 32
            if before is not None:  # a shift by one frame would be found out
                assert cv2.PSNR(mine.image(), before) < likeness - 3
            before = theirs.image()
        assert mine.index == 119
