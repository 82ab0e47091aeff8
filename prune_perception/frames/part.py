# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""A part of a recording: some of its frames, which keep their places in the whole."""

from collections.abc import Iterator

from prune_perception.frames.recording import Frame, Recording


class Part(Recording):
    """
    Every so many frames from one to another.

    Its count is None: what else reads it takes a frame's index for the number of frames before
    it, which it is not here. See ``expected``.

    :param whole: is closed by whoever opened it.
    :param first: frame to begin with, the recording's first being 1.
    :param last: frame to end with; None for the recording's last.
    :param every: take each of them, or each second, …
    :raises ValueError: a number below 1, or ``last`` before ``first``.
    """

    def __init__(
            self, whole: Recording, first: int = 1, last: int | None = None, every: int = 1,
            ) -> None:
        if first < 1 or every < 1 or (last is not None and last < first):
            raise ValueError(f'frames {first} to {last}, each {every}: there is no such part')
        super().__init__(whole.path, topic=whole.topic, count=None)
        self.transport = whole.transport
        self.warnings = whole.warnings  # the list itself: it grows while the whole is read
        self._whole, self._first, self._last, self._every = whole, first, last, every

    @property
    def expected(self) -> int | None:
        """Number of frames, if the recording states its own; it may hold fewer in truth."""
        if self._whole.count is None:
            return None
        end = self._whole.count if self._last is None else min(self._last, self._whole.count)
        return len(range(self._first - 1, end, self._every))

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames, from the first."""
        for frame in self._whole:
            if self._last is not None and frame.index >= self._last:
                return
            since = frame.index - self._first + 1
            if since >= 0 and since % self._every == 0:
                yield frame
