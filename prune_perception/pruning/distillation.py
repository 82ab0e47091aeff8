# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Distillation: a small network learns from the outputs of the dense one, without labels.

The teacher looks at each of a pool of views, and at its mirror image; the student learns from
both until the time or the steps are over, and keeps the weights that did best on frames kept
aside.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
import math
import time

import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from prune_perception.bundle import Card, InputSpec
from prune_perception.pruning.footage import Images, tensor_of
from prune_perception.pruning.heads import Head, Loss, Outputs
from prune_perception.pruning.latency import engine_for
from prune_perception.pruning.views import view

Index = NDArray[np.int64]
Progress = Callable[[float, str], None]

FAR = 0.3
"""Loss from which on a student has everything to learn."""

Teacher = Callable[[Images], Outputs]
"""Takes uint8 (1, height, width, 3) and returns the dense network's outputs, (1, …) each."""

_POOL_SHARE = 0.25  # of the time limit, at most, goes into the pool
_POOL_BYTES = 1 << 30  # 1 GiB: with the footage and the networks, pruning stays below 4 GiB
_SELECT_FRAMES = 48  # of those kept aside, that are looked at: evenly spread
_EVALUATIONS = 15  # at most, beside that of the start
_EVALUATION_SHARE = 0.15  # of the time that is left, at most
_LARGEST_GRADIENT = 5.0  # Euclidean norm
_DIVERGED = 3.0  # times the loss before training, at which steps were too large
_PATIENCE = 10  # steps over which that loss is averaged
_WORSE = 1.5  # times the best loss on frames kept aside, at which they were, too
_SMALLER = 0.25  # the learning rate after that, as a share of the one before
_AVERAGING = 0.98  # decay of the moving average of the weights, for each step


@dataclass(frozen=True)
class Settings:
    """
    How to distil; ``seconds``, ``steps`` or both bound it, whichever is reached first.

    :param batch: views in a step.
    :param learning_rate: of AdamW (Loshchilov and Hutter, ICLR 2019), at its peak; it falls along
        half a cosine to 0. A student that begins with a loss below ``FAR`` takes a share of it in
        proportion: larger steps would lose what restoration has found. Where the loss grows to
        three times what it was (networks without normalisation bear smaller steps than others),
        or on frames kept aside to one and a half times the best, the best weights come back and
        the rate falls to a quarter.
    :param views: in the pool, at most.
    :param seconds: for everything, by the monotonic clock. How many steps that allows is the
        machine's: the result then differs from run to run.
    :param steps: the same seed and number of steps give the same result.
    :param warm_up: steps over which the learning rate rises first.
    """

    batch: int = 4
    learning_rate: float = 2e-3
    views: int = 4000
    seconds: float | None = None
    steps: int | None = None
    seed: int = 0
    warm_up: int = 20

    def __post_init__(self) -> None:
        """Refuse a distillation that would not end."""
        if self.seconds is None and self.steps is None:
            raise ValueError('distillation needs a limit: seconds, steps or both')


@dataclass(frozen=True)
class Point:
    """
    The state of training at one time.

    :param step: how many steps are done.
    :param seconds: since the start, the making of the pool included.
    :param train_loss: mean over the steps since the last point; before the first step, over
        some of the pool.
    :param parts: of ``train_loss``.
    :param select_loss: on the frames kept aside, of the averaged weights.
    """

    step: int
    seconds: float
    train_loss: float
    parts: Mapping[str, float]
    select_loss: float


def teacher_of(card: Card, module: nn.Module) -> Teacher:
    """Return a network as a teacher, by the engine that is the fastest to run it."""
    engine = engine_for(card, module)
    # Copies: an engine may use its arrays again.
    return lambda image: [torch.from_numpy(output.copy()) for output in engine.run(image)]


def distil(
        student: nn.Module, teacher: Teacher, images: Images, select_images: Images,
        head: Head, fed: InputSpec, settings: Settings,
        progress: Progress | None = None) -> tuple[Point, ...]:
    """
    Train a student on views of some frames, in place; it is left with its best weights.

    The best are those with the least loss on the frames kept aside; the ones that it came with
    are among the candidates, so that it does not become worse by that measure.

    :param student: whose outputs mean the same as the teacher's, at the same size.
    :param teacher: see :func:`teacher_of`.
    :param images: uint8 (n, height, width, 3), to learn from; n is at least 1.
    :param select_images: the same, kept aside.
    :param head: of both networks.
    :param fed: mean and standard deviation of the pixels.
    :param progress: called with the share done, from 0 to 1, and a word on how it goes.
    """
    return _Training(student, teacher, images, select_images, head, fed, settings, progress).run()


@dataclass(frozen=True, eq=False)
class _Pool:
    """
    Views of frames, and what the teacher says of each.

    A view is made anew each time: what it is made from takes less memory.

    :param frames: uint8 (n, height, width, 3).
    :param places: (m,): a view's frame.
    :param seed: that views are made by; None for the frames as they are.
    :param targets: float16 (m, …), one for each output: half the memory, and finer than what a
        student is off by.
    """

    frames: Images
    places: Index
    seed: int | None
    targets: tuple[torch.Tensor, ...]

    def __len__(self) -> int:
        return len(self.targets[0])

    def images(self, chosen: Index) -> Images:
        """Return some views, as the teacher saw them."""
        return np.stack([_view(self.frames, self.places, self.seed, number) for number in chosen])

    def answers(self, chosen: Index) -> list[torch.Tensor]:
        """Return what the teacher says of them."""
        places = torch.from_numpy(chosen)
        return [target[places] for target in self.targets]


def _view(frames: Images, places: Index, seed: int | None, number: int) -> Images:
    frame = frames[places[number]]
    return frame if seed is None else view(frame, np.random.default_rng((seed, number)))


class _Training:
    """One run of :func:`distil`; the clock starts with it."""

    def __init__(
            self, student: nn.Module, teacher: Teacher, images: Images, select_images: Images,
            head: Head, fed: InputSpec, settings: Settings, progress: Progress | None) -> None:
        self._start = time.monotonic()
        self._student, self._teacher = student.requires_grad_(True), teacher
        self._head, self._fed, self._settings = head, fed, settings
        self._progress = progress
        self._rng = np.random.default_rng(settings.seed)
        number = min(len(select_images), _SELECT_FRAMES)
        chosen = np.linspace(0, len(select_images) - 1, number).astype(np.int64)
        self._select = self._look(select_images, chosen, None, math.inf)
        self._pool = self._make_pool(images)
        self._average = _average_of(student)
        self._evaluations, self._reserve = _EVALUATIONS, 0.0

    def run(self) -> tuple[Point, ...]:
        student = self._student
        points = [self._first_point()]
        best, weights = points[0].select_loss, _copy_of(student)
        rate = _LearningRate(self._settings, points[0])
        optimiser = rate.optimiser_of(student)
        batches = self._batches()
        begin, step, evaluated, losses = self._elapsed(), 0, 0, list[Loss]()
        while True:
            share, worse = self._share(step, begin), False
            if losses and share >= (evaluated + 1) / self._evaluations:
                point, losses, evaluated = self._point(step, losses), [], evaluated + 1
                if math.isfinite(point.select_loss):
                    points.append(point)
                if point.select_loss < best:
                    best, weights = point.select_loss, _copy_of(self._average.module)
                worse = point.select_loss > _WORSE * best
            if share >= 1:
                break
            rate.set(optimiser, share)
            losses.append(self._learn(next(batches), optimiser))
            step += 1
            self._tell(share, f'step {step}, loss {points[-1].select_loss:.3f} on frames kept '
                              f'aside, {points[0].select_loss:.3f} at first')
            if rate.diverged(losses[-1].total.item()) or worse:
                student.load_state_dict(weights)
                self._average = _average_of(student)
                rate.lower()
                optimiser = rate.optimiser_of(student)
                losses = []  # of weights that are gone
        student.load_state_dict(weights)
        student.eval()
        return tuple(points)

    def _elapsed(self) -> float:
        return time.monotonic() - self._start

    def _share(self, step: int, begin: float) -> float:
        """Return how much of the training is done; 1 leaves time for one more evaluation."""
        steps, seconds = self._settings.steps, self._settings.seconds
        shares = [0.0]
        if steps is not None:
            shares.append(step / steps if steps else 1.0)
        if seconds is not None:
            available = seconds - self._reserve - begin
            shares.append((self._elapsed() - begin) / available if available > 0 else 1.0)
        return min(1.0, max(shares))

    def _tell(self, share: float, text: str) -> None:
        if self._progress is None:
            return
        if self._settings.seconds is not None:
            share = max(share, self._elapsed() / self._settings.seconds)
        self._progress(min(share, 1.0), text)

    def _make_pool(self, frames: Images) -> _Pool:
        """Look at views of all frames in turn, as many as time and memory allow."""
        settings = self._settings
        bytes_of_one = sum(target[0].nbytes for target in self._select.targets)
        number = max(settings.batch, min(settings.views, _POOL_BYTES // bytes_of_one))
        if settings.steps is not None:
            number = min(number, settings.batch * max(1, settings.steps))
        until = math.inf if settings.seconds is None else _POOL_SHARE * settings.seconds
        rounds = -(-number // len(frames))
        places = np.concatenate([self._rng.permutation(len(frames)) for _ in range(rounds)])
        # No frame as it is: a network that sees a few hundred again and again learns them by
        # heart, and its loss on them says nothing of others.
        return self._look(frames, places[:number], settings.seed, until)

    def _look(self, frames: Images, places: Index, seed: int | None, until: float) -> _Pool:
        """Show the teacher these frames or views, or as many as fit before a time (but one)."""
        targets = list[torch.Tensor]()
        number = len(places)
        for place in range(number):
            outputs = self._opinion(_view(frames, places, seed, place)[None])
            if not place:
                # Pages that are never written to take no memory.
                targets = [output.new_empty((number, *output.shape[1:]), dtype=torch.float16)
                           for output in outputs]
            for target, output in zip(targets, outputs, strict=True):
                target[place] = output[0]
            if self._elapsed() > until:
                number = place + 1
                break
            self._tell(0.0, f'the dense network looks at view {place + 1} of {number}')
        return _Pool(frames, places[:number], seed, tuple(target[:number] for target in targets))

    def _opinion(self, image: Images) -> Outputs:
        """
        Return what the teacher says of an image, and of it mirrored, in the mean.

        Two looks err less than one, and the student may come to see more than the teacher does
        at a glance. Where the second cannot be turned back there is one. The whole input is
        mirrored, padding and all, for only then anchors come to lie on anchors; views move the
        picture out of a letterbox's place as well.
        """
        if not self._head.mirrors:
            return self._teacher(image)
        mirrored = self._teacher(np.ascontiguousarray(image[:, :, ::-1]))
        return self._head.averaged(self._teacher(image), self._head.mirrored(mirrored))

    def _batches(self) -> Iterator[Index]:
        """Yield places in the pool, each once before any comes again."""
        size = min(self._settings.batch, len(self._pool))
        order = np.zeros(0, np.int64)
        while True:
            if len(order) < size:
                order = np.concatenate([order, self._rng.permutation(len(self._pool))])
            yield order[:size]
            order = order[size:]

    def _learn(self, chosen: Index, optimiser: torch.optim.Optimizer) -> Loss:
        images, answers = self._pool.images(chosen), self._pool.answers(chosen)
        if self._rng.random() < 0.5 and self._head.mirrors:
            images, answers = images[:, :, ::-1], list(self._head.mirrored(answers))
        self._student.train()
        optimiser.zero_grad()
        loss = self._head.loss(self._student(tensor_of(images, self._fed)), answers)
        loss.total.backward()
        nn.utils.clip_grad_norm_(self._student.parameters(), _LARGEST_GRADIENT)
        optimiser.step()
        self._average.update_parameters(self._student)
        return loss

    def _loss(self, module: nn.Module, pool: _Pool, chosen: Index) -> Loss:
        return self._head.loss(
            module(tensor_of(pool.images(chosen), self._fed)), pool.answers(chosen))

    def _judge(self, module: nn.Module, pool: _Pool) -> list[Loss]:
        """Return the loss on some of a pool, in batches."""
        module.eval()
        places = np.arange(min(len(pool), _SELECT_FRAMES))
        with torch.no_grad():
            return [self._loss(module, pool, places[start:start + self._settings.batch])
                    for start in range(0, len(places), self._settings.batch)]

    def _first_point(self) -> Point:
        """Judge the student as it came, and see how long that takes."""
        losses = self._judge(self._student, self._pool)
        begin = self._elapsed()
        point = self._point(0, losses, self._student)
        duration = self._elapsed() - begin
        self._reserve = 1.5 * duration  # and a step beside it
        if self._settings.seconds is not None and duration > 0:
            left = max(0.0, self._settings.seconds - self._elapsed())
            self._evaluations = min(
                _EVALUATIONS, max(1, int(_EVALUATION_SHARE * left / duration)))
        return point

    def _point(self, step: int, losses: list[Loss], module: nn.Module | None = None) -> Point:
        judged = self._judge(module or self._average.module, self._select)
        parts = {name: _mean(loss.parts[name] for loss in losses) for name in losses[0].parts}
        return Point(step, self._elapsed(), sum(parts.values()), parts, _mean(
            sum(loss.parts.values()) for loss in judged))


class _LearningRate:
    """
    Rises to a peak, falls along half a cosine, and begins anew lower where it was too large.

    :param settings: for the rate at its peak and the warm-up.
    :param start: losses of the student as it came; the peak is lower where they are small.
    """

    def __init__(self, settings: Settings, start: Point) -> None:
        # An equal of the teacher has a loss of 0 but for rounding, which may be below.
        self._peak = settings.learning_rate * min(1.0, max(start.select_loss, 0.0) / FAR)
        self._warm_up, self._first_loss = settings.warm_up, start.train_loss
        self._last = deque[float](maxlen=_PATIENCE)  # losses since it began to rise
        self._steps = 0  # since then

    def optimiser_of(self, student: nn.Module) -> torch.optim.Optimizer:
        """Return one that remembers no step."""
        return torch.optim.AdamW(student.parameters(), lr=self._peak)

    def set(self, optimiser: torch.optim.Optimizer, share: float) -> None:
        """Set it for the next step, when a share of the training is done."""
        rate = self._peak * min(1.0, (self._steps + 1) / self._warm_up) \
            * (1 + math.cos(math.pi * share)) / 2
        for group in optimiser.param_groups:
            group['lr'] = rate

    def diverged(self, loss: float) -> bool:
        """Take note of a step's loss, and tell whether the losses have grown too much."""
        self._last.append(loss)
        self._steps += 1
        return not math.isfinite(loss) or (
            len(self._last) == _PATIENCE and _mean(self._last) > _DIVERGED * self._first_loss)

    def lower(self) -> None:
        """Begin to rise anew, to a lower peak."""
        self._peak, self._steps = _SMALLER * self._peak, 0
        self._last.clear()


def _average_of(student: nn.Module) -> AveragedModel:
    return AveragedModel(student, avg_fn=_averaged, use_buffers=True)


def _averaged(
        averaged: torch.Tensor, current: torch.Tensor, number: torch.Tensor | int
        ) -> torch.Tensor:
    """Move the average towards the current value; faster at first, when it knows little."""
    weight = max(1 - _AVERAGING, 9 / (10 + int(number)))
    return averaged + (current - averaged) * weight


def _copy_of(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))
