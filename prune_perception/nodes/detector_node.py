# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The detector node: cameras' images in, detections with their latency and power out."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
import platform
import sys
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import SetParametersResult
import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Float64, Header
from std_srvs.srv import SetBool
from vision_msgs.msg import LabelInfo

from prune_perception.bundle import Bundle, read_bundle
from prune_perception.certificate_text import certificate_line
from prune_perception.energy.meters import discover
from prune_perception.energy.modelled import modelled_joules
from prune_perception.nodes.camera import Camera
from prune_perception.nodes.camera_settings import read_settings
from prune_perception.nodes.detector_parameters import DetectorParameters
from prune_perception.nodes.engine_health import EngineHealth
from prune_perception.nodes.governing import Governing
from prune_perception.nodes.health import detector_finding, ERROR, Finding, OK
from prune_perception.nodes.interrupts import initialised
from prune_perception.nodes.ladder import ladder_bundles, load_ladder, needs_ladder
from prune_perception.nodes.lifecycle import ReasonedLifecycleNode
from prune_perception.nodes.messages import label_info_message
from prune_perception.nodes.parameters import texts
from prune_perception.nodes.power import PowerReporter
from prune_perception.nodes.preparation import Preparation, Prepared, Request
from prune_perception.nodes.topic_meters import MonitorTopicMeter
from prune_perception.nodes.watchdog import Watchdog
from prune_perception.nodes.worker import TAKES_NO_IMAGES, Worker
from prune_perception.resources import find_model
from prune_perception.runtime.detector import Detector

# Names and types of the node's topics for plotting. Watts and joules.
POWER_PLOTS: dict[str, type] = {'power': Float64, 'energy_per_frame': Float64}

_LATEST = QoSProfile(depth=1)
_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_DETECTOR_SETTINGS = ('score_threshold', 'iou_threshold', 'max_detections')


class DetectorNode(ReasonedLifecycleNode):
    """
    A lifecycle node that runs a model bundle on the newest images of one or more cameras.

    The topics of a camera are those of :class:`Camera`. The node publishes ``~/label_info``,
    power and energy for plotting, and ``/diagnostics`` once a second in every state; it offers
    ``~/enable``. Where an engine hangs and cannot be made to give its image up, the process ends
    (see :class:`Watchdog`).

    :param ending: returns whether the process was told to end; it then does in good time.
    """

    def __init__(self, *, ending: Callable[[], bool] = lambda: False, **options: Any) -> None:
        super().__init__('detector', **options)
        self._declared = DetectorParameters(self)
        self.add_on_set_parameters_callback(self._check_parameters)
        self.add_post_set_parameters_callback(self._parameters_set)
        self._hardware_id = self._value('hardware_id') or platform.node()
        self._prepared: Prepared | None = None
        self._worker: Worker | None = None
        self._cameras: dict[str, Camera] = {}
        self._enabled = True
        self._preparation = Preparation(self)
        self._threads_request: Request | None = None
        self._governing: Governing | None = None
        self._power: PowerReporter | None = None
        self._model: Mapping[str, str] = {}
        self._engine_health = EngineHealth(Path(self._value('root')))
        monitor_topic = self.resolve_topic_name('power_monitor/reading')
        self._power_monitor = MonitorTopicMeter(monitor_topic)
        self.create_subscription(
            DiagnosticStatus, monitor_topic, self._power_monitor.take, _LATEST)
        self._label_info: Any = None
        self._plots: dict[str, Any] = {}
        # An ordinary publisher: a lifecycle publisher would drop what an inactive node says,
        # and an inactive node must be able to say why it is inactive.
        self._diagnostics = self.create_publisher(
            DiagnosticArray, '/diagnostics', QoSProfile(depth=10))
        self.create_service(SetBool, '~/enable', self._enable)
        self._watchdog = Watchdog(
            limit=lambda: self._value('inference_timeout'), ending=ending,
            last_words=self._last_words)
        # Steady, since a node whose simulated time stands still must be able to say so, too.
        self.create_timer(1.0, self._report, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def destroy_node(self) -> None:
        """End the watch, too."""
        self._watchdog.stop()
        super().destroy_node()

    def autostart(self) -> None:
        """Configure and activate, if the parameter says so."""
        # One that is not understood must be told, though it might have been a no.
        wanted = self._value('autostart') or 'autostart' in self._declared.problems
        if wanted and self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    # Transitions.

    def configure(self) -> None:
        """Load and warm the model, and offer the topics."""
        if self._declared.problems:
            raise ValueError('; '.join(self._declared.problems.values()))
        started = time.monotonic()
        bundles, pinned = ladder_bundles(self), self._value('pinned')
        ladder = load_ladder(self, bundles, self._builder) if bundles else None
        rung = ladder.index(pinned) if ladder and pinned else 0
        bundle = (ladder.bundles[rung] if ladder
                  else read_bundle(find_model(self._value('model'))))
        card = bundle.card
        settings = {name: read_settings(self._value, name, bundle)
                    for name in self._declared.cameras}
        power = PowerReporter(
            self.get_logger(), modelled_joules(card.energy, self._value('hardware_profile')),
            self._power_monitor, discover(Path(self._value('root'))))
        self.use(self._builder(bundle)())
        self._preparation.usual = time.monotonic() - started
        self._power = power
        self._label_info = self.create_publisher(LabelInfo, '~/label_info', _LATCHED)
        self._plots = {name: self.create_publisher(kind, f'~/{name}', _LATEST)
                       for name, kind in POWER_PLOTS.items()}
        self._cameras = {
            name: Camera(self, name, each, card.class_names,
                         annotated=self._value('annotated_image'))
            for name, each in settings.items()}
        if ladder is not None:
            self._governing = Governing(
                self, ladder, rung, self._preparation, builder=self._builder, use=self.use,
                monitors=lambda: [camera.monitor for camera in self._cameras.values()],
                message=lambda finding: self._status('governor', finding))
        self.get_logger().info(
            f'loaded {card.name} ({bundle.digest[:12]}, {len(card.class_names)} classes) in '
            f'{time.monotonic() - started:.2f} s: {self._model["Engine"]}, '
            f'{self._model["Inference at warm-up (ms)"]} ms an image')
        self.get_logger().info(
            certificate_line(card.certificate, self._value('score_threshold')))

    def activate(self) -> None:
        """Publish the class names and start to take images."""
        # A transition that rcl allows only when configured.
        assert self._detector and self._prepared
        if self._worker is not None:
            raise TimeoutError('the engine is still at an image from before')
        self._publish_labels(self._detector)
        for camera in self._cameras.values():
            camera.reset()
        if self._governing is not None:
            self._governing.activate()
        self._worker = Worker(
            self._prepared, self._cameras, max_pixels=self._value('max_image_pixels'),
            watchdog=self._watchdog, enabled=self._enabled)
        compressed = self._value('image_transport') == 'compressed'
        for camera in self._cameras.values():
            camera.start(self._worker.offer, compressed=compressed)

    def _publish_labels(self, detector: Detector) -> None:
        self._label_info.publish(label_info_message(
            detector.bundle.card.class_names, detector.score_threshold,
            Header(stamp=self.get_clock().now().to_msg())))

    def deactivate(self) -> None:
        """Take no more images; the one at hand is finished first."""
        for camera in self._cameras.values():
            camera.stop()
        if self._worker is not None:
            self._worker.stop()
            self._worker = None  # not where that failed, so that no second one starts beside it

    def cleanup(self) -> None:
        """Let the model and the topics go."""
        self._preparation.stop()
        if self._governing is not None:
            self._governing.destroy()
            self._governing = None
        for camera in self._cameras.values():
            camera.destroy()
        self._cameras = {}
        for publisher in (self._label_info, *self._plots.values()):
            if publisher is not None:
                self.destroy_publisher(publisher)
        self._label_info, self._plots = None, {}
        self._prepared = self._power = None
        self._model = {}

    # The detector, and how it is exchanged while the node works.

    @property
    def _detector(self) -> Detector | None:
        return None if self._prepared is None else self._prepared.detector

    def use(self, prepared: Prepared) -> None:
        """
        Run this detector from the next image on.

        It has to be of the same classes as the one before. To be called on the executor's thread,
        as are all that set parameters: what was set while it was made ready is not lost.
        """
        detector = prepared.detector
        for name in _DETECTOR_SETTINGS:
            setattr(detector, name, self._value(name))
        bundle = detector.bundle
        self._model = {
            'Model': bundle.card.name, 'Model digest': bundle.digest[:12],
            'Model folder': str(bundle.folder), 'Engine': detector.engine.description,
            'Inference at warm-up (ms)': f'{prepared.seconds * 1e3:.2f}'}
        for problem in detector.engine.problems:
            self.get_logger().error(problem)
        self._prepared = prepared
        if self._power is not None:
            self._power.change_model(modelled_joules(
                bundle.card.energy, self._value('hardware_profile')))
        if self._worker is not None:
            self._worker.swap(prepared)
        self._engine_health.begin(time.monotonic(), prepared.seconds)

    def _builder(self, bundle: Bundle) -> Callable[[], Prepared]:
        """Return what makes a detector ready by the present parameters, in whatever thread."""
        words = {name: self._value(name)
                 for name in ('engine', 'threads', 'precision', *_DETECTOR_SETTINGS)}
        providers = texts(self, 'providers')
        return lambda: Prepared.of(Detector(bundle, providers=providers, **words))

    def _change_threads(self) -> None:
        """Make an engine with the new number of threads ready, and keep the old one until then."""
        if self._detector is None:
            return
        old = self._detector.options.threads
        if self._value('threads') == old:
            self._preparation.cancel(self._threads_request)  # it was changed, and changed back
            return

        def done(result: Prepared | Exception) -> None:
            if isinstance(result, Exception):
                self.get_logger().error(
                    f'parameter threads: stays {old}, since no engine with '
                    f'{self._value("threads")} could be made ready: '
                    f'{" ".join(str(result).split())}')
                self.set_parameters([Parameter('threads', value=old)])
                return
            self.use(result)
            self.get_logger().info(
                f'changed over to {self._model["Engine"]}, '
                f'{self._model["Inference at warm-up (ms)"]} ms an image')
        self._threads_request = self._preparation.request(
            self._builder(self._detector.bundle), done)

    # A hung engine.

    def _last_words(self, reason: str) -> None:
        if not self.context.ok():  # there is nobody left to be told but who reads the console
            print(f'{self.get_name()}: {reason}', file=sys.stderr, flush=True)
            return
        self.failure = reason  # a report that falls between this and the end says the same
        self._diagnostics.publish(DiagnosticArray(
            header=Header(stamp=self.get_clock().now().to_msg()),
            status=[self._status('detector', Finding(
                ERROR, reason, {'State': self.state_name, **self._model}))]))
        self.get_logger().error(reason)
        self._diagnostics.wait_for_all_acked(Duration(seconds=0.3))

    # Live control.

    def _enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        word = 'enabled' if request.data else 'disabled'
        response.success = True
        response.message = f'was {word} already' if request.data == self._enabled else word
        self._enabled = request.data
        if self._worker is not None:
            self._worker.set_enabled(request.data)
        self.get_logger().info(f'{response.message} by request')
        return response

    def _check_parameters(self, parameters: Sequence[Parameter]) -> SetParametersResult:
        reason = self._declared.check(
            parameters, None if self._detector is None else self._detector.bundle)
        if reason is None and self._detector is not None:
            reason = self._ladder_problem({each.name: each.value for each in parameters})
        return SetParametersResult(successful=reason is None, reason=reason or '')

    def _ladder_problem(self, values: Mapping[str, Any]) -> str | None:
        if self._governing is None:
            return needs_ladder(values)
        try:
            if values.get('pinned'):
                self._governing.ladder.index(values['pinned'])
        except ValueError as error:
            return str(error)
        return None

    def _parameters_set(self, parameters: Sequence[Parameter]) -> None:
        for parameter in parameters:
            self._declared.problems.pop(parameter.name, None)
            camera = self._declared.camera_of(parameter.name)
            if parameter.name in _DETECTOR_SETTINGS and self._detector is not None:
                setattr(self._detector, parameter.name, parameter.value)
                if parameter.name == 'score_threshold' and self._worker is not None:
                    self._publish_labels(self._detector)
            elif parameter.name == 'threads':
                self._change_threads()
            elif parameter.name == 'pinned' and self._governing is not None:
                self._governing.pinned_changed()
            elif camera in self._cameras and self._detector is not None:
                self._cameras[camera].settings = read_settings(
                    self._value, camera, self._detector.bundle)
                if self._worker is not None:
                    self._worker.settings_changed(camera)

    # Once a second.

    def _report(self) -> None:
        now = time.monotonic()
        snapshots = {name: camera.monitor.snapshot(now) for name, camera in self._cameras.items()}
        finding = detector_finding(
            state=self.state_name, failure=self.failure,
            problems=self._detector.engine.problems if self._detector else (),
            model=self._model, enabled=self._enabled, snapshots=list(snapshots.values()))
        findings = {'detector': self._preparation.judged(now, self._engine_health.judged(
            now, finding, [camera.monitor for camera in self._cameras.values()],
            disturbed=self._preparation.busy and self._preparation.late(now) < 1))}
        # Said in every state, for an aggregator takes a status that is missing for a fault.
        for name in self._declared.cameras:
            own: dict[str, Finding] = dict.fromkeys(
                ('input', 'latency'), Finding(OK, self.state_name, {}))
            if self._worker is not None and self._worker.stopping:
                own['input'] = Finding(ERROR, TAKES_NO_IMAGES, {})
            if name in self._cameras:
                own |= self._cameras[name].findings(snapshots[name], enabled=self._enabled)
                self._cameras[name].plot(snapshots[name])
            findings |= {f'{name}: {what}' if name else what: each for what, each in own.items()}
        findings['power'] = Finding(OK, self.state_name, {})
        if self._power is not None:
            findings['power'] = self._power.finding(
                sum(snapshot.processed for snapshot in snapshots.values()))
            for name, figure in (('power', self._power.watts),
                                 ('energy_per_frame', self._power.joules_per_frame)):
                if figure is not None:
                    self._plots[name].publish(POWER_PLOTS[name](data=figure))
        if texts(self, 'ladder'):
            findings['governor'] = self._preparation.judged(
                now, self._govern(findings['power']))
        self._diagnostics.publish(DiagnosticArray(
            header=Header(stamp=self.get_clock().now().to_msg()),
            status=[self._status(name, finding) for name, finding in findings.items()]))

    def _govern(self, power: Finding) -> Finding:
        if self._governing is None:
            return Finding(OK, self.state_name, {})
        if self._worker is None or not self._enabled:
            return self._governing.idle(
                self.state_name if self._enabled else f'{self.state_name}, disabled')
        return self._governing.step(
            self._power.watts if self._power else None, power.values.get('Source', ''))

    def _status(self, name: str, finding: Finding) -> DiagnosticStatus:
        # With its namespace: the detectors of two cameras may have one name.
        node = self.get_fully_qualified_name().lstrip('/')
        return finding.status(f'{node}: {name}', self._hardware_id)

    def _value(self, name: str) -> Any:
        return self.get_parameter(name).value


def main(arguments: list[str] | None = None) -> int:
    """Run the node until it is told to stop."""
    with initialised(arguments):
        node = DetectorNode(ending=lambda: not rclpy.ok())
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        try:
            node.autostart()
            executor.spin()
        finally:
            node.deactivate()
            node.cleanup()
            node.destroy_node()
    return 0


if __name__ == '__main__':
    sys.exit(main())
