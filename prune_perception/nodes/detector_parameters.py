# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The parameters of the detector node."""

from prune_perception.frames.encodings import MAX_PIXELS
from prune_perception.nodes.parameters import ParameterSpec
from prune_perception.runtime.engines import ENGINES, PRECISIONS

TRANSPORTS = ('raw', 'compressed')

PARAMETERS = (
    ParameterSpec(
        'model', 'nanodet_g',
        'Model bundle: a folder, or the name of one that is shipped under models/.'),
    ParameterSpec(
        'engine', 'onnxruntime', 'Inference engine.', choices=tuple(ENGINES)),
    ParameterSpec(
        'threads', 0, 'Threads for one inference; 0 leaves the number to the engine.',
        limits=(0, 256)),
    ParameterSpec(
        'precision', 'f32', 'Precision of the arithmetic; an engine that cannot promise it '
        'refuses.', choices=PRECISIONS),
    ParameterSpec(
        'providers', [''], "ONNX Runtime's execution providers in order of preference, such as "
        'TensorRT, CUDA, CPU; empty means the CPU.'),
    ParameterSpec(
        'image_transport', 'raw', 'raw: sensor_msgs/Image on the topic `image`; compressed: '
        'sensor_msgs/CompressedImage on `image/compressed`.', choices=TRANSPORTS),
    ParameterSpec(
        'classes', [''], 'Report these classes alone; empty means all of the bundle.'),
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
        'expected_rate', 0.0, 'Rate of the camera in Hz, to tell when images are lost on the '
        'way; 0 takes the rate of the camera_info topic beside the images.',
        limits=(0.0, 1000.0), live=True),
    ParameterSpec(
        'max_image_pixels', MAX_PIXELS, 'Larger images are refused before they are decoded.',
        limits=(1, 1_000_000_000)),
    ParameterSpec(
        'hardware_profile', '', "Hardware profile whose modelled energy is reported, of those in "
        "the bundle's card; empty takes the newest."),
    ParameterSpec(
        'hardware_id', '', 'hardware_id of the diagnostics; empty means the name of the host.',
        read_only=True),
    ParameterSpec(
        'autostart', False, 'Configure and activate at start, so that a node that was started '
        'again comes back alone.', read_only=True),
)
