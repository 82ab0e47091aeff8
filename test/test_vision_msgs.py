# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Check that vision_msgs here is the vision_msgs of the robots.

Two nodes talk only when the hashes of their message types are equal. The ones below are those of
vision_msgs 4.1.1, generated from its own definitions (ros-perception/vision_msgs).
"""

import importlib
import json
from pathlib import Path
import time

import pytest

HASHES = {
    'BoundingBox2D': '008eacbb0cf8f26e83795547bed013eec3675485ef386ec056d80eaaf1c1ce2f',
    'Detection2D': '0d12b69df5c593b3455b7346fac8205437a7d4bcb09b9e0e0b2dde787ded38ea',
    'Detection2DArray': '214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968',
    'LabelInfo': '3d37df4015cdf660cc851c51897f2acd957e1ca6205ba0a99aebffb9406b0783',
    'ObjectHypothesis': '51da43cec11c01957a64d1e05a24acd18aae7745ec30b74348ad5f6d634f7f90',
    'ObjectHypothesisWithPose': '41c12344c0396c48b81df12467c192d99b2a0eb1463c5c37194e4223251c80bc',
    'Point2D': 'eab0e83f44ab4de92ceaf76dd7d0e7638f2bdd1d16ffbe16c7a136c48e407247',
    'Pose2D': 'b0b5d1d7b4c20dd4fcde3ed1d4b289a919290572007d67a97043814db25d3648',
    'VisionClass': '1e4a11f0fed50b5623cb8ff26ca0e37952a48a9c074d16f804b44e9164c2037a',
    'VisionInfo': '95d3116a17484ad91c9a2686e1d54890bbfc3ff6c6a2de137738c4950d45d284',
}
ROOT = Path(__file__).resolve().parent.parent


def test_every_definition_has_its_hash() -> None:
    folder = ROOT / 'environment' / 'interfaces' / 'vision_msgs' / 'msg'
    assert {path.stem for path in folder.glob('*.msg')} == set(HASHES)


@pytest.fixture(scope='module')
def node():
    """Make a node that nobody else hears of."""
    rclpy = pytest.importorskip('rclpy', reason='needs ROS 2')
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node('type_hashes', context=context)
    yield node
    node.destroy_node()
    rclpy.shutdown(context=context)


@pytest.mark.parametrize('name', sorted(HASHES))
def test_published_type_hash_is_that_of_the_robots(node, name: str) -> None:
    message = getattr(importlib.import_module('vision_msgs.msg'), name)
    topic = f'/type_hashes/{name}'
    publisher = node.create_publisher(message, topic, 1)
    # The graph learns of the publisher in its own time.
    deadline = time.monotonic() + 10
    while not (known := node.get_publishers_info_by_topic(topic)):
        assert time.monotonic() < deadline, f'{topic} is not in the graph'
        time.sleep(0.01)
    node.destroy_publisher(publisher)
    assert [str(info.topic_type_hash) for info in known] == [f'RIHS01_{HASHES[name]}']


@pytest.mark.parametrize('name', sorted(HASHES))
def test_installed_description_has_the_same_hash(name: str) -> None:
    package = pytest.importorskip('vision_msgs', reason='needs ROS 2')
    prefix = Path(next(iter(package.__path__))).resolve().parents[3]
    description = prefix / 'share' / 'vision_msgs' / 'msg' / f'{name}.json'
    hashes = {entry['type_name']: entry['hash_string']
              for entry in json.loads(description.read_text())['type_hashes']}
    assert hashes[f'vision_msgs/msg/{name}'] == f'RIHS01_{HASHES[name]}'
