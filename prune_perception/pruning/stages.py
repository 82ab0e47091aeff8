# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The stages of a job that takes minutes: what it is at, and how long each took."""

from collections.abc import Callable, Iterator
import contextlib
import time

Progress = Callable[[str, float, str], None]
"""Called with a stage, the share of it that is done (0 to 1) and a word on how it goes."""


class Stages:
    """
    Tells of stages and times them; ``seconds`` has what each took, by name.

    :param progress: None if nobody wants to know.
    """

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress or (lambda stage, share, text: None)
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[Callable[..., None]]:
        """
        Be at a stage; one that comes again adds to its time.

        It gives what is called with the share that is done, and a word if there is one.
        """
        start = time.monotonic()
        self._progress(name, 0.0, '')
        yield lambda share, text='': self._progress(name, share, text)
        self._progress(name, 1.0, '')
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start
