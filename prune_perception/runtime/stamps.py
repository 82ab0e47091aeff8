# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""How old an image is by its stamp, and what is wrong with the stamps where it cannot be told."""

# A result that seems older than this comes from a recording or another clock, not from a slow
# detector: only the newest image is ever processed.
_LONGEST_PLAUSIBLE_AGE = 10.0
_STEP_OF_SIMULATED_CLOCK = 0.1  # seconds; /clock comes at 10 Hz or more
# Some images of one stamp are nothing yet: a driver may take the stamp from a clock in steps.
_FROZEN_IMAGES, _FROZEN_SECONDS = 3, 1.0

NO_STAMP = 'the images have no stamp; the driver of the camera has to set header.stamp'
NO_CLOCK = ('use_sim_time is set, but nobody publishes /clock; play the recording with --clock, '
            'or unset use_sim_time')


class Stamps:
    """
    Looks at the stamps of one camera's images, in the order in which they are processed.

    All times are in nanoseconds and by the node's clock, which is a simulated one if the node is
    told so.
    """

    def __init__(self) -> None:
        self._problem: str | None = None
        self._stamp = self._clock = 0  # of the last image; a stamp of 0 is none
        self._same, self._same_since = 0, 0  # images with this stamp, and the clock at the first

    def age(self, stamp: int, clock: int, *, simulated: bool) -> float | None:
        """
        Return the age of an image in seconds; None where it cannot be told.

        :param clock: now.
        """
        age = (clock - stamp) * 1e-9
        before, went_back = self._stamp, self._clock > clock
        self._count(stamp, clock)
        problem, plausible = self._problem_of(stamp, clock, age, simulated)
        if problem is None and plausible and stamp < before and not (simulated and went_back):
            problem = (
                f'the stamps of the images went back by {(before - stamp) * 1e-9:.3f} s; give '
                'each camera a topic of its own, set the clock before the camera starts, and '
                'play a recording that begins anew with --clock and use_sim_time')
        if problem is not None:
            self._problem = problem
        return age if plausible else None

    def take_problem(self) -> str | None:
        """
        Return what was wrong last since this was called before, and what to do; None: nothing.

        It may be called in another thread.
        """
        problem, self._problem = self._problem, None
        return problem

    def _count(self, stamp: int, clock: int) -> None:
        if stamp != self._stamp or clock < self._clock:
            self._same, self._same_since = 0, clock
        self._same += 1
        self._stamp, self._clock = stamp, clock

    def _problem_of(
            self, stamp: int, clock: int, age: float, simulated: bool
            ) -> tuple[str | None, bool]:
        """Return what is wrong with an image's stamp alone, and whether its age can be told."""
        if stamp == 0:
            return NO_STAMP, False
        if clock == 0:
            return NO_CLOCK, False
        seconds = (clock - self._same_since) * 1e-9
        if self._same >= _FROZEN_IMAGES and seconds >= _FROZEN_SECONDS:
            return (f'the stamp stands still: the same for {self._same} images over '
                    f'{seconds:.0f} s; the driver of the camera has to set header.stamp anew for '
                    'each image'), False
        if simulated and -_STEP_OF_SIMULATED_CLOCK < age < 0:
            # The clock comes in steps, and this image is of the present one: too young to tell.
            return None, False
        if age < 0:
            return (f"the images' stamps are {-age:.3f} s ahead of the node's clock; let both "
                    'machines set their clocks by one server (chrony), or have the driver stamp '
                    'with the time of this machine'), False
        if age > _LONGEST_PLAUSIBLE_AGE:
            return (f"the images' stamps are {age:.0f} s behind the node's clock, as in a "
                    'recording; play it with --clock and set use_sim_time, or renew the stamps'
                    ), False
        return None, True
