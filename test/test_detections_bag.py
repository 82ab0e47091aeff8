# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

import errno
import json
from pathlib import Path
import tracemalloc
from typing import Any

import cv2
from mcap.reader import make_reader
import numpy as np
from numpy.typing import NDArray
import pytest
from rosbags.highlevel import AnyReader
from rosbags.typesys import get_types_from_msg, get_typestore, Stores
from test_vision_msgs import HASHES
import yaml

from prune_perception.detections import Detections
from prune_perception.evaluation.detections_bag import (
    DetectionsBag,
    DetectionsBagError,
    IMAGE_TOPIC,
    topic_name,
)
from prune_perception.evaluation.vision_types import DEFINITIONS, vision_typestore
from prune_perception.frames.recording import CompressedFrame, Frame, open_recording
from prune_perception.runtime.drawing import draw

ROOT = Path(__file__).resolve().parent.parent
NAMES = ('person', 'dog')
START = 1_700_000_000_123_456_789
ARRAY = 'vision_msgs/msg/Detection2DArray'


def frame(index: int = 0, stamp_ns: int | None = START) -> Frame:
    time_ns = START + 5_000_000 + index * 100_000_000
    if stamp_ns is not None:
        stamp_ns += index * 100_000_000
    message = CompressedFrame('jpeg', np.zeros(0, np.uint8), 'lens')
    return Frame(index, time_ns, stamp_ns, f'a bag: image {index + 1}', '', message, picture)


def picture() -> NDArray[np.uint8]:
    image = np.full((120, 160, 3), 80, np.uint8)
    image[:, 80:] = (30, 140, 200)
    return image


def found(count: int = 2, shift: float = 0.0) -> Detections:
    boxes = np.array([[10.25, 20.5, 50.75, 100.125], [90, 30, 150, 110]], np.float32)[:count]
    return Detections(boxes + np.float32(shift), np.array([0.9, 0.4], np.float32)[:count],
                      np.array([1, 0])[:count])


def write(path: Path, count: int = 3, **options: Any) -> Path:
    with DetectionsBag(path, {'dense': NAMES, 'half width': NAMES}, **options) as bag:
        for index in range(count):
            bag.write(frame(index), picture(), {
                'dense': found(), 'half width': found(shift=1) if index else Detections.none()})
    return path


def messages(path: Path, topic: str) -> list[tuple[int, Any]]:
    with AnyReader([path]) as reader:
        connections = [c for c in reader.connections if c.topic == topic]
        return [(time, reader.deserialize(data, connection.msgtype))
                for connection, time, data in reader.messages(connections)]


def test_types_have_the_hashes_of_the_robots() -> None:
    store = vision_typestore()
    for name in DEFINITIONS:
        assert store.hash_rihs01(name) == f'RIHS01_{HASHES[name.rpartition("/")[2]]}'


def test_types_are_those_that_machines_without_ros_build() -> None:
    store = vision_typestore()
    for name in DEFINITIONS:
        file = ROOT / 'environment/interfaces/vision_msgs/msg' / f'{name.rpartition("/")[2]}.msg'
        fields = get_types_from_msg(file.read_text(), name)[name]
        assert store.fielddefs[name] == fields


def test_topics_and_types(tmp_path: Path) -> None:
    path = write(tmp_path / 'out')
    with AnyReader([path]) as reader:
        topics = {c.topic: (c.msgtype, c.msgcount) for c in reader.connections}
    image = 'sensor_msgs/msg/CompressedImage'
    assert topics == {
        IMAGE_TOPIC: (image, 3),
        '/dense/detections': (ARRAY, 3), '/half_width/detections': (ARRAY, 3),
        '/dense/boxes': ('visualization_msgs/msg/ImageMarker', 3),
        '/half_width/boxes': ('visualization_msgs/msg/ImageMarker', 3),
        '/dense/annotated_image/compressed': (image, 3),
        '/half_width/annotated_image/compressed': (image, 3)}
    assert sorted(entry.name for entry in path.iterdir()) == ['metadata.yaml', 'out.mcap']


def test_images_can_be_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / 'out', annotated=False, images=False)
    with AnyReader([path]) as reader:
        assert {c.topic for c in reader.connections} == {
            '/dense/detections', '/half_width/detections', '/dense/boxes', '/half_width/boxes'}


def test_detections_come_back_under_the_stamps_of_the_images(tmp_path: Path) -> None:
    path = write(tmp_path / 'out')
    for index, (time, message) in enumerate(messages(path, '/dense/detections')):
        assert time == frame(index).time_ns
        stamp = message.header.stamp
        assert stamp.sec * 10**9 + stamp.nanosec == frame(index).stamp_ns
        assert message.header.frame_id == 'lens'
        first, second = message.detections
        assert (first.bbox.center.position.x, first.bbox.center.position.y) == (30.5, 60.3125)
        assert (first.bbox.size_x, first.bbox.size_y) == (40.5, 79.625)
        assert [d.results[0].hypothesis.class_id for d in (first, second)] == ['dog', 'person']
        assert first.results[0].hypothesis.score == pytest.approx(0.9)
        assert first.header == message.header
    assert [len(message.detections) for _, message in messages(path, '/half_width/detections')] \
        == [0, 2, 2]


def test_a_frame_without_a_stamp_gets_its_time(tmp_path: Path) -> None:
    with DetectionsBag(tmp_path / 'out', {'dense': NAMES}) as bag:
        bag.write(frame(stamp_ns=None), picture(), {'dense': found()})
    [(_, message)] = messages(tmp_path / 'out', '/dense/detections')
    stamp = message.header.stamp
    assert stamp.sec * 10**9 + stamp.nanosec == frame().time_ns


def test_images_are_what_was_seen_and_what_was_drawn(tmp_path: Path) -> None:
    path = write(tmp_path / 'out', 1)
    for topic, expected in (
            (IMAGE_TOPIC, picture()),
            ('/dense/annotated_image/compressed', draw(picture(), found(), NAMES))):
        [(_, message)] = messages(path, topic)
        decoded = cv2.imdecode(message.data, cv2.IMREAD_COLOR)
        error = decoded.astype(float) - expected
        assert np.sqrt((error ** 2).mean()) < 16
        assert 'jpeg' in message.format
    with open_recording(path, IMAGE_TOPIC) as recording:
        assert next(iter(recording)).image().shape == (120, 160, 3)


def test_boxes_are_four_lines_each_in_the_colour_of_the_model(tmp_path: Path) -> None:
    path = write(tmp_path / 'out', 2)
    _, marker = messages(path, '/dense/boxes')[1]
    _, other = messages(path, '/half_width/boxes')[1]
    assert marker.type == marker.LINE_LIST and marker.ns == 'dense'
    ends = [((a.x, a.y), (b.x, b.y)) for a, b in zip(
        marker.points[::2], marker.points[1::2], strict=True)]
    assert len(ends) == 8
    x1, y1, x2, y2 = 10.25, 20.5, 50.75, 100.125
    assert {frozenset(line) for line in ends[:4]} == {
        frozenset(line) for line in (
            ((x1, y1), (x2, y1)), ((x2, y1), (x2, y2)), ((x2, y2), (x1, y2)),
            ((x1, y2), (x1, y1)))}
    assert marker.outline_color != other.outline_color
    assert marker.outline_color.a == 1


def test_bytes_round_trip(tmp_path: Path) -> None:
    path = write(tmp_path / 'out')
    with AnyReader([path]) as reader:
        count = 0
        for connection, _, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            again = reader.typestore.serialize_cdr(message, connection.msgtype)
            assert bytes(again) == bytes(data)
            count += 1
    assert count == 3 * 7


def test_the_mcap_library_reads_the_same(tmp_path: Path) -> None:
    path = write(tmp_path / 'out')
    with (path / 'out.mcap').open('rb') as file:
        reader = make_reader(file, validate_crcs=True)
        assert reader.get_header().profile == 'ros2'
        summary = reader.get_summary()
        assert summary is not None and summary.statistics is not None
        assert summary.statistics.message_count == 3 * 7
        theirs = [(channel.topic, message.log_time, message.data)
                  for schema, channel, message in reader.iter_messages(log_time_order=False)]
        for schema in summary.schemas.values():
            assert schema.encoding == 'ros2msg'
            # The definition in the file is enough to read it by.
            store = get_typestore(Stores.EMPTY)
            store.register(get_types_from_msg(schema.data.decode(), schema.name))
            for topic, _, data in theirs:
                channel = next(c for c in summary.channels.values() if c.topic == topic)
                if channel.schema_id == schema.id:
                    assert store.deserialize_cdr(data, schema.name).header.frame_id == 'lens'
    with AnyReader([path]) as ours:
        assert sorted(theirs) == sorted(
            (connection.topic, time, bytes(data)) for connection, time, data in ours.messages())


def test_ros_reads_what_the_node_would_have_published(tmp_path: Path) -> None:
    pytest.importorskip('rclpy', reason='needs ROS 2')
    from rclpy.serialization import deserialize_message, serialize_message
    from sensor_msgs.msg import CompressedImage
    from std_msgs.msg import Header
    from vision_msgs.msg import Detection2DArray
    from visualization_msgs.msg import ImageMarker

    from prune_perception.nodes.messages import detections_message

    kinds = {ARRAY: Detection2DArray, 'sensor_msgs/msg/CompressedImage': CompressedImage,
             'visualization_msgs/msg/ImageMarker': ImageMarker}
    path = write(tmp_path / 'out')
    arrays = []
    with AnyReader([path]) as reader:
        for connection, _, data in reader.messages():
            message = deserialize_message(bytes(data), kinds[connection.msgtype])
            assert message.header.frame_id == 'lens'
            # Byte by byte they may differ: ROS leaves in the gaps what was there before.
            theirs = reader.deserialize(serialize_message(message), connection.msgtype)
            assert bytes(reader.typestore.serialize_cdr(theirs, connection.msgtype)) == bytes(data)
            if connection.topic == '/dense/detections':
                arrays.append(message)
    for index, message in enumerate(arrays):
        header = Header(frame_id='lens')
        header.stamp.sec, header.stamp.nanosec = divmod(frame(index).stamp_ns, 10**9)
        assert message == detections_message(found(), header, NAMES)
    assert len(arrays) == 3


def test_metadata_is_that_of_a_rosbag2(tmp_path: Path) -> None:
    text = (write(tmp_path / 'out') / 'metadata.yaml').read_text()
    facts = yaml.safe_load(text)['rosbag2_bagfile_information']
    assert facts['version'] == 9 and facts['storage_identifier'] == 'mcap'
    assert facts['relative_file_paths'] == ['out.mcap']
    assert facts['message_count'] == 21
    assert facts['duration']['nanoseconds'] == 200_000_000
    topic = next(entry['topic_metadata'] for entry in facts['topics_with_message_count']
                 if entry['topic_metadata']['name'] == '/dense/detections')
    assert topic['type_description_hash'] == f'RIHS01_{HASHES["Detection2DArray"]}'
    assert topic['offered_qos_profiles'][0]['reliability'] == 'reliable'


def test_a_recording_is_evaluated_into_a_bag_of_its_frames(tmp_path: Path) -> None:
    with open_recording(ROOT / 'demo' / 'pedestrians') as recording:
        frames = [frame for frame, _ in zip(recording, range(3), strict=False)]
        with DetectionsBag(tmp_path / 'out', {'dense': NAMES}) as bag:
            for one in frames:
                bag.write(one, one.image(), {'dense': found()})
    got = messages(tmp_path / 'out', '/dense/detections')
    assert [time for time, _ in got] == [one.time_ns for one in frames]
    assert {message.header.frame_id for _, message in got} == {'camera_optical_frame'}


# Complete or absent


def test_it_is_not_there_until_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / 'new' / 'out'
    with DetectionsBag(path, {'dense': NAMES}) as bag:
        bag.write(frame(), picture(), {'dense': found()})
        assert not path.exists()
    assert [entry.name for entry in path.parent.iterdir()] == ['out']
    assert path.stat().st_mode & 0o777 == 0o755


def test_an_exception_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), \
            DetectionsBag(tmp_path / 'out', {'dense': NAMES}) as bag:
        bag.write(frame(), picture(), {'dense': found()})
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('make', [Path.mkdir, Path.touch, lambda path: path.symlink_to('gone')])
def test_what_exists_is_refused(make: Any, tmp_path: Path) -> None:
    make(tmp_path / 'out')
    with pytest.raises(DetectionsBagError, match=r'/out: exists already; choose another name'):
        DetectionsBag(tmp_path / 'out', {'dense': NAMES})


def test_what_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / 'out'
    with pytest.raises(DetectionsBagError, match='exists already'), \
            DetectionsBag(path, {'dense': NAMES}) as bag:
        bag.write(frame(), picture(), {'dense': found()})
        path.mkdir()
    assert list(tmp_path.iterdir()) == [path] and not list(path.iterdir())


def test_no_frame_is_no_bag(tmp_path: Path) -> None:
    with pytest.raises(DetectionsBagError, match=r'/out: no frame was written$'), \
            DetectionsBag(tmp_path / 'out', {'dense': NAMES}):
        pass
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / 'file').touch()
    with pytest.raises(DetectionsBagError) as caught, \
            DetectionsBag(tmp_path / 'file' / 'out', {'dense': NAMES}):
        pass
    assert '/file/out: cannot be written: ' in str(caught.value)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('when', ['write', 'close'])
def test_a_full_disk_is_an_error_that_leaves_nothing(
        when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(f'rosbags.rosbag2.writer.Writer.{when}', fail)
    with pytest.raises(DetectionsBagError, match='/out: cannot be written: No space left'), \
            DetectionsBag(tmp_path / 'out', {'dense': NAMES}) as bag:
        bag.write(frame(), picture(), {'dense': found()})
    assert not list(tmp_path.iterdir())


def test_a_model_that_was_not_announced_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DetectionsBagError, match=r"model 'other' was not announced; there are "
                                                 'dense'), \
            DetectionsBag(tmp_path / 'out', {'dense': NAMES}) as bag:
        bag.write(frame(), picture(), {'other': found()})


def test_writing_outside_the_block_is_refused(tmp_path: Path) -> None:
    with DetectionsBag(tmp_path / 'out', {'dense': NAMES}) as bag:
        bag.write(frame(), picture(), {'dense': found()})
    with pytest.raises(DetectionsBagError, match='is not open'):
        bag.write(frame(), picture(), {'dense': found()})


def test_models_of_one_topic_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DetectionsBagError, match=r"'half-width' and 'half width' .*/half_width;"):
        DetectionsBag(tmp_path / 'out', {'half-width': NAMES, 'half width': NAMES})


def test_topic_names_are_those_that_ros_allows() -> None:
    assert topic_name('nanodet_g') == 'nanodet_g'
    assert topic_name('nanodet_g-50%') == 'nanodet_g_50'
    assert topic_name('4x pruned') == 'model_4x_pruned'
    assert topic_name('a__b') == 'a_b'
    assert topic_name('größer') == 'gr_er'
    assert topic_name('…') == 'model'


def test_memory_does_not_grow_with_the_images(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    with DetectionsBag(tmp_path / 'out', {'dense': NAMES}) as bag:
        def run(count: int) -> int:
            for index in range(count):
                bag.write(frame(index), noise, {'dense': found()})
            return tracemalloc.get_traced_memory()[0]

        tracemalloc.start()
        try:
            run(40)
            tracemalloc.reset_peak()
            before = run(40)
            after = run(120)
        finally:
            tracemalloc.stop()
    size = (tmp_path / 'out' / 'out.mcap').stat().st_size
    assert size > 10e6
    assert after - before < 3e6, 'one chunk of a million bytes, and the index'


# The layout for Foxglove


def panels_of(layout: Any) -> list[str]:
    if isinstance(layout, dict):
        return panels_of(layout['first']) + panels_of(layout['second'])
    return [layout]


def test_the_layout_holds_together() -> None:
    layout = json.loads((ROOT / 'config' / 'foxglove_layout.json').read_text())
    panels = layout['configById']
    shown = panels_of(layout['layout'])
    for name in shown:  # tabs add panels while this goes on
        for tab in panels[name].get('tabs', []):
            shown += panels_of(tab['layout'])
    assert sorted(shown) == sorted(panels)


def test_the_layout_shows_topics_that_there_are(tmp_path: Path) -> None:
    pytest.importorskip('rclpy', reason='needs ROS 2')
    from prune_perception.nodes.camera import CAMERA_PLOTS
    from prune_perception.nodes.detector_node import POWER_PLOTS

    text = (ROOT / 'config' / 'foxglove_layout.json').read_text()
    panels = json.loads(text)['configById']
    topics: set[str] = set()
    for panel in panels.values():
        topics |= {path['value'].removesuffix('.data') for path in panel.get('paths', [])}
        topics |= {panel[key] for key in ('topicPath', 'topicToRender') if key in panel}
        mode = panel.get('imageMode', {})
        topics |= {mode['imageTopic']} if mode else set()
        topics |= set(mode.get('annotations', {}))
    with DetectionsBag(tmp_path / 'out', {'nanodet_g': NAMES}) as bag:
        bag.write(frame(), picture(), {'nanodet_g': found()})
    with AnyReader([tmp_path / 'out']) as reader:
        recorded = {connection.topic for connection in reader.connections}
    live = {f'/detector/{name}' for name in (
        *CAMERA_PLOTS, *POWER_PLOTS, 'detections', 'annotated_image')}
    assert topics <= recorded | live | {'/diagnostics'}
    assert {'/detector/result_age', '/diagnostics', '/nanodet_g/boxes'} < topics
    assert {f'/detector/{name}' for name in CAMERA_PLOTS if name.startswith('latency/')} < topics
