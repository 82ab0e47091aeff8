# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""How the figures of detectors fall when the images go bad."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from prune_perception.evaluation.corruptions import CORRUPTIONS, create_corruption, SEVERITIES
from prune_perception.evaluation.evaluation import evaluate
from prune_perception.evaluation.figures import Evaluation, ModelFigures

Corrupted = Mapping[str, Mapping[int, Mapping[str, ModelFigures]]]
"""By name of the corruption and severity, the figures of each model."""


def under_corruptions(
        clean: Evaluation, models: Sequence[Path], *, names: Sequence[str] = tuple(CORRUPTIONS),
        severities: Sequence[int] = tuple(SEVERITIES),
        progress: Callable[[int, int | None], None] | None = None, **words: Any) -> Corrupted:
    """
    Evaluate again under each corruption at each severity.

    Without intervals, latencies and energy: these do not depend on what is in an image.

    :param clean: the evaluation of the images as they were recorded.
    :param models: folders of the same bundles.
    :param names: of corruptions.
    :param severities: from 1 to 5.
    :param progress: is told the frames that are done, and of how many in all.
    :param words: the arguments of :func:`.evaluation.evaluate` that ``clean`` was made with.
    :raises ValueError: no such corruption or severity.
    """
    kinds = [create_corruption(name, severity, clean.settings.seed)
             for name in names for severity in severities]
    settings = replace(clean.settings, draws=0)
    found: dict[str, dict[int, Mapping[str, ModelFigures]]] = {name: {} for name in names}
    for number, corruption in enumerate(kinds):
        def tell(done: int, total: int | None, before: int = number * clean.frames) -> None:
            if progress is not None:
                progress(before + done, len(kinds) * clean.frames)
        evaluation = evaluate(
            Path(clean.source), models, settings=settings, timing=False, corruption=corruption,
            progress=tell, **words)
        found[corruption.name][corruption.severity] = evaluation.figures
    return found


def as_plain(corrupted: Corrupted) -> dict[str, Any]:
    """Return the figures under corruptions as plain values, ready for JSON."""
    return {
        name: {str(severity): {model: dict(figures.values) for model, figures in by_model.items()}
               for severity, by_model in by_severity.items()}
        for name, by_severity in corrupted.items()}
