# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""One camera of the detector node: what it sends, what is said of it, and how it fares."""

from collections.abc import Callable, Sequence
import math
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data, QoSPolicyKind, QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Float64, Header, UInt64
from vision_msgs.msg import Detection2DArray

from prune_perception.detections import Detections
from prune_perception.nodes.camera_settings import CameraSettings
from prune_perception.nodes.health import Finding, held, latency_finding
from prune_perception.nodes.input_health import InputHealth
from prune_perception.nodes.messages import bgr_message, detections_message
from prune_perception.nodes.publishers import obstacle
from prune_perception.runtime.drawing import draw
from prune_perception.runtime.hysteresis import Hold
from prune_perception.runtime.monitor import Monitor, Snapshot
from prune_perception.runtime.stamps import Stamps

# Names and types of the topics for plotting. Seconds and hertz.
CAMERA_PLOTS: dict[str, type] = {
    'latency/decode': Float64, 'latency/preprocess': Float64, 'latency/inference': Float64,
    'latency/postprocess': Float64, 'latency/total': Float64, 'result_age': Float64,
    'input_rate': Float64, 'output_rate': Float64, 'dropped_images': UInt64}

_SECONDS_BETWEEN_LOGS, _SECONDS_BETWEEN_EQUAL_LOGS = 1.0, 10.0
# Durability, too, since a camera that keeps its last image for whoever comes late is not rare.
_OVERRIDABLE = (
    QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY,
    QoSPolicyKind.DURABILITY)


class Camera:
    """
    The topics of one camera, what is counted of its images, and what is wrong with them.

    It has its publishers from the beginning, and its subscriptions from :meth:`start` to
    :meth:`stop`. The only camera of a node subscribes to ``image`` and publishes
    ``~/detections``; one of several that is called ``front`` subscribes to ``front/image`` and
    publishes ``~/front/detections``, and so on with the others.

    :param node: the detector node.
    :param name: empty for the only one.
    :param settings: replaced when parameters change; the worker looks at them for each image.
    :param annotated: offer images with the detections drawn.
    """

    def __init__(
            self, node: Node, name: str, settings: CameraSettings, class_names: Sequence[str], *,
            annotated: bool) -> None:
        self.name = name
        self.settings = settings
        self.monitor = Monitor()
        self._node = node
        self._class_names = class_names
        self._image_name = f'{name}/image' if name else 'image'
        self._topic = ''
        self._active_since: float | None = None
        self._last_failure: str | None = None
        self._last_failure_logged = -math.inf
        self._stamps = Stamps()
        self._input_health = InputHealth()
        self._latency_hold = Hold()
        self._inputs: list[Any] = []
        own = f'~/{name}' if name else '~'
        latest = QoSProfile(depth=1)
        self._detections: Any = node.create_publisher(
            Detection2DArray, f'{own}/detections', QoSProfile(depth=10))
        self._annotated: Any = node.create_publisher(
            Image, f'{own}/annotated_image', latest) if annotated else None
        self._plots: dict[str, Any] = {
            topic: node.create_publisher(kind, f'{own}/{topic}', latest)
            for topic, kind in CAMERA_PLOTS.items()}

    def reset(self) -> None:
        """Forget what was counted and what was wrong; to be called before :meth:`start`."""
        self.monitor = Monitor()
        self._last_failure = None
        self._stamps = Stamps()
        self._input_health = InputHealth()
        self._latency_hold = Hold()

    def start(
            self, offer: Callable[[str, Image | CompressedImage], None], *, compressed: bool
            ) -> None:
        """
        Take images from now on.

        :param offer: called with the camera's name and each message.
        """
        image_topic = self._node.resolve_topic_name(self._image_name)
        self._topic = f'{image_topic}/compressed' if compressed else image_topic
        self._active_since = time.monotonic()
        self._inputs = [
            self._node.create_subscription(
                CompressedImage if compressed else Image, self._topic,
                lambda message: offer(self.name, message), _newest_sensor_data(),
                qos_overriding_options=QoSOverridingOptions(_OVERRIDABLE)),
            self._node.create_subscription(
                CameraInfo, f'{image_topic.rpartition("/")[0]}/camera_info', self._announced,
                qos_profile_sensor_data)]
        self._node.get_logger().info(f'waiting for images on {self._topic}')

    def stop(self) -> None:
        """Take no more images."""
        for subscription in self._inputs:
            self._node.destroy_subscription(subscription)
        self._inputs = []
        self._active_since = None

    def destroy(self) -> None:
        """Let the topics go."""
        self.stop()
        for publisher in (self._detections, self._annotated, *self._plots.values()):
            if publisher is not None:
                self._node.destroy_publisher(publisher)

    # From the worker's thread.

    def publish(self, detections: Detections, header: Header) -> None:
        """Publish what was found in an image."""
        self._detections.publish(detections_message(detections, header, self._class_names))

    @property
    def watched(self) -> bool:
        """Whether somebody wants to see images with what was found in them."""
        return self._annotated is not None and bool(self._annotated.get_subscription_count())

    def annotated(
            self, image: NDArray[np.uint8], detections: Detections, header: Header
            ) -> Image | None:
        """Return the image with what was found in it, if somebody wants to see that."""
        return (bgr_message(draw(image, detections, self._class_names), header)
                if self.watched else None)

    def show(self, message: Image) -> None:
        """Publish an annotated image."""
        self._annotated.publish(message)

    def age_of(self, header: Header) -> float | None:
        """Return the age in seconds of an image with this header; None where it cannot be."""
        return self._stamps.age(
            header.stamp.sec * 1_000_000_000 + header.stamp.nanosec,
            self._node.get_clock().now().nanoseconds,
            simulated=self._node.get_parameter('use_sim_time').value)

    def failed(self, error: Exception) -> None:
        """Say that an image could not be processed, but not for each of many."""
        if not self._node.context.ok():
            return  # the node was told to end amid this image, and nobody hears of it any more
        reason = f'{self._topic}: {" ".join(str(error).split()) or type(error).__name__}'
        now = time.monotonic()
        # A reason may differ from image to image, as by a number of bytes.
        pause = (_SECONDS_BETWEEN_EQUAL_LOGS if reason == self._last_failure
                 else _SECONDS_BETWEEN_LOGS)
        if now - self._last_failure_logged > pause:
            self._node.get_logger().warning(reason)
            self._last_failure_logged = now
        self._last_failure = reason

    # From the executor's thread.

    def _announced(self, message: CameraInfo) -> None:
        self.monitor.camera_said(time.monotonic())

    def findings(self, snapshot: Snapshot, *, enabled: bool) -> dict[str, Finding]:
        """Return what is to be said of the images and of the time that they take."""
        if self._active_since is None:
            return {}
        now = time.monotonic()
        return {
            'input': self._input_health.finding(
                now, snapshot, topic=self._topic,
                publishers=self._node.count_publishers(self._topic),
                obstacle=lambda: obstacle(self._node, self._inputs[0], self._image_name),
                expected_rate=self.settings.expected_rate,
                seconds_active=now - self._active_since,
                last_failure=self._last_failure, enabled=enabled),
            'latency': held(
                self._latency_hold, now,
                latency_finding(snapshot, self._stamps.take_problem()))}

    def plot(self, snapshot: Snapshot) -> None:
        """Publish the figures for plotting; one that is not known is not published."""
        figures: dict[str, float | int | None] = {
            f'latency/{stage}': spread.p50 for stage, spread in snapshot.latencies.items()}
        figures |= {
            'result_age': snapshot.age.p50 if snapshot.age else None,
            'input_rate': snapshot.input_rate, 'output_rate': snapshot.output_rate,
            'dropped_images': snapshot.dropped}
        for topic, figure in figures.items():
            if figure is not None and topic in self._plots:
                self._plots[topic].publish(CAMERA_PLOTS[topic](data=figure))


def _newest_sensor_data() -> QoSProfile:
    """Return a profile of its own: overrides of one subscription are written into it."""
    return QoSProfile(
        depth=1, reliability=qos_profile_sensor_data.reliability,
        durability=qos_profile_sensor_data.durability, history=qos_profile_sensor_data.history)
