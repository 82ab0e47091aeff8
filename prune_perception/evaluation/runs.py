# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""What a detector made of the frames of a recording."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from prune_perception.detections import Detections
from prune_perception.runtime.detector import Timing


@dataclass(frozen=True, eq=False)
class FrameResult:
    """
    One frame, as one detector saw it.

    :param index: ``Frame.index`` in its recording.
    :param time_ns: ``Frame.time_ns``.
    :param stamp_ns: ``Frame.stamp_ns``.
    :param timing: durations of the detection, seconds; None where timing was not asked for.
    """

    index: int
    time_ns: int
    stamp_ns: int | None
    detections: Detections
    timing: Timing | None = None


@dataclass(frozen=True, eq=False)
class ModelRun:
    """
    One detector over one recording.

    :param name: of the model, unique in the evaluation.
    :param digest: of its bundle.
    :param class_names: that the detections index.
    :param engine: the engine's description.
    :param results: of the frames that could be read, in their order.
    :param energy: the card's modelled accounts, by hardware profile.
    :param certificate: of the card, if there is one.
    """

    name: str
    digest: str
    class_names: tuple[str, ...]
    engine: str
    results: tuple[FrameResult, ...]
    energy: Mapping[str, Any] = field(default_factory=dict)
    certificate: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Trouble:
    """A frame that could not be evaluated: file, topic and position, and why, in one line."""

    index: int
    reason: str
