# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Start the power monitor, and start it again should it end."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from prune_perception.node_process import dds_environment

PARAMETERS = {'battery_topic': str, 'meter': str, 'sample_rate': float}


def generate_launch_description() -> LaunchDescription:
    """Declare every argument at the top, so that ``--show-args`` lists them."""
    return LaunchDescription([
        DeclareLaunchArgument(
            'namespace', default_value='', description="Namespace: the detector's."),
        DeclareLaunchArgument(
            'battery_topic', default_value='',
            description='Topic with sensor_msgs/BatteryState to take as a meter; empty: none.'),
        DeclareLaunchArgument(
            'meter', default_value='', description='Meter to report; empty takes the best.'),
        DeclareLaunchArgument(
            'sample_rate', default_value='10.0', description='Reads a second.'),
        DeclareLaunchArgument(
            'discovery_range', default_value=dds_environment()['ROS_AUTOMATIC_DISCOVERY_RANGE'],
            choices=['LOCALHOST', 'SUBNET', 'OFF', 'SYSTEM_DEFAULT'],
            description="Who can find the node; as the detector's."),
        Node(
            package='prune_perception', executable='power_monitor', name='power_monitor',
            namespace=LaunchConfiguration('namespace'),
            parameters=[{name: ParameterValue(LaunchConfiguration(name), value_type=kind)
                         for name, kind in PARAMETERS.items()}],
            additional_env={
                'ROS_AUTOMATIC_DISCOVERY_RANGE': LaunchConfiguration('discovery_range')},
            output='screen', respawn=True, respawn_delay=1.0),
    ])
