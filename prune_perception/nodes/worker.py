# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The inference worker: one thread that turns the newest images into published detections."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
import threading
import time

from sensor_msgs.msg import CompressedImage, Image

from prune_perception.nodes.camera import Camera
from prune_perception.nodes.messages import picture_of
from prune_perception.nodes.preparation import Prepared
from prune_perception.nodes.watchdog import WARM_UP_FACTOR, Watchdog
from prune_perception.runtime.monitor import ABOVE_MAX_RATE, DISABLED, FrameTiming
from prune_perception.runtime.rate_limit import RateLimit
from prune_perception.runtime.region import enlarged, moved
from prune_perception.runtime.scheduler import FairSlots

_SECONDS_TO_STOP = 10.0

# Of a worker that was told to stop and could not: cameras and slots are closed.
TAKES_NO_IMAGES = 'takes no images any more; deactivate again once the engine is back'


@dataclass(frozen=True)
class Arrival:
    """An image message and when its callback was entered, by the monotonic clock."""

    message: Image | CompressedImage
    time: float


class Worker:
    """
    Takes images, one at a time and the newest of each camera only, in fair turns.

    The executor's thread is left free to receive: were it to run the network, images would
    queue behind it and parameters and lifecycle requests would wait.

    :param cameras: by name; each is told what becomes of its images.
    :param max_pixels: larger images are refused before they are decoded.
    :param watchdog: sees to it that no image takes for ever.
    :param enabled: see :meth:`set_enabled`.
    """

    def __init__(
            self, prepared: Prepared, cameras: Mapping[str, Camera], *, max_pixels: int,
            watchdog: Watchdog, enabled: bool = True) -> None:
        self._prepared = prepared
        self._cameras = cameras
        self._max_pixels = max_pixels
        self._watchdog = watchdog
        self._enabled = enabled
        self._publishing = threading.Lock()
        self._limits = {name: RateLimit() for name in cameras}
        self._slots: FairSlots[Arrival] = FairSlots(
            {name: camera.settings.priority for name, camera in cameras.items()})
        self._thread = threading.Thread(target=self._run, name='inference', daemon=True)
        self._thread.start()

    def offer(self, name: str, message: Image | CompressedImage) -> None:
        """Leave a camera's image for the worker; called as soon as the message arrives."""
        now = time.monotonic()
        camera = self._cameras[name]
        if not self._enabled:
            camera.monitor.received(now)
            camera.monitor.left_out(DISABLED)
        elif not self._limits[name].allows(now, camera.settings.max_rate):
            camera.monitor.received(now)
            camera.monitor.left_out(ABOVE_MAX_RATE)
        else:
            replaced = self._slots.put(name, Arrival(message, now))
            camera.monitor.received(now, replaced=replaced)

    def swap(self, prepared: Prepared) -> None:
        """
        Go on with another detector, from the next image on.

        The image at hand is finished, and published, by the detector that began it: no image is
        lost and no result is of two detectors. The other one has to be warm and of the same
        classes.
        """
        self._prepared = prepared

    def set_enabled(self, enabled: bool) -> None:
        """
        Go on, or leave images out as they come.

        Once this has returned after a no, neither detections nor images are published any more;
        an image that was waiting or being worked on is left out with the others.
        """
        with self._publishing:
            self._enabled = enabled
        if not enabled:
            for name in self._slots.clear():
                self._cameras[name].monitor.left_out(DISABLED)

    def settings_changed(self, name: str) -> None:
        """Take over a camera's new priority; its other settings are looked at for each image."""
        self._slots.set_priority(name, self._cameras[name].settings.priority)

    def stop(self) -> None:
        """
        Finish the image at hand and end; may be called again where that failed.

        :raises TimeoutError: the engine did not come back.
        """
        self._slots.close()
        self._thread.join(_SECONDS_TO_STOP)
        if self._thread.is_alive():
            raise TimeoutError(
                f'the engine did not finish an image within {_SECONDS_TO_STOP:.0f} s; the node '
                f'{TAKES_NO_IMAGES}')

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._slots.closed

    def _run(self) -> None:
        while not self._slots.closed:
            self._take_one()

    def _take_one(self) -> None:
        # In a function of its own, so that no image is held while the next one is waited for.
        taken = self._slots.take()
        if taken is None:
            return
        name, arrival = taken
        camera = self._cameras[name]
        try:
            self._process(camera, arrival)
        # One bad image must not end the node: it is reported and the next one is taken.
        except Exception as error:
            camera.monitor.failed(time.monotonic())
            camera.failed(error)

    def _process(self, camera: Camera, arrival: Arrival) -> None:
        taken = time.monotonic()
        prepared, settings = self._prepared, camera.settings
        detector = prepared.detector
        # Somebody who watches is shown the whole.
        least = None if camera.watched else settings.region.least(*detector.input_size)
        picture = picture_of(arrival.message, self._max_pixels, least)
        decoded = time.monotonic()
        part, corner = settings.region.cut(picture.image)
        detector.wanted = settings.classes
        # Of its own: another detector may take over amid this run, and have a shorter limit.
        with self._watchdog.watch(camera.name or 'image', detector.cancel,
                                  at_least=WARM_UP_FACTOR * prepared.seconds):
            result = detector.detect(part)
        detections = enlarged(
            moved(result.detections, corner), picture.reduction, picture.width, picture.height)
        detected = time.monotonic()
        header = arrival.message.header
        with self._publishing:
            if not self._enabled:
                camera.monitor.left_out(DISABLED)
                return
            camera.publish(detections, header)
        published = time.monotonic()
        # Here the image is done: what fails from now on does not make it one that failed.
        age = None
        with _told(camera):
            age = camera.age_of(header)
        timing = result.timing
        camera.monitor.processed(published, FrameTiming(
            stages={
                'wait': taken - arrival.time, 'decode': decoded - taken,
                'preprocess': timing.preprocess, 'inference': timing.inference,
                'postprocess': timing.postprocess, 'publish': published - detected,
                'overhead': published - arrival.time - timing.inference,
                'total': published - arrival.time},
            age=age))
        # What this takes is not part of any figure.
        with _told(camera):
            annotated = (camera.annotated(picture.image, detections, header)
                         if picture.reduction == 1 else None)
            if annotated is not None:
                with self._publishing:
                    if self._enabled:
                        camera.show(annotated)


@contextmanager
def _told(camera: Camera) -> Iterator[None]:
    """Let the camera say what failed, and go on."""
    try:
        yield
    except Exception as error:
        camera.failed(error)
