# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Why no image comes: nobody, another type, another transport, QoS; over real DDS."""

from collections.abc import Iterator

import numpy as np
import pytest
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from robot import detector, raw, Robot
from sensor_msgs.msg import CompressedImage, Image

from prune_perception.nodes.publishers import mismatch

BEST_EFFORT, RELIABLE = ReliabilityPolicy.BEST_EFFORT, ReliabilityPolicy.RELIABLE
VOLATILE, LATCHED = DurabilityPolicy.VOLATILE, DurabilityPolicy.TRANSIENT_LOCAL
TOPIC = '/camera/image_raw'
GREY = np.full((120, 160, 3), 127, np.uint8)


def profile(reliability: ReliabilityPolicy, durability: DurabilityPolicy = VOLATILE) -> QoSProfile:
    return QoSProfile(depth=1, reliability=reliability, durability=durability)


@pytest.mark.parametrize('offered, asked', [
    (profile(RELIABLE), profile(BEST_EFFORT)), (profile(RELIABLE), profile(RELIABLE)),
    (profile(RELIABLE, LATCHED), profile(BEST_EFFORT)),
    (profile(BEST_EFFORT), profile(BEST_EFFORT))])
def test_offer_that_is_enough(offered: QoSProfile, asked: QoSProfile) -> None:
    assert mismatch(offered, asked, TOPIC) is None


def test_offer_that_falls_short_in_both_policies() -> None:
    assert mismatch(profile(BEST_EFFORT), profile(RELIABLE, LATCHED), '/image') == (
        'publishes /image with reliability best_effort, but reliable is asked and durability '
        'volatile, but transient_local is asked; set '
        'qos_overrides./image.subscription.reliability to best_effort and '
        'qos_overrides./image.subscription.durability to volatile, and start the node again')


@pytest.mark.parametrize('policy, asked, offered', [
    ('reliability', 'reliable', 'best_effort'), ('durability', 'transient_local', 'volatile')])
def test_incompatible_publisher_is_told_with_the_policy_and_the_parameter(
        policy: str, asked: str, offered: str) -> None:
    override = f'qos_overrides.{TOPIC}.subscription.{policy}'
    with detector(parameters={'autostart': True, override: asked}) as robot:
        short = robot.create_publisher(Image, TOPIC, profile(BEST_EFFORT))
        if policy == 'durability':
            robot.destroy_publisher(short)
            short = robot.create_publisher(Image, TOPIC, profile(RELIABLE))
        timer = robot.create_timer(0.1, lambda: short.publish(raw(GREY)))
        status = robot.trouble('input', f'{policy} {offered}, but {asked} is asked')
        assert status.message.startswith(f'robot publishes {TOPIC} with {policy} {offered}')
        assert f'set {override} to {offered}, and start the node again' in status.message
        values = {item.key: item.value for item in status.values}
        assert (values['Publishers'], values['Images received']) == ('1', '0')
        # One that offers enough beside it, and images come.
        robot.destroy_timer(timer)
        enough = robot.create_publisher(Image, TOPIC, profile(RELIABLE, LATCHED))
        robot.create_timer(0.1, lambda: enough.publish(raw(GREY)))
        robot.wait_for(lambda: robot.detections, 'detections')


@pytest.fixture(scope='module')
def robot() -> Iterator[Robot]:
    with detector(parameters={'autostart': True}) as robot:
        yield robot


@pytest.fixture(scope='module')
def compressed_robot() -> Iterator[Robot]:
    with detector(parameters={'autostart': True, 'image_transport': 'compressed'}) as robot:
        yield robot


@pytest.mark.parametrize('kind, topic, words', [
    (CompressedImage, TOPIC,
     f'robot publishes {TOPIC} as sensor_msgs/msg/CompressedImage, and not as sensor_msgs/msg/'
     f'Image; set image_transport to compressed and have the camera publish on {TOPIC}/comp'),
    (CompressedImage, f'{TOPIC}/compressed',
     f'nobody publishes {TOPIC}; {TOPIC}/compressed is published: set image_transport to '
     'compressed'),
    (Image, '/front/image_raw',
     f'nobody publishes {TOPIC}; there are images at /front/image_raw: remap image, or')])
def test_who_mistook_the_topic_is_told(
        robot: Robot, kind: type, topic: str, words: str) -> None:
    _find(robot, kind, topic, words)


@pytest.mark.parametrize('kind, topic, words', [
    (Image, TOPIC, f'{TOPIC} is published: set image_transport to raw'),
    (CompressedImage, '/head/image_raw/compressed', 'images at /head/image_raw: remap image, or'),
    (Image, f'{TOPIC}/compressed',
     f'set image_transport to raw and remap image to {TOPIC}/compressed')])
def test_who_mistook_the_transport_is_told(
        compressed_robot: Robot, kind: type, topic: str, words: str) -> None:
    _find(compressed_robot, kind, topic, words)


def test_raw_transport_on_a_compressed_topic_is_told() -> None:
    topic = f'{TOPIC}/compressed'
    with detector(parameters={'autostart': True}, remappings={'image': topic}) as robot:
        _find(robot, CompressedImage, topic,
              f'set image_transport to compressed and remap image to {TOPIC}')


def test_topic_of_one_of_several_cameras_is_told_by_its_name() -> None:
    with detector(parameters={'autostart': True, 'cameras': ['front']}) as robot:
        robot.create_publisher(Image, '/head/image_raw', 1)
        robot.trouble(
            'front: input',
            'nobody publishes /front/image; there are images at /head/image_raw: '
            'remap front/image, or start')


def _find(robot: Robot, kind: type, topic: str, words: str) -> None:
    """See that a publisher is told of; the word of the last one goes with it."""
    publisher = robot.create_publisher(kind, topic, 1)
    try:
        robot.trouble('input', words)
    finally:
        robot.destroy_publisher(publisher)
