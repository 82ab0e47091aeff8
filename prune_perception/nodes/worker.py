# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The inference worker: one thread that turns the newest image into published detections."""

from collections.abc import Callable
from dataclasses import dataclass
import threading
import time

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from prune_perception.detections import Detections
from prune_perception.nodes.messages import image_of
from prune_perception.runtime.detector import Detector
from prune_perception.runtime.monitor import FrameTiming, Monitor
from prune_perception.runtime.slot import NewestSlot

_SECONDS_TO_STOP = 10.0


@dataclass(frozen=True)
class Arrival:
    """An image message and when its callback was entered, by the monotonic clock."""

    message: Image | CompressedImage
    time: float


class Worker:
    """
    Takes images from a slot, one at a time and the newest only.

    The executor's thread is left free to receive: were it to run the network, images would
    queue behind it and parameters and lifecycle requests would wait.

    :param publish: called with the detections of each image and its header.
    :param show: called with the same and the image, after they are published; what it takes is
        not part of any figure.
    :param age_of: the age in seconds of an image with this header, None where it cannot be said.
    :param on_failure: called with an image that could not be processed and the reason.
    """

    def __init__(
            self, detector: Detector, monitor: Monitor, *, max_pixels: int,
            publish: Callable[[Detections, Header], None],
            show: Callable[[NDArray[np.uint8], Detections, Header], None],
            age_of: Callable[[Header], float | None],
            on_failure: Callable[[Exception], None]) -> None:
        self._detector = detector
        self._monitor = monitor
        self._max_pixels = max_pixels
        self._publish = publish
        self._show = show
        self._age_of = age_of
        self._on_failure = on_failure
        self._slot: NewestSlot[Arrival] = NewestSlot()
        self._thread = threading.Thread(target=self._run, name='inference', daemon=True)
        self._thread.start()

    def offer(self, message: Image | CompressedImage) -> None:
        """Leave an image for the worker; called as soon as the message arrives."""
        now = time.monotonic()
        replaced = self._slot.put(Arrival(message, now))
        self._monitor.received(now, replaced=replaced)

    def stop(self) -> None:
        """
        Finish the image at hand and end.

        :raises TimeoutError: the engine did not come back.
        """
        self._slot.close()
        self._thread.join(_SECONDS_TO_STOP)
        if self._thread.is_alive():
            raise TimeoutError(
                f'the engine did not finish an image within {_SECONDS_TO_STOP:.0f} s')

    def _run(self) -> None:
        while not self._slot.closed:
            self._take_one()

    def _take_one(self) -> None:
        # In a function of its own, so that no image is held while the next one is waited for.
        arrival = self._slot.take()
        if arrival is None:
            return
        try:
            self._process(arrival)
        # One bad image must not end the node: it is reported and the next one is taken.
        except Exception as error:
            self._monitor.failed(time.monotonic())
            self._on_failure(error)

    def _process(self, arrival: Arrival) -> None:
        taken = time.monotonic()
        image = image_of(arrival.message, self._max_pixels)
        decoded = time.monotonic()
        result = self._detector.detect(image)
        detected = time.monotonic()
        header = arrival.message.header
        self._publish(result.detections, header)
        published = time.monotonic()
        age = self._age_of(header)
        timing = result.timing
        self._monitor.processed(published, FrameTiming(
            stages={
                'wait': taken - arrival.time, 'decode': decoded - taken,
                'preprocess': timing.preprocess, 'inference': timing.inference,
                'postprocess': timing.postprocess, 'publish': published - detected,
                'overhead': published - arrival.time - timing.inference,
                'total': published - arrival.time},
            age=age))
        self._show(image, result.detections, header)
