# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Bags with images and, on ``/truth``, what is in them."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from blobs import Blob, draw_blobs
import cv2
from mcap.reader import make_reader
from mcap.writer import Writer as McapWriter
import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import get_types_from_msg, get_typestore, Stores

DEFINITIONS = Path(__file__).resolve().parent.parent / 'environment/interfaces/vision_msgs/msg'
IMAGE, TRUTH = 'sensor_msgs/msg/CompressedImage', 'vision_msgs/msg/Detection2DArray'
NO_CLASS = ''
Labelled = tuple[str, tuple[float, float, float, float], float]
"""Class, x and y of the centre with width and height, and angle of the box."""

# What vision_msgs 3 had in the place of some fields.
_OLD = {
    'BoundingBox2D': 'geometry_msgs/Pose2D center\nfloat64 size_x\nfloat64 size_y\n',
    'ObjectHypothesisWithPose': 'string id\nfloat64 score\n'}


def typestore(old: bool = False) -> Any:
    """Return the types of ROS 2 with those of vision_msgs."""
    store = get_typestore(Stores.ROS2_JAZZY)
    types: dict[str, Any] = {}
    for file in DEFINITIONS.glob('*.msg'):
        text = _OLD.get(file.stem, file.read_text()) if old else file.read_text()
        types |= get_types_from_msg(text, f'vision_msgs/msg/{file.stem}')
    store.register(types)
    return store


def write_labelled_bag(
        path: Path, stamps: Sequence[int], labels: Mapping[int, Iterable[Labelled]], *,
        pictures: Mapping[int, Iterable[Blob]] | None = None,
        raw: Mapping[int, bytes] | None = None, old: bool = False,
        truth_delay: int = 0, times: Sequence[int] | None = None) -> Path:
    """
    Write a rosbag2.

    :param stamps: of the images, ns, in the order of recording.
    :param labels: by stamp; none on ``/truth`` if it is empty.
    :param pictures: what is drawn, by stamp.
    :param raw: bytes in the place of the picture, by stamp.
    :param old: with the fields of vision_msgs 3.
    :param times: at which the images were recorded, ns; if not given, 1 µs after each other.
    :param truth_delay: ns that the stamps on ``/truth`` are later by.
    """
    store = typestore(old)
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        images = writer.add_connection('/camera/image', IMAGE, typestore=store)
        truth = writer.add_connection('/truth', TRUTH, typestore=store) if labels else None
        for place, stamp in enumerate(stamps):
            time = times[place] if times else 1000 * place
            data = (raw or {}).get(stamp)
            if data is None:
                picture = draw_blobs((pictures or {}).get(stamp, ()))
                data = cv2.imencode('.png', picture)[1].tobytes()
            message = store.types[IMAGE](
                header=_header(store, stamp), format='png',
                data=np.frombuffer(data, np.uint8))
            writer.write(images, time, store.serialize_cdr(message, IMAGE))
            if truth is not None and stamp in labels:
                array = store.types[TRUTH](
                    header=_header(store, stamp + truth_delay),
                    detections=[_detection(store, stamp, *row, old) for row in labels[stamp]])
                writer.write(truth, time + 1, store.serialize_cdr(array, TRUTH))
    return path


def rechunk(file: Path, size: int) -> Path:
    """Write an MCAP file anew in chunks of so many bytes, as a recorder does in larger ones."""
    with file.open('rb') as stream:
        messages = list(make_reader(stream).iter_messages())
    with file.open('wb') as stream:
        writer = McapWriter(stream, chunk_size=size)
        writer.start('ros2', 'test')
        channels: dict[str, int] = {}
        for schema, channel, message in messages:
            if channel.topic not in channels:
                assert schema is not None
                identity = writer.register_schema(schema.name, schema.encoding, schema.data)
                channels[channel.topic] = writer.register_channel(
                    channel.topic, channel.message_encoding, identity)
            writer.add_message(
                channels[channel.topic], message.log_time, message.data, message.publish_time)
        writer.finish()
    return file


def _header(store: Any, stamp: int) -> Any:
    time = store.types['builtin_interfaces/msg/Time'](sec=stamp // 10**9, nanosec=stamp % 10**9)
    return store.types['std_msgs/msg/Header'](stamp=time, frame_id='camera')


def _detection(
        store: Any, stamp: int, name: str, box: tuple[float, float, float, float],
        angle: float, old: bool) -> Any:
    types, prefix = store.types, 'vision_msgs/msg'
    x, y, width, height = box
    if old:
        centre = types['geometry_msgs/msg/Pose2D'](x=x, y=y, theta=angle)
        result = types[f'{prefix}/ObjectHypothesisWithPose'](id=name, score=1.0)
    else:
        centre = types[f'{prefix}/Pose2D'](
            position=types[f'{prefix}/Point2D'](x=x, y=y), theta=angle)
        pose = types['geometry_msgs/msg/PoseWithCovariance'](
            pose=types['geometry_msgs/msg/Pose'](
                position=types['geometry_msgs/msg/Point'](x=0.0, y=0.0, z=0.0),
                orientation=types['geometry_msgs/msg/Quaternion'](x=0.0, y=0.0, z=0.0, w=1.0)),
            covariance=np.zeros(36))
        result = types[f'{prefix}/ObjectHypothesisWithPose'](
            hypothesis=types[f'{prefix}/ObjectHypothesis'](class_id=name, score=1.0), pose=pose)
    return types[f'{prefix}/Detection2D'](
        header=_header(store, stamp), results=[] if name == NO_CLASS else [result],
        bbox=types[f'{prefix}/BoundingBox2D'](center=centre, size_x=width, size_y=height), id='')
