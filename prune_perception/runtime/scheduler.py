# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Which camera's image the detector takes next: the newest of each, in fair turns."""

from collections.abc import Mapping
from dataclasses import dataclass
import threading
from typing import Generic, TypeVar

T = TypeVar('T')


@dataclass
class _Slot(Generic[T]):
    """One camera's place: its item, if any, and the tags of its turn in virtual time."""

    priority: float
    item: T | None = None
    waits: bool = False
    start: float = 0.0
    finish: float = 0.0


class FairSlots(Generic[T]):
    """
    Holds at most one item of each camera between threads; a new one replaces what nobody took.

    A queue would make a detector that is slower than its cameras fall further behind with each
    image. Here the age of what is taken stays below one period of its camera and the turns of the
    others.

    Turns are by start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM 1996), each image counting
    as one unit of work. An item's start tag is the finish tag of the camera's item before, or the
    present virtual time where that is later; its finish tag is 1 / priority after its start. The
    least start tag is taken next, and the virtual time is the start tag of what was taken last.
    So:

    - of cameras that always have something waiting, each gets images in proportion to its
      priority;
    - between two items of a camera with priority *p* come at most *q* / *p* + 1 of one with
      priority *q*, so nobody starves;
    - a camera that was silent begins at the present virtual time: it has saved up nothing.

    As an example, priorities 2 and 1 with both always waiting are taken as a, b, a, a, b, a, a, b.

    :param priorities: above 0, by the camera's name.
    """

    def __init__(self, priorities: Mapping[str, float]) -> None:
        self._condition = threading.Condition()
        self._slots: dict[str, _Slot[T]] = {name: _Slot(1.0) for name in priorities}
        self._virtual_time = 0.0
        self._closed = False
        for name, priority in priorities.items():
            self.set_priority(name, priority)

    def set_priority(self, name: str, priority: float) -> None:
        """Change a camera's priority; it holds from the next item that is taken of it."""
        if not priority > 0:
            raise ValueError(f'priority of {name} is {priority}; it must be above 0')
        with self._condition:
            self._slots[name].priority = priority

    def put(self, name: str, item: T) -> bool:
        """Leave a camera's item; return whether it replaced one that is now lost."""
        with self._condition:
            if self._closed:
                return False
            slot = self._slots[name]
            replaced = slot.waits
            if not replaced:
                # One that replaces another keeps its turn; otherwise a fast camera would lose its
                # turn by every image that it sends.
                slot.start = max(slot.finish, self._virtual_time)
            slot.item, slot.waits = item, True
            self._condition.notify()
            return replaced

    def take(self, timeout: float | None = None) -> tuple[str, T] | None:
        """Wait for an item and take it; None after ``timeout`` seconds or once closed."""
        with self._condition:
            self._condition.wait_for(
                lambda: self._closed or any(slot.waits for slot in self._slots.values()), timeout)
            waiting = [name for name, slot in self._slots.items() if slot.waits]
            if not waiting:
                return None
            # Of two with one tag, the one that was finished with longer ago.
            name = min(waiting, key=lambda each: (
                self._slots[each].start, self._slots[each].finish))
            slot = self._slots[name]
            self._virtual_time = slot.start
            slot.finish = slot.start + 1 / slot.priority
            item, slot.item, slot.waits = slot.item, None, False
            assert item is not None
            return name, item

    def clear(self) -> list[str]:
        """Let go of what waits; return the names of the cameras that it was of."""
        with self._condition:
            waiting = [name for name, slot in self._slots.items() if slot.waits]
            for name in waiting:
                self._slots[name].item, self._slots[name].waits = None, False
            return waiting

    def close(self) -> None:
        """Let whoever waits go; nothing can be left or taken any more."""
        with self._condition:
            self._closed = True
            for slot in self._slots.values():
                slot.item, slot.waits = None, False
            self._condition.notify_all()

    @property
    def closed(self) -> bool:
        """Whether the slots were closed."""
        return self._closed
