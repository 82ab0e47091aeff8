# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Write the recording that the demo plays: a stretch of a video as a rosbag2 in MCAP.

The result depends on the video, the arguments and the versions of OpenCV and rosbags only, so
that it can be made again and compared.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
import sys
from typing import Any

import cv2
import numpy as np
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import get_typestore, Stores

IMAGE_TOPIC = '/camera/image_raw/compressed'
INFO_TOPIC = '/camera/camera_info'
FRAME_ID = 'camera_optical_frame'
START_NS = 1_700_000_000 * 1_000_000_000
"""Stamp of the first frame: a round number, since the video does not say when it was taken."""
FRAMES_PER_SECOND = 10
MOST_BYTES = 6_000_000

# A reliable publisher serves best-effort subscribers as well; infinity is what rmw writes.
_INFINITE = QosTime(9223372036, 854775807)
_QOS = Qos(
    history=QosHistory.KEEP_LAST,
    depth=10,
    reliability=QosReliability.RELIABLE,
    durability=QosDurability.VOLATILE,
    deadline=_INFINITE,
    lifespan=_INFINITE,
    liveliness=QosLiveliness.AUTOMATIC,
    liveliness_lease_duration=_INFINITE,
    avoid_ros_namespace_conventions=False,
)


def video_frames(path: Path, first: int, count: int) -> Iterator[np.ndarray[Any, Any]]:
    """Yield frames first to first + count - 1 (the video's first frame is 1), BGR."""
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            raise SystemExit(f'{path}: cannot be opened as a video')
        for number in range(1, first + count):
            good, image = capture.read()
            if not good:
                raise SystemExit(f'{path}: the video ends before frame {number}')
            if number >= first:
                yield image
    finally:
        capture.release()


def write_recording(video: Path, output: Path, *, first: int, count: int, quality: int) -> None:
    """
    Write the bag.

    :param video: the video file.
    :param output: folder to create.
    :param first: number of the first frame, counted from 1.
    :param count: number of frames.
    :param quality: JPEG quality, 0 to 100.
    """
    store = get_typestore(Stores.ROS2_JAZZY)
    types = store.types
    header_type = types['std_msgs/msg/Header']
    time_type = types['builtin_interfaces/msg/Time']
    image_type = types['sensor_msgs/msg/CompressedImage']
    info_type = types['sensor_msgs/msg/CameraInfo']
    region_type = types['sensor_msgs/msg/RegionOfInterest']
    # Optimised Huffman tables take several per cent off and cost nothing to decode.
    jpeg = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]

    # Version 9 of the metadata is what ROS 2 Jazzy writes; Kilted reads it too.
    with Writer(output, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        images = writer.add_connection(
            IMAGE_TOPIC, image_type.__msgtype__, typestore=store, offered_qos_profiles=[_QOS]
        )
        infos = writer.add_connection(
            INFO_TOPIC, info_type.__msgtype__, typestore=store, offered_qos_profiles=[_QOS]
        )
        for number, frame in enumerate(video_frames(video, first, count)):
            stamp_ns = START_NS + number * 1_000_000_000 // FRAMES_PER_SECOND
            header = header_type(
                stamp=time_type(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9),
                frame_id=FRAME_ID,
            )
            good, data = cv2.imencode('.jpg', frame, jpeg)
            if not good:
                raise SystemExit(f'{video}: frame {first + number} cannot be encoded')
            height, width = frame.shape[:2]
            info = info_type(
                header=header,
                height=height,
                width=width,
                # Zeros mean an uncalibrated camera, by the message's own definition.
                distortion_model='',
                d=np.zeros(0),
                k=np.zeros(9),
                r=np.zeros(9),
                p=np.zeros(12),
                binning_x=0,
                binning_y=0,
                roi=region_type(x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
            )
            image = image_type(header=header, format='bgr8; jpeg compressed bgr8', data=data)
            for connection, message in ((infos, info), (images, image)):
                writer.write(
                    connection, stamp_ns, store.serialize_cdr(message, connection.msgtype)
                )


def main(arguments: list[str] | None = None) -> int:
    """Parse the words, write the bag, and say how large it became."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument('video', type=Path, help='the video file (vtest.avi)')
    parser.add_argument('output', type=Path, help='folder to create')
    parser.add_argument('--first', type=int, default=131, help='first frame, counted from 1')
    parser.add_argument('--count', type=int, default=120, help='number of frames')
    parser.add_argument('--quality', type=int, default=58, help='JPEG quality')
    words = parser.parse_args(arguments)
    if words.output.exists():
        print(f'{words.output}: exists already; remove it first', file=sys.stderr)
        return 1
    write_recording(
        words.video,
        words.output,
        first=words.first,
        count=words.count,
        quality=words.quality,
    )
    size = sum(entry.stat().st_size for entry in words.output.iterdir())
    print(f'{words.output}: frames {words.first} to {words.first + words.count - 1}, {size} bytes')
    if size > MOST_BYTES:
        print(f'larger than {MOST_BYTES} bytes: lower --quality or --count', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
