# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Start the detector node, and start it again whenever its process ends.

However it ends: whoever wants it to stop working has the lifecycle transitions for that, and
Ctrl-C for the whole launch.
"""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from rclpy.validate_full_topic_name import validate_full_topic_name

from prune_perception.node_process import dds_environment, profile_variable
from prune_perception.resources import find_config

# Parameters that an argument of the same name overrides when it is not empty, and their types.
OVERRIDES = {
    'model': str, 'engine': str, 'threads': int, 'image_transport': str, 'autostart': bool,
    'use_sim_time': bool}

BOOLEANS = ['true', 'false', 'True', 'False']
LOG_LEVELS = ['debug', 'info', 'warn', 'error', 'fatal']
DISCOVERY_RANGES = ['LOCALHOST', 'SUBNET', 'OFF', 'SYSTEM_DEFAULT']


def generate_launch_description() -> LaunchDescription:
    """Declare every argument at the top, so that ``--show-args`` lists them."""
    dds = dds_environment()

    def argument(name: str, default: str, description: str, choices: list[str] | None = None
                 ) -> DeclareLaunchArgument:
        return DeclareLaunchArgument(
            name, default_value=default, description=description, choices=choices)

    from_file = 'empty takes it from params_file'
    return LaunchDescription([
        argument('model', '', f'Model bundle: a folder or a name under models/; {from_file}.'),
        argument(
            'ladder', '', 'Bundles for the governor, instead of a model: '
            f'nanodet_g_person_50,nanodet_g_person_10; {from_file}.'),
        argument('image_topic', '/camera/image_raw', 'Base topic of the only camera.'),
        argument(
            'cameras', '', 'Several cameras: front=/front/image_raw,rear=/rear/image_raw. A name '
            f'alone means /NAME/image_raw; {from_file}.'),
        argument('image_transport', '', f'raw or compressed; {from_file}.'),
        argument('namespace', '', 'Namespace of the node.'),
        argument('name', 'detector', 'Name of the node.'),
        argument(
            'params_file', str(find_config('perception.yaml')),
            'Parameters of the node; what it leaves out is as in the default file.'),
        argument('engine', '', f'onnxruntime, openvino or torch; {from_file}.'),
        argument('threads', '', f'Threads for one inference, 0 is automatic; {from_file}.'),
        argument(
            'autostart', '', f'Configure and activate at start; {from_file}.', ['', *BOOLEANS]),
        argument(
            'use_sim_time', '', f'Take the time from /clock; {from_file}.', ['', *BOOLEANS]),
        argument('respawn', 'true', 'Start the node again when its process ends.', BOOLEANS),
        argument('log_level', 'info', 'Least severity that is logged.', LOG_LEVELS),
        argument(
            'discovery_range', dds['ROS_AUTOMATIC_DISCOVERY_RANGE'],
            'Who can find the node: this host, or its subnet, too.', DISCOVERY_RANGES),
        argument(
            'fastdds_profile', dds[profile_variable()],
            'Fast DDS profile that delivers images; the camera needs it, too.'),
        OpaqueFunction(function=start_detector),
    ])


def bundles_of(words: str) -> list[str]:
    """
    Return the names of a ladder's bundles, from NAME,NAME,...

    :raises ValueError: one has no name.
    """
    names = [word.strip() for word in words.split(',')] if words else []
    if not all(names):
        raise ValueError(
            f'ladder:={words}: write the names or folders of the bundles with commas between them')
    return names


def cameras_of(words: str) -> dict[str, str]:
    """
    Return the topics of cameras by their names, from NAME=TOPIC,NAME,...

    :raises ValueError: a name or a topic is missing, or a name is there twice.
    """
    cameras: dict[str, str] = {}
    for word in words.split(',') if words else ():
        name, equals, topic = (part.strip() for part in word.partition('='))
        if not name or name in cameras or (equals and not topic):
            raise ValueError(
                f'cameras:={words}: {word!r} is no camera; write NAME=TOPIC or NAME, each name '
                'once, with commas between them')
        cameras[name] = topic or f'/{name}/image_raw'
    return cameras


def start_detector(context: LaunchContext) -> list[Node]:
    """
    Return the node, with those arguments that were given over the parameters file.

    :raises ValueError: when an argument cannot be. Launch or the node would only warn of some,
        and start a node that ends at once, again and again, of others.
    """
    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    for name in ('params_file', 'fastdds_profile'):
        if not Path(value(name)).is_file():
            raise ValueError(f'{name}:={value(name)}: there is no such file')
    if value('threads') and not value('threads').isdecimal():
        raise ValueError(f'threads:={value("threads")}: must be a whole number, 0 or more')
    ladder = bundles_of(value('ladder'))
    cameras = cameras_of(value('cameras'))
    topics = {f'{name}/image': topic for name, topic in cameras.items()} or {
        'image': value('image_topic')}
    for topic in topics.values():
        validate_full_topic_name(f'/{topic.removeprefix("/")}')

    files = dict.fromkeys([str(find_config('perception.yaml')), value('params_file')])
    return [Node(
        package='prune_perception',
        executable='detector_node',
        name=value('name'),
        namespace=value('namespace'),
        parameters=[*files, {
            name: ParameterValue(LaunchConfiguration(name), value_type=kind)
            for name, kind in OVERRIDES.items() if value(name)},
            *([{'ladder': ladder}] if ladder else []),
            *([{'cameras': list(cameras)}] if cameras else [])],
        remappings=list(topics.items()),
        arguments=['--ros-args', '--log-level', value('log_level')],
        additional_env={
            profile_variable(): value('fastdds_profile'),
            'ROS_AUTOMATIC_DISCOVERY_RANGE': value('discovery_range')},
        output='screen',
        respawn=value('respawn').lower() == 'true',
        respawn_delay=1.0,
    )]
