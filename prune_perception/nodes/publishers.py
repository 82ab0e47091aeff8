# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Why no image comes, as far as the ROS graph tells it, and what would mend that."""

from collections.abc import Iterable, Sequence
import copy
from typing import Any

from rclpy.node import Node
from rclpy.qos import qos_check_compatible, QoSCompatibility, QoSProfile
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage

# Those in which an offer can fall short of what is asked. There are deadline and liveliness, too,
# but of these a subscription to images asks for nothing, and no parameter makes it.
_POLICIES = ('reliability', 'durability')
_RAW, _COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
_MOST_TOPICS = 3


def obstacle(node: Node, subscription: Subscription, name: str = 'image') -> str | None:
    """
    Return why no image can come, with the remedy; None where somebody's images could.

    :param subscription: to images, raw or compressed.
    :param name: of the topic before it is remapped, such as ``front/image``.
    """
    topic = subscription.topic_name
    wanted, other = (_COMPRESSED, _RAW) if subscription.msg_type is CompressedImage else (
        _RAW, _COMPRESSED)
    publishers = node.get_publishers_info_by_topic(topic)
    if not publishers:
        return f'nobody publishes {topic}; {_where_images_are(node, topic, wanted, other, name)}'
    of_the_type = [each for each in publishers if each.topic_type == wanted]
    if not of_the_type:
        types = {each.topic_type for each in publishers}
        return (f'{_names(publishers)} publishes {topic} as {", ".join(sorted(types))}, and not '
                f'as {wanted}; {_remedy_for_type(topic, wanted, other in types, name)}')
    found = [f'{each.node_name} {text}' for each in of_the_type if (
        text := mismatch(each.qos_profile, subscription.qos_profile, topic)) is not None]
    return '; '.join(found) if len(found) == len(of_the_type) else None


def mismatch(offered: QoSProfile, asked: QoSProfile, topic: str) -> str | None:
    """Return which policies keep a publisher's messages from a subscription; None if none does."""
    policies = []
    for policy in _POLICIES:
        # Compared one by one, since the middleware's own answer has no values in it.
        alone = copy.copy(asked)
        setattr(alone, policy, getattr(offered, policy))
        if qos_check_compatible(alone, asked)[0] == QoSCompatibility.ERROR:
            policies.append(policy)
    if not policies:
        return None
    return 'publishes {} with {}; {}, and start the node again'.format(
        topic,
        ' and '.join(f'{policy} {_word(offered, policy)}, but {_word(asked, policy)} is asked'
                     for policy in policies),
        'set ' + ' and '.join(
            f'qos_overrides.{topic}.subscription.{policy} to {_word(offered, policy)}'
            for policy in policies))


def _word(profile: QoSProfile, policy: str) -> str:
    word: str = getattr(profile, policy).name.lower()
    return word


def _names(publishers: Sequence[Any]) -> str:
    return ' and '.join(sorted({each.node_name for each in publishers}))


def _remedy_for_type(topic: str, wanted: str, is_other: bool, name: str) -> str:
    if not is_other:
        return f'remap {name} to a topic of images'
    if wanted == _COMPRESSED:
        return f'set image_transport to raw and remap {name} to {topic}'
    if topic.endswith('/compressed'):
        return (f'set image_transport to compressed and remap {name} to '
                f'{topic.removesuffix("/compressed")}')
    return f'set image_transport to compressed and have the camera publish on {topic}/compressed'


def _where_images_are(node: Node, topic: str, wanted: str, other: str, name: str) -> str:
    """Return where images are to be had, for whoever mistook a name or a transport."""
    own = f'{node.get_fully_qualified_name()}/'
    types = {each: kinds for each, kinds in node.get_topic_names_and_types()
             if not each.startswith(own) and node.count_publishers(each)}
    if wanted == _RAW and other in types.get(f'{topic}/compressed', ()):
        return f'{topic}/compressed is published: set image_transport to compressed'
    raw_topic = topic.removesuffix('/compressed')
    if wanted == _COMPRESSED and other in types.get(raw_topic, ()):
        return f'{raw_topic} is published: set image_transport to raw'
    suffix = '/compressed' if wanted == _COMPRESSED else ''
    found = [each.removesuffix(suffix) for each, kinds in types.items()
             if wanted in kinds and each.endswith(suffix)]
    if found:
        return (f'there are images at {_list(found)}: remap {name}, or start the driver of the '
                'camera')
    return 'start the driver of the camera'


def _list(topics: Iterable[str]) -> str:
    names = sorted(topics)
    more = len(names) - _MOST_TOPICS
    return ', '.join(names[:_MOST_TOPICS]) + (f' and {more} more' if more > 0 else '')
