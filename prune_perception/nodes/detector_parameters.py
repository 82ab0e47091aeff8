# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The parameters of the detector node."""

from collections.abc import Sequence
from typing import Any

from rclpy.node import Node
from rclpy.parameter import Parameter

from prune_perception.bundle import Bundle
from prune_perception.frames.encodings import MAX_PIXELS
from prune_perception.nodes.camera_settings import (
    CAMERA_PARAMETERS,
    camera_specs,
    check_value,
    names_problem,
    PRIORITY,
)
from prune_perception.nodes.parameters import declare, ParameterSpec, texts, warn_of_strangers
from prune_perception.runtime.engines import ENGINES, PRECISIONS

TRANSPORTS = ('raw', 'compressed')

PARAMETERS = (
    ParameterSpec(
        'model', 'nanodet_g',
        'Model bundle: a folder, or the name of one that is shipped under models/.'),
    ParameterSpec(
        'ladder', [''], 'Two bundles or more with the same classes, named as for model and in any '
        'order; the governor chooses among them, and model is not used. Empty: no governor.'),
    ParameterSpec(
        'pinned', '', 'Run this bundle of the ladder, whatever the budgets; empty lets the '
        'governor choose.', live=True),
    ParameterSpec(
        'budget.latency_ms', 0.0, 'The results of 95 of 100 images are out so many ms after their '
        'arrival; 0 means no budget.', limits=(0.0, 60_000.0), live=True),
    ParameterSpec(
        'budget.watts', 0.0, 'W, on the rail that ~/power is of; 0 means no budget.',
        limits=(0.0, 10_000.0), live=True),
    ParameterSpec(
        'budget.battery_percent', 0.0, 'Least level on the topic `battery`; below it energy is '
        'saved. 0 means no budget.', limits=(0.0, 100.0), live=True),
    ParameterSpec(
        'budget.temperature_c', 0.0, 'Of the processor, or what the topic `temperature` says, °C; '
        '0 means no budget.', limits=(0.0, 150.0), live=True),
    ParameterSpec(
        'governor.down_after', 3.0, 'Seconds for which a budget is broken before a smaller bundle '
        'is taken.', limits=(1.0, 600.0), live=True),
    ParameterSpec(
        'governor.up_after', 20.0, 'Seconds for which there is room before a larger bundle is '
        'taken.', limits=(5.0, 86_400.0), live=True),
    ParameterSpec(
        'engine', 'onnxruntime', 'Inference engine.', choices=tuple(ENGINES)),
    ParameterSpec(
        'threads', 0, 'Threads for one inference; 0 leaves the number to the engine. A new engine '
        'is made ready beside the running one and takes over between two images.',
        limits=(0, 256), live=True),
    ParameterSpec(
        'precision', 'f32', 'Precision of the arithmetic; an engine that cannot promise it '
        'refuses.', choices=PRECISIONS),
    ParameterSpec(
        'providers', [''], "ONNX Runtime's execution providers in order of preference, such as "
        'TensorRT, CUDA, CPU; empty means the CPU.'),
    ParameterSpec(
        'inference_timeout', 1.5, 'Seconds for one image, after which the engine is made to give '
        'it up or, where it cannot, the process ends to be started again; at least 20 times what '
        'one took at warm-up. 0 means no limit.', limits=(0.0, 600.0), live=True),
    ParameterSpec(
        'image_transport', 'raw', 'raw: sensor_msgs/Image on the topic `image`; compressed: '
        'sensor_msgs/CompressedImage on `image/compressed`.', choices=TRANSPORTS),
    ParameterSpec(
        'cameras', [''], 'Names of several cameras, each with topics and parameters of its own; '
        'empty means one camera on the topic `image`.', read_only=True),
    *CAMERA_PARAMETERS,
    ParameterSpec(
        'score_threshold', 0.35, 'Detections at or below this score are left out.',
        limits=(0.01, 0.99), live=True),
    ParameterSpec(
        'iou_threshold', 0.6, 'Boxes of one class whose intersection over union is above this '
        'are one object.', limits=(0.0, 1.0), live=True),
    ParameterSpec(
        'max_detections', 100, 'Detections in one image, the best first.', limits=(1, 1000),
        live=True),
    ParameterSpec(
        'annotated_image', False, 'Offer ~/annotated_image, drawn only while somebody '
        'subscribes. Off by default: images then do not leave the node.'),
    ParameterSpec(
        'max_image_pixels', MAX_PIXELS, 'Larger images are refused before they are decoded.',
        limits=(1, 1_000_000_000)),
    ParameterSpec(
        'hardware_profile', '', 'Hardware profile whose modelled energy is reported, of those in '
        "the bundle's card; empty takes the newest."),
    ParameterSpec(
        'root', '/', 'Root of the tree with sys and proc, for power and temperature; another than '
        '/ is a recorded machine.', read_only=True),
    ParameterSpec(
        'hardware_id', '', 'hardware_id of the diagnostics; empty means the name of the host.',
        read_only=True),
    ParameterSpec(
        'autostart', False, 'Configure and activate at start, so that a node that was started '
        'again comes back alone.', read_only=True),
)

_CAMERA_NAMES = {spec.name for spec in (PRIORITY, *CAMERA_PARAMETERS)}


class DetectorParameters:
    """
    Declares the parameters of a detector node, those of each camera included, and checks them.

    ``cameras`` has the names of the cameras: one empty name where the node has one camera, whose
    parameters are the node's own. ``problems`` has a line for each value given at start that
    cannot be, by the parameter's name.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._specs = {spec.name: spec for spec in PARAMETERS}
        self.problems = declare(node, PARAMETERS)
        names = texts(node, 'cameras')
        problem = names_problem(names)
        if problem is not None:
            self.problems['cameras'] = f'parameter cameras: {problem}; start the node again'
            names = ()
        self.cameras = names or ('',)
        for camera in names:
            specs = camera_specs(camera, self._value)
            self._specs |= {spec.name: spec for spec in specs}
            self.problems |= declare(node, specs)
        # Those of the node itself are only what the cameras start with, where there are several.
        for name in self._specs:
            if self._is_of_a_camera(name) and name not in self.problems:
                try:
                    check_value(name, self._value(name), None)
                except ValueError as error:
                    self.problems[name] = str(error)
        warn_of_strangers(node, self._why_no_camera_has)

    def check(self, parameters: Sequence[Parameter], bundle: Bundle | None) -> str | None:
        """
        Return why parameters cannot be set, None if they can.

        :param bundle: what the node is configured with.
        """
        for parameter in parameters:
            spec = self._specs.get(parameter.name)
            if spec is None:
                continue
            if spec.choices and parameter.value not in spec.choices:
                return (f'{spec.name} is {parameter.value!r}; it must be one of '
                        f'{", ".join(spec.choices)}')
            if not spec.live and bundle is not None:
                return (f'{spec.name} takes effect when the node is configured; deactivate and '
                        'clean it up first')
            if self._is_of_a_camera(spec.name):
                try:
                    check_value(spec.name, parameter.value, bundle)
                except ValueError as error:
                    return str(error)
            elif spec.name in _CAMERA_NAMES and spec.name not in self.problems:
                return (f'{spec.name} is what the cameras start with; set '
                        f'{" or ".join(f"{camera}.{spec.name}" for camera in self.cameras)}')
        return None

    def camera_of(self, name: str) -> str | None:
        """Return the camera whose parameter this is; None where it is no camera's."""
        return name.rpartition('.')[0] if self._is_of_a_camera(name) else None

    def _is_of_a_camera(self, name: str) -> bool:
        camera, _, own_name = name.rpartition('.')
        return camera in self.cameras and own_name in _CAMERA_NAMES

    def _why_no_camera_has(self, name: str) -> str | None:
        """Say why a camera's parameter is none here; None where it is no camera's at all."""
        camera, _, own_name = name.rpartition('.')
        if own_name not in _CAMERA_NAMES:
            return None
        if not camera:  # all but the priority are the node's own, too
            return f'only with several cameras has each one, as NAME.{own_name}'
        return f'there is no camera {camera!r} in the parameter cameras'

    def _value(self, name: str) -> Any:
        return self._node.get_parameter(name).value
