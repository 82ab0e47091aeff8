# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Restoration: the layers of a pruned network are fitted to what the dense one's did.

In the order of execution each layer that mixes channels gets the weights and the bias that, on
the pruned network's own activations, come closest to the dense network's outputs in least
squares. A layer thereby also makes up for what the layers before it could not. No training.

It is a projection of activations. A layer that loses inputs can at best see their linear
reconstruction from those that are kept: for y = W x + b, of which the pruned network brings k
instead of x,

    x' = A k + c,     A = E[x k^T] E[k k^T]^-1  (centred, with a ridge)

gives W x' + b = (W A) k + (W c + b), which are the weights of least squares against y itself.

All images pass the network at once, and a layer is fitted in the moment in which it is first
given its inputs: the network is run once. One that cannot tell the images of a batch apart is run
image by image, up to each layer in turn.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from prune_perception.pruning.groups import ChannelGroup
from prune_perception.pruning.observe import inputs_at, mixing_layers, Observation

# Ridges that are tried, as a share of the mean variance of a layer's inputs.
RIDGES = (1e-3, 1e-2, 3e-2, 1e-1)
DEFAULT_RIDGE = 1e-3

_MOST_BYTES = 1 << 29  # of what one layer takes and makes for all images that are run at once
_FEWEST_IMAGES = 8

Progress = Callable[[float, str], None]


class _Enough(Exception):
    """Ends a run of the network where the rest of it is of no interest."""


def kept_outputs(groups: Sequence[ChannelGroup], removed: Mapping[str, Sequence[int]]
                 ) -> dict[str, torch.Tensor]:
    """Return, for each layer that lost outputs, the dense numbers of those it still has."""
    kept = {}
    for group in groups:
        gone = np.asarray(sorted(removed.get(group.name, ())), np.int64)
        if not len(gone):
            continue
        for tied in group.producers:
            everything = np.arange(tied.positions.size)
            kept[tied.layer] = torch.from_numpy(
                np.setdiff1d(everything, tied.positions[gone].ravel()))
    return kept


def restore(
        pruned: nn.Module, fit: Observation, select: Observation | None,
        kept: Mapping[str, torch.Tensor], *, ridge: float = DEFAULT_RIDGE,
        progress: Progress | None = None) -> dict[str, float]:
    """
    Fit the layers of a pruned network in place.

    :param pruned: with the dense network's weights, without the channels that go.
    :param fit: what the dense network did on the images to fit to. Where memory does not allow
        to run all of them at once, some are taken, evenly spread.
    :param select: the same on images kept aside, by which each layer's ridge is chosen of
        :data:`RIDGES`; None for one ridge.
    :param kept: see :func:`kept_outputs`.
    :param ridge: of all layers, where ``select`` is None.
    :param progress: called with the share that is done, and how many images there are.
    :return: the ridge of each layer.
    """
    samples = _samples(fit, select)
    fitters = [
        _Fitter(name, layer, fit, kept.get(name), RIDGES if select else (ridge,))
        for name, layer in mixing_layers(pruned).items() if name in fit.layers]
    fitters.sort(key=lambda fitter: fit.layers[fitter.name].order)
    pruned.eval()
    with torch.no_grad():
        if _batches(pruned, samples, fitters):
            most = max(_FEWEST_IMAGES, _MOST_BYTES // _largest(pruned, samples[0].image))
            _fit_at_once(pruned, _samples(fit, select, most), fitters, progress)
        else:
            _fit_in_turn(pruned, samples, fitters, progress)
    return {fitter.name: fitter.ridge for fitter in fitters}


@dataclass(frozen=True, eq=False)
class _Sample:
    """
    An image, and the observation that has seen it.

    :param number: of the image there.
    :param aside: whether it is to select by.
    """

    seen: Observation
    number: int
    aside: bool

    @property
    def image(self) -> torch.Tensor:
        return self.seen.images[self.number]


def _samples(fit: Observation, select: Observation | None, most: int | None = None
             ) -> list[_Sample]:
    """Return the images of both, or some of them, evenly spread."""
    parts = [(fit, False)] if select is None else [(fit, False), (select, True)]
    number = sum(len(seen.images) for seen, _ in parts)
    share = min(1.0, (most or number) / number)
    return [
        _Sample(seen, place, aside) for seen, aside in parts
        for place in np.linspace(0, len(seen.images) - 1, max(
            1, round(share * len(seen.images)))).astype(int).tolist()]


@dataclass(eq=False)
class _Moments:
    """
    Second moments of a layer's inputs and of the outputs that it should have, by its groups.

    :param gram: (groups, inputs + 1, inputs + 1) sum of (x, 1)(x, 1)^T, float64.
    :param cross: (groups, inputs + 1, outputs of a group) sum of (x, 1) y^T, float64.
    """

    gram: torch.Tensor
    cross: torch.Tensor
    places: int = 0

    def add(self, x: torch.Tensor, y: torch.Tensor) -> None:
        """Add places, (places, groups * inputs) and (places, groups * outputs)."""
        self.places += len(x)
        inputs, outputs = self.cross.shape[1] - 1, self.cross.shape[2]
        for part in range(len(self.gram)):
            own = torch.cat([x[:, part * inputs:(part + 1) * inputs], x.new_ones(len(x), 1)], 1)
            self.gram[part] += own.T @ own
            self.cross[part] += own.T @ y[:, part * outputs:(part + 1) * outputs]


class _Fitter:
    """
    Fits one layer, from what it is given for each sample.

    :param fit: what the dense network did.
    :param ridges: to choose of by the samples kept aside; where there are none, the first.
    """

    def __init__(self, name: str, layer: nn.Conv2d | nn.Linear, fit: Observation,
                 kept: torch.Tensor | None, ridges: Sequence[float]) -> None:
        self.name, self.layer, self.ridge = name, layer, ridges[0]
        self.calls = fit.layers[name].calls
        self._kept, self._ridges = kept, ridges
        self._groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
        # Of another run the layer is not to remember what it was fitted to in the last.
        self._weight = layer.weight.detach().flatten(1).double().T.clone()  # (inputs, outputs)
        self.begin()

    def begin(self) -> None:
        """Forget what was added."""
        self._call = 0
        self._fit, self._select = self._no_moments(), self._no_moments()

    def add(self, call: int, given: torch.Tensor, sample: _Sample) -> None:
        """
        Add what the layer is given for one sample.

        :param call: of the layer in this run of the network, from 0.
        :param given: as the layer takes it, for one image.
        """
        statistics = sample.seen.layers[self.name]
        which = sample.number * statistics.calls + call
        y = statistics.outputs[which]
        (self._select if sample.aside else self._fit).add(
            inputs_at(self.layer, given, statistics.places[which]),
            y if self._kept is None else y[:, self._kept])

    def add_batch(self, given: torch.Tensor, samples: Sequence[_Sample]) -> bool:
        """Add what the layer is given for all samples; return whether this was its last call."""
        for number, sample in enumerate(samples):
            self.add(self._call, given[number:number + 1], sample)
        self._call += 1
        return self._call == self.calls

    def solve(self) -> None:
        """Give the layer the weights of least squares, with the ridge that does best aside."""
        layer, best = self.layer, float('inf')
        solutions: list[torch.Tensor] = []
        for ridge in self._ridges:
            tried, error = self._solved(ridge)
            if error < best or not solutions:
                best, self.ridge, solutions = error, ridge, tried
        weight = torch.cat([solved[:-1].T for solved in solutions])
        layer.weight.copy_(weight.reshape(layer.weight.shape))
        if layer.bias is not None:
            layer.bias.copy_(torch.cat([solved[-1] for solved in solutions]))
        self.begin()

    def _solved(self, ridge: float) -> tuple[list[torch.Tensor], float]:
        """Return weights and bias of each group, and their error aside but for a constant."""
        solutions, error = [], 0.0
        fit, select, outputs = self._fit, self._select, self._fit.cross.shape[2]
        for part in range(self._groups):
            solved = least_squares(
                fit.gram[part] / fit.places, fit.cross[part] / fit.places,
                self._weight[:, part * outputs:(part + 1) * outputs], ridge,
                self.layer.bias is not None)
            solutions.append(solved)
            # E|y - x W|^2 without E|y|^2, which is the same for all.
            error += float((solved * (select.gram[part] @ solved)).sum()
                           - 2 * (solved * select.cross[part]).sum())
        return solutions, error

    def _no_moments(self) -> _Moments:
        inputs, outputs = self._weight.shape[0], self._weight.shape[1] // self._groups
        return _Moments(
            torch.zeros(self._groups, inputs + 1, inputs + 1, dtype=torch.float64),
            torch.zeros(self._groups, inputs + 1, outputs, dtype=torch.float64))


def _batches(pruned: nn.Module, samples: Sequence[_Sample], fitters: Sequence[_Fitter]) -> bool:
    """Return whether each layer is given the images of a batch one after the other."""
    images = [samples[0].image, samples[-1].image]
    try:
        together = _inputs(pruned, fitters, torch.cat(images))
        return all(
            len(both) == len(one) and all(
                len(batch) == 2 and torch.allclose(batch[place:place + 1], single, 1e-3, 1e-4)
                for batch, single in zip(both, one, strict=True))
            for place, image in enumerate(images)
            for both, one in zip(together, _inputs(pruned, fitters, image), strict=True))
    except RuntimeError:  # of shapes: a graph for one image
        return False


def _largest(pruned: nn.Module, image: torch.Tensor) -> int:
    """Return the most bytes that a layer takes and makes together, for one image."""
    sizes = [image.nbytes]

    def look(_: nn.Module, given: tuple[object, ...], made: object) -> None:
        sizes.append(sum(value.nbytes for value in (*given, made)
                         if isinstance(value, torch.Tensor)))

    handles = [module.register_forward_hook(look) for module in pruned.modules()
               if not any(module.children())]
    try:
        pruned(image.clone())
    finally:
        for handle in handles:
            handle.remove()
    return max(sizes)


def _inputs(pruned: nn.Module, fitters: Sequence[_Fitter], images: torch.Tensor
            ) -> list[list[torch.Tensor]]:
    """Return what each layer is given, at each of its calls."""
    found: list[list[torch.Tensor]] = [[] for _ in fitters]

    def keep(place: int) -> Callable[..., None]:
        # A copy: what comes after may work in place.
        return lambda _, given: found[place].append(given[0].clone())

    handles = [fitter.layer.register_forward_pre_hook(keep(place))
               for place, fitter in enumerate(fitters)]
    try:
        pruned(images.clone())  # the network may work in place on what it is given
    finally:
        for handle in handles:
            handle.remove()
    return found


def _fit_at_once(pruned: nn.Module, samples: Sequence[_Sample], fitters: Sequence[_Fitter],
                 progress: Progress | None) -> None:
    """Run all images together, and fit each layer in its last call."""
    # A layer that is passed several times is fitted to all its calls together, in the last of
    # them; what it gave before is right in the run after that.
    runs = 1 + sum(fitter.calls > 1 for fitter in fitters)
    done = 0

    def hook(fitter: _Fitter) -> Callable[..., None]:
        def call(_: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
            nonlocal done
            if fitter.add_batch(given[0], samples):
                fitter.solve()
                done += 1
                if progress:
                    progress(done / (runs * len(fitters)), f'{len(samples)} images')
        return call

    handles = [fitter.layer.register_forward_pre_hook(hook(fitter)) for fitter in fitters]
    try:
        for _ in range(runs):
            pruned(torch.cat([sample.image for sample in samples]))
    finally:
        for handle in handles:
            handle.remove()


def _fit_in_turn(pruned: nn.Module, samples: Sequence[_Sample], fitters: Sequence[_Fitter],
                 progress: Progress | None) -> None:
    """Run the images one by one, up to each layer in turn."""
    for number, fitter in enumerate(fitters):
        for sample in samples:
            for call, given in enumerate(_inputs_of(pruned, fitter, sample.image)):
                fitter.add(call, given, sample)
        fitter.solve()
        if progress:
            progress((number + 1) / len(fitters), f'{len(samples)} images')


def _inputs_of(pruned: nn.Module, fitter: _Fitter, image: torch.Tensor
               ) -> Iterator[torch.Tensor]:
    """Yield what a layer is given for an image; the rest of the network is not run."""
    found: list[torch.Tensor] = []

    def hook(_: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        # A copy: what comes after may work in place.
        found.append(given[0].clone())
        if len(found) == fitter.calls:
            raise _Enough

    handle = fitter.layer.register_forward_pre_hook(hook)
    try:
        pruned(image.clone())
    except _Enough:
        pass
    finally:
        handle.remove()
    yield from found


def least_squares(gram: torch.Tensor, cross: torch.Tensor, weight: torch.Tensor, ridge: float,
                  with_bias: bool) -> torch.Tensor:
    """
    Return weights and bias of least squares, (inputs + 1, outputs).

    Minimises E|x W + b - y|^2 + r |W - W0|^2 with r = ridge times the mean variance of x.

    :param gram: (inputs + 1, inputs + 1) mean of (x, 1)(x, 1)^T.
    :param cross: (inputs + 1, outputs) mean of (x, 1) y^T.
    :param weight: W0, (inputs, outputs), the weights that the layer has.
    """
    mean, target = gram[-1, :-1], cross[-1]
    covariance, cross = gram[:-1, :-1], cross[:-1]
    if with_bias:
        covariance = covariance - torch.outer(mean, mean)
        cross = cross - torch.outer(mean, target)
    strength = (ridge * covariance.diagonal().mean()).clamp_min(1e-12)
    damped = covariance + strength * torch.eye(len(mean), dtype=torch.float64)
    solved = weight + torch.linalg.solve(damped, cross - covariance @ weight)
    bias = target - mean @ solved if with_bias else torch.zeros_like(target)
    return torch.cat([solved, bias[None]])
