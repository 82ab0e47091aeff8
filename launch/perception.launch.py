# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Start the detector node, and start it again should it end."""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchContext, LaunchDescription
from prune_perception.node_process import profile_variable
from prune_perception.resources import find_config

# Parameters that an argument of the same name overrides when it is not empty, and their types.
OVERRIDES = {
    'model': str, 'engine': str, 'threads': int, 'image_transport': str, 'autostart': bool,
    'use_sim_time': bool}


def generate_launch_description() -> LaunchDescription:
    """Declare every argument at the top, so that ``--show-args`` lists them."""
    profile = str(find_config('fastdds.xml'))

    def argument(name: str, default: object, description: str) -> DeclareLaunchArgument:
        return DeclareLaunchArgument(name, default_value=default, description=description)

    from_file = 'empty takes it from params_file'
    return LaunchDescription([
        argument('model', '', f'Model bundle: a folder or a name under models/; {from_file}.'),
        argument('image_topic', '/camera/image_raw', 'Base topic of the camera.'),
        argument('image_transport', '', f'raw or compressed; {from_file}.'),
        argument('namespace', '', 'Namespace of the node.'),
        argument('name', 'detector', 'Name of the node.'),
        argument('params_file', str(find_config('perception.yaml')), 'Parameters of the node.'),
        argument('engine', '', f'onnxruntime, openvino or torch; {from_file}.'),
        argument('threads', '', f'Threads for one inference, 0 is automatic; {from_file}.'),
        argument('autostart', '', f'Configure and activate at start; {from_file}.'),
        argument('use_sim_time', '', f'Take the time from /clock; {from_file}.'),
        argument('respawn', 'true', 'Start the node again should it end.'),
        argument('log_level', 'info', 'debug, info, warn, error or fatal.'),
        argument(
            'discovery_range',
            EnvironmentVariable('ROS_AUTOMATIC_DISCOVERY_RANGE', default_value='LOCALHOST'),
            'Who can find the node: LOCALHOST, SUBNET or OFF.'),
        argument(
            'fastdds_profile',
            EnvironmentVariable(profile_variable(), default_value=profile),
            'Fast DDS profile that delivers images; the camera needs it too.'),
        OpaqueFunction(function=start_detector),
    ])


def start_detector(context: LaunchContext) -> list[Node]:
    """Return the node, with those arguments that were given over the parameters file."""
    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    return [Node(
        package='prune_perception',
        executable='detector_node',
        name=value('name'),
        namespace=value('namespace'),
        parameters=[
            value('params_file'),
            {name: ParameterValue(value(name), value_type=kind)
             for name, kind in OVERRIDES.items() if value(name)}],
        remappings=[('image', value('image_topic'))],
        arguments=['--ros-args', '--log-level', value('log_level')],
        additional_env={
            profile_variable(): value('fastdds_profile'),
            'ROS_AUTOMATIC_DISCOVERY_RANGE': value('discovery_range')},
        output='screen',
        respawn=value('respawn').lower() in ('true', '1'),
        respawn_delay=1.0,
    )]
