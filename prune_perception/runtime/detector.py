# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The detector: a bundle, an engine and a decoder joined, from an image to detections."""

from collections.abc import Sequence
from dataclasses import dataclass
import statistics
import time

import numpy as np
from numpy.typing import NDArray

from prune_perception.bundle import Bundle
from prune_perception.detections import Detections
from prune_perception.runtime.decoders import create_decoder
from prune_perception.runtime.engines import create_engine, EngineError, EngineOptions
from prune_perception.runtime.nms import best_of
from prune_perception.runtime.preprocess import Preprocessor

# Suppression compares each box with each better one; far more than an image has objects, and
# few enough to bound the time when the threshold is set very low.
MAX_CANDIDATES = 2000


@dataclass(frozen=True)
class Timing:
    """Durations of one detection by the monotonic clock, seconds."""

    preprocess: float
    inference: float
    postprocess: float


@dataclass(frozen=True)
class Result:
    """The detections of one image and what they took."""

    detections: Detections
    timing: Timing


class Detector:
    """
    Finds objects in images.

    ``score_threshold``, ``iou_threshold``, ``max_detections`` and ``wanted``, the indices of the
    classes to report (None means all), may be set between two images.

    :param bundle: the detector's model.
    :param engine: ``onnxruntime``, ``openvino`` or ``torch``.
    :param threads: for one inference; 0 leaves the number to the engine.
    :param precision: ``f32``, ``f16`` or ``bf16``.
    :param providers: ONNX Runtime's execution providers in order of preference.
    :param score_threshold: detections at or below it are left out.
    :param iou_threshold: boxes of one class that overlap by more are one object.
    :param max_detections: for one image.
    :param class_names: report these alone; None means all.
    :raises EngineError: the engine cannot be had, or a class name is not the bundle's.
    :raises BundleError: the bundle's network does not fit its card.
    """

    def __init__(
            self, bundle: Bundle, *, engine: str = 'onnxruntime', threads: int = 0,
            precision: str = 'f32', providers: Sequence[str] = (),
            score_threshold: float = 0.35, iou_threshold: float = 0.6,
            max_detections: int = 100, class_names: Sequence[str] | None = None) -> None:
        self.options = EngineOptions(engine, threads, precision, tuple(providers))
        self.bundle = bundle
        self.score_threshold = score_threshold
        self.iou_threshold = iou_threshold
        self.max_detections = max_detections
        self.wanted = None if class_names is None else class_indices(bundle, class_names)
        self._preprocess = Preprocessor(bundle.card.input)
        self._decode = create_decoder(bundle)
        self.engine = create_engine(bundle, self.options)

    @property
    def input_size(self) -> tuple[int, int]:
        """Width and height of the network's input, pixels."""
        spec = self.bundle.card.input
        return spec.width, spec.height

    def detect(self, image: NDArray[np.uint8]) -> Result:
        """
        Find the objects in an image.

        :param image: (height, width, 3) BGR.
        """
        start = time.monotonic()
        tensor, placement = self._preprocess(image)
        prepared = time.monotonic()
        outputs = self.engine.run(tensor)
        inferred = time.monotonic()
        boxes, scores, classes = self._decode(outputs, self.score_threshold)
        if self.wanted is not None:
            wanted = np.isin(classes, self.wanted)
            boxes, scores, classes = boxes[wanted], scores[wanted], classes[wanted]
        if len(scores) > MAX_CANDIDATES:
            best = np.argpartition(scores, -MAX_CANDIDATES)[-MAX_CANDIDATES:]
            boxes, scores, classes = boxes[best], scores[best], classes[best]
        kept = best_of(boxes, scores, classes, self.iou_threshold, self.max_detections,
                       nms=self._decode.nms)
        boxes = placement.to_source(boxes[kept])
        # What was seen in the bars of a letterbox lies outside the image and was clipped away.
        inside = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        detections = Detections(boxes[inside], scores[kept][inside], classes[kept][inside])
        return Result(detections, Timing(
            prepared - start, inferred - prepared, time.monotonic() - inferred))

    def cancel(self) -> None:
        """Ask the engine to end what :meth:`detect` is at in another thread; it then raises."""
        self.engine.cancel()

    def warm_up(self, runs: int = 3) -> float:
        """
        Run the network on a grey image, so that the first real one does not wait.

        :returns: the median duration of an inference after the first, seconds.
        """
        spec = self.bundle.card.input
        image = np.full((spec.height, spec.width, 3), 127, np.uint8)
        durations = [self.detect(image).timing.inference for _ in range(runs + 1)]
        return statistics.median(durations[1:])


def class_indices(bundle: Bundle, class_names: Sequence[str]) -> NDArray[np.int64]:
    """
    Return the indices of classes of a bundle.

    :raises EngineError: a name is not the bundle's.
    """
    known = bundle.card.class_names
    unknown = [name for name in class_names if name not in known]
    if unknown:
        raise EngineError(
            f'class {", ".join(map(repr, unknown))} is not in bundle {bundle.card.name}; it has '
            f'{", ".join(known)}')
    return np.array([known.index(name) for name in class_names], np.int64)
