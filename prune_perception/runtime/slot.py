# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""A place for one frame: a slow detector sees the newest image, never a queue of old ones."""

import threading
from typing import Generic, TypeVar

T = TypeVar('T')


class NewestSlot(Generic[T]):
    """
    Holds at most one item between threads; a new item replaces one that nobody took.

    A queue would make a detector that is slower than its camera fall further behind with each
    frame. Here the age of what is taken stays below one period of the producer.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._item: T | None = None
        self._closed = False

    def put(self, item: T) -> bool:
        """Leave an item; return whether it replaced one that is now lost."""
        with self._condition:
            replaced = self._item is not None
            self._item = item
            self._condition.notify()
            return replaced

    def take(self, timeout: float | None = None) -> T | None:
        """Wait for an item and take it; None after ``timeout`` seconds or once closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._item is not None or self._closed, timeout)
            item, self._item = self._item, None
            return None if self._closed else item

    def close(self) -> None:
        """Let whoever waits go; nothing can be taken any more."""
        with self._condition:
            self._closed = True
            self._item = None
            self._condition.notify_all()

    @property
    def closed(self) -> bool:
        """Whether the slot was closed."""
        return self._closed
