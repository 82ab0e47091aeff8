# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
The ladder: bundles that can stand in for each other, the largest first.

They can where whoever reads the results cannot tell them apart by form: the same classes in the
same order. A detector of 80 classes beside one that knows people alone would make a dog vanish
when the battery gets low.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from prune_perception.bundle import Bundle

_NAMES_SHOWN = 3


class LadderError(ValueError):
    """Bundles that are no ladder; one line with the names and the difference."""


@dataclass(frozen=True)
class Rung:
    """
    A bundle of the ladder.

    :param name: of the bundle, as on its card.
    :param milliseconds: of an inference when it was warmed up on this machine.
    :param joules: of a frame as modelled; None where no account says.
    """

    name: str
    milliseconds: float
    joules: float | None = None


def check_ladder(bundles: Sequence[Bundle]) -> None:
    """
    Check that bundles can stand in for each other.

    :raises LadderError: there are fewer than two, two have one name, or their classes differ.
    """
    if len(bundles) < 2:
        raise LadderError(
            'a ladder has two bundles or more; a single one is named by the parameter model')
    names = [bundle.card.name for bundle in bundles]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        folders = ' and '.join(
            str(bundle.folder) for bundle in bundles if bundle.card.name == twice)
        raise LadderError(f'two bundles of the ladder are named {twice}: {folders}')
    first = bundles[0].card
    for bundle in bundles[1:]:
        difference = _difference(first.name, first.class_names, bundle.card.name,
                                 bundle.card.class_names)
        if difference:
            raise LadderError(
                f'{first.name} and {bundle.card.name} cannot be in one ladder: {difference}')


def largest_first(rungs: Sequence[Rung]) -> list[int]:
    """
    Return the order of a ladder, as indices into what is given.

    By modelled energy, which does not vary from start to start as a measured time does; by the
    time of an inference where one of them has no energy.
    """
    def size(index: int) -> float:
        rung = rungs[index]
        return rung.milliseconds if rung.joules is None or not modelled else rung.joules
    modelled = all(rung.joules is not None for rung in rungs)
    return sorted(range(len(rungs)), key=size, reverse=True)


def _difference(
        name: str, classes: Sequence[str], other_name: str, other: Sequence[str]) -> str:
    """Return in what two lists of classes differ, in words; empty where they do not."""
    if list(classes) == list(other):
        return ''
    said = [f'{who} alone has {_few(alone)}' for who, alone in (
        (name, [each for each in classes if each not in other]),
        (other_name, [each for each in other if each not in classes])) if alone]
    if said:
        return '; '.join(said)
    index = next(index for index, pair in enumerate(zip(classes, other, strict=True))
                 if pair[0] != pair[1])
    return (f'the same classes in another order: number {index} is {classes[index]!r} in {name} '
            f'and {other[index]!r} in {other_name}')


def _few(names: Sequence[str]) -> str:
    shown = ', '.join(map(repr, names[:_NAMES_SHOWN]))
    rest = len(names) - _NAMES_SHOWN
    return f'{shown} and {rest} more' if rest > 0 else shown
