# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Play a recording into camera topics, where there is no ``ros2 bag play``."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from prune_perception.node_process import dds_environment, profile_variable

PARAMETERS = {
    'recording': str, 'topic': str, 'image_topic': str, 'rate': float, 'loop': bool,
    'start_offset': float, 'clock': bool, 'start_paused': bool}
BOOLEANS = ['true', 'false', 'True', 'False']


def generate_launch_description() -> LaunchDescription:
    """Declare every argument at the top, so that ``--show-args`` lists them."""
    dds = dds_environment()

    def argument(name: str, default: str | None, description: str,
                 choices: list[str] | None = None) -> DeclareLaunchArgument:
        return DeclareLaunchArgument(
            name, default_value=default, description=description, choices=choices)

    return LaunchDescription([
        argument('recording', None, 'Bag, video or folder of images.'),
        argument('topic', '', 'Image topic of the bag; empty where it has one.'),
        argument('image_topic', '/camera/image_raw', 'Base topic to publish to.'),
        argument('rate', '1.0', 'How many times faster than recorded.'),
        argument('loop', 'false', 'Begin again at the end.', BOOLEANS),
        argument('start_offset', '0.0', 'Seconds of the recording to leave out.'),
        argument(
            'clock', 'false', 'Keep the recorded stamps and publish /clock; give the other nodes '
            'use_sim_time.', BOOLEANS),
        argument('start_paused', 'false', 'Wait for ~/resume or ~/step.', BOOLEANS),
        argument('namespace', '', 'Namespace of the node.'),
        argument('name', 'replay', 'Name of the node.'),
        argument(
            'discovery_range', dds['ROS_AUTOMATIC_DISCOVERY_RANGE'],
            'Who can find the node: this host, or its subnet, too.',
            ['LOCALHOST', 'SUBNET', 'OFF', 'SYSTEM_DEFAULT']),
        argument(
            'fastdds_profile', dds[profile_variable()], 'Fast DDS profile that delivers images.'),
        Node(
            package='prune_perception', executable='replay_node',
            name=LaunchConfiguration('name'), namespace=LaunchConfiguration('namespace'),
            parameters=[{name: ParameterValue(LaunchConfiguration(name), value_type=kind)
                         for name, kind in PARAMETERS.items()}],
            additional_env={
                profile_variable(): LaunchConfiguration('fastdds_profile'),
                'ROS_AUTOMATIC_DISCOVERY_RANGE': LaunchConfiguration('discovery_range')},
            output='screen'),
    ])
