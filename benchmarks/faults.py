# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Provoke each fault on a detector node, and see what it does, what it says and when it is back.

Starts the node as a process with a shipped model, stands beside it as a camera of 10 Hz, over real
DDS, and starts the node again a second after it ended, as the launch file does.

- *Said*: the first status on ``/diagnostics`` above OK, and after what time; statuses come once a
  second.
- *Back*: from the fault, or where it lasts from its end, to the first detections of an image that
  was sent after it.
- *Ended*: the exit status of the process, where it ended; below it, after what time the node that
  was started again was active.

The network that hangs or fails is the shipped one with a branch for images that are all white
(``broken_networks.py``): a loop without end, a single operator that takes hours, an index out of
bounds. Disks that are full or read-only are in a mount namespace; where that may not be had, their
rows are missing.

Limits: camera and node share the machine; times are those of one try each.
"""

import argparse
from collections.abc import Callable
from functools import partial
import json
import os
from pathlib import Path
import platform
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from typing import Any

from broken_networks import write_broken_on_white
from bystander import Bystander, first_picture, image_message, jpeg_message, stamp_of
import cv2
import numpy as np

from prune_perception import __version__
from prune_perception.bundle import read_bundle
from prune_perception.node_process import (
    dds_environment,
    free_domain,
    node_command,
    start,
    stop,
)
from prune_perception.resources import find_model
from prune_perception.runtime.machine import machine_name

MODEL = 'nanodet_g_person_25'
RESPAWN_DELAY = 1.0  # seconds, as in perception.launch.py
PATIENCE = 40.0  # seconds
TOPIC = '/camera/image_raw'


class Respawned:
    """The node's process, which is started again when it ends."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._command, self._environment = command, environment
        self._console = tempfile.TemporaryFile('ab+')
        self.ends: list[tuple[float, int]] = []
        self.wanted = True
        self.process = self._start()
        self._thread = threading.Thread(target=self._keep)
        self._thread.start()

    def close(self) -> None:
        """End it for good."""
        self.wanted = False
        stop(self.process)
        self._thread.join()
        self._console.close()

    def console(self) -> list[str]:
        """Return the lines that it has printed so far."""
        self._console.seek(0)  # it writes at the end, wherever this is
        return self._console.read().decode(errors='replace').splitlines()

    def _start(self) -> 'subprocess.Popen[bytes]':
        return start(self._command, self._environment, stdout=self._console,
                     stderr=subprocess.STDOUT)

    def _keep(self) -> None:
        while True:
            status = self.process.wait()
            self.ends.append((time.monotonic(), status))
            if not self.wanted:
                return
            time.sleep(RESPAWN_DELAY)
            if not self.wanted:
                return
            self.process = self._start()


def always(message: Any) -> Callable[[int], Any]:
    """Return what makes each of a camera's images, by its number: always this one."""
    return lambda _: message


class Robot(Bystander):
    """A camera that sends all the time, and whoever listens to the detector."""

    def __init__(self, domain: int) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.qos import QoSProfile
        from vision_msgs.msg import Detection2DArray

        super().__init__('robot', domain)
        self.domain = domain
        self.picture = first_picture((640, 480))
        self.make = always(image_message(self.picture))
        self.images: Any = None
        self.clock: Any = None
        self.clock_offset = 0.0
        self.count = 0
        self.sent: dict[int, float] = {}
        self.results: list[tuple[float, float]] = []  # when image and result were sent and came
        self.said: list[tuple[float, str, str]] = []
        self.node.create_subscription(
            Detection2DArray, '/detector/detections', self._found, QoSProfile(depth=100))
        self.node.create_subscription(
            DiagnosticArray, '/diagnostics', self._diagnosed, QoSProfile(depth=10))
        self.lock = threading.Lock()
        self.publish()
        self.send_at(10.0, self._send)

    def publish(self, *, compressed: bool = False) -> None:
        """Begin to publish."""
        from rclpy.qos import qos_profile_sensor_data
        from sensor_msgs.msg import CompressedImage, Image

        kind, topic = (CompressedImage, f'{TOPIC}/compressed') if compressed else (Image, TOPIC)
        with self.lock:
            self.images = self.node.create_publisher(kind, topic, qos_profile_sensor_data)

    def unpublish(self) -> None:
        """Publish no more, as a driver that died."""
        with self.lock:
            self.node.destroy_publisher(self.images)
            self.images = None

    def send(self, message: Any) -> None:
        """Publish an image, under the time of the clock that there is."""
        from builtin_interfaces.msg import Time
        from rosgraph_msgs.msg import Clock

        with self.lock:
            if self.images is None or not isinstance(message, self.images.msg_type):
                return
            now = time.time_ns() + int(self.clock_offset * 1e9)
            stamp = Time(sec=now // 1_000_000_000, nanosec=now % 1_000_000_000)
            if self.clock is not None:
                self.clock.publish(Clock(clock=stamp))
            message.header.stamp = stamp
            self.sent[now] = time.monotonic()
            self.images.publish(message)

    def send_thrice(self, message: Any) -> None:
        """Publish an image so often that it is not lost, as one in best effort may be."""
        for _ in range(3):
            self.send(message)
            time.sleep(0.02)

    def _send(self) -> None:
        self.send(self.make(self.count))
        self.count += 1

    def _found(self, message: Any) -> None:
        if (stamp := stamp_of(message)) in self.sent:
            self.results.append((self.sent[stamp], time.monotonic()))

    def _diagnosed(self, message: Any) -> None:
        now = time.monotonic()
        for status in message.status:
            level = ('OK', 'WARN', 'ERROR', 'STALE')[int.from_bytes(status.level, 'little')]
            self.said.append((now, level, status.message))

    def back(self, since: float) -> float | None:
        """Return when the first detections came of an image sent after a time."""
        return self.wait(lambda: next(
            (arrival for sent, arrival in list(self.results) if sent > since), None), PATIENCE)

    def settle(self) -> None:
        """Wait until nothing is wrong any more; what failed is told for a while."""
        self.wait(lambda: all(level == 'OK' for moment, level, _ in list(self.said)
                              if moment > time.monotonic() - 2.0), PATIENCE)

    def transition(self, name: str) -> bool:
        """Ask the detector for a transition; return whether it succeeded."""
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState

        if not hasattr(self, 'changes'):
            self.changes: Any = self.node.create_client(ChangeState, '/detector/change_state')
        self.changes.wait_for_service(PATIENCE)
        future = self.changes.call_async(ChangeState.Request(
            transition=Transition(id=getattr(Transition, f'TRANSITION_{name.upper()}'))))
        return bool(self.wait(future.done, PATIENCE) and future.result().success)


class Run:
    """One node with its camera, and the rows of what was done to it."""

    def __init__(self, robot: Robot, rows: list[dict[str, Any]], *, model: str | Path = MODEL,
                 prefix: tuple[str, ...] = (), environment: dict[str, str] | None = None,
                 **parameters: Any) -> None:
        self.robot, self.rows = robot, rows
        self.begun = time.monotonic()
        self.node = Respawned(
            [*prefix, *node_command('detector_node', remappings={'image': TOPIC}, parameters={
                'autostart': True, 'model': str(model), 'threads': 1, **parameters})],
            {**os.environ, 'ROS_DOMAIN_ID': str(robot.domain), **(environment or {})})
        first = robot.back(self.begun)
        if first is None:
            self.node.close()
            raise TimeoutError('the node does not come up')
        self.first = first

    def __enter__(self) -> 'Run':
        time.sleep(2.5)  # diagnostics of an earlier node, and of this one before it saw an image
        return self

    def __exit__(self, *_: object) -> None:
        self.node.close()

    def fault(self, name: str, act: Callable[[], Any], *, lasts: float = 0.0,
              mend: Callable[[], Any] = lambda: None) -> None:
        """Do something bad, for some time, and note what follows."""
        self.robot.settle()
        begin, clock = time.monotonic(), time.time()
        act()
        time.sleep(lasts)
        mended = time.monotonic() if lasts else begin
        mend()
        back = self.robot.back(max(mended, self.ended(begin) or 0.0))
        # A process that is about to end does so later than the image after the fault was sent.
        time.sleep(4.0)
        more = {}
        if self.ended(begin):
            back = self.robot.back(self.ended(begin) or 0.0)
            more = {'note': f'active again after {self.active_since() - clock:.2f} s'}
        self.note(name, begin, None if back is None else back - mended, **more)

    def see(self, name: str, make: Callable[[int], Any], seconds: float) -> None:
        """Have the camera send other images for some time."""
        usual = self.robot.make
        self.fault(name, lambda: setattr(self.robot, 'make', make), lasts=seconds,
                   mend=lambda: setattr(self.robot, 'make', usual))

    def active_since(self) -> float:
        """Return when the node became active last, by the log's clock."""
        return max(float(match[1]) for line in self.node.console() if (
            match := re.search(r'\[(\d+\.\d+)\].*: waiting for images on', line)))

    def ended(self, since: float) -> float | None:
        """Return when the process ended."""
        return next((moment for moment, _ in self.node.ends if moment >= since), None)

    def note(self, name: str, begin: float, back: float | None, **more: Any) -> None:
        """Print and keep a row."""
        said = next(((moment - begin, level, text) for moment, level, text in list(
            self.robot.said) if moment >= begin and level != 'OK'), None)
        status = next((code for moment, code in self.node.ends if moment >= begin), None)
        self.rows.append({
            'fault': name, 'back_s': back, 'exit_status': status,
            'said_after_s': said and said[0], 'level': said and said[1],
            'said': said and said[2], **more})
        show(self.rows[-1])


def show(row: dict[str, Any]) -> None:
    """Print a row."""
    def seconds(value: float | None) -> str:
        return '' if value is None else f'{value:.2f} s'
    said = f'{row["level"]} after {seconds(row["said_after_s"])}: {row["said"]}' if row[
        'level'] else 'OK all the time'
    status = '' if row['exit_status'] is None else row['exit_status']
    print(f'{row["fault"]:48} {seconds(row["back_s"]):>7} {status:>6}  {said[:150]}', flush=True)
    if 'note' in row:
        print(f'{"":64}{row["note"]}')


def bad_images(robot: Robot, rows: list[dict[str, Any]]) -> None:
    """Send what is no image, and change what comes in mid-stream."""
    small = np.ascontiguousarray(robot.picture[:120, :160])
    with Run(robot, rows) as run:
        kinds: dict[str, dict[str, Any]] = {
            'rows shorter than the width': {'step': 10}, 'less bytes than rows': {'height': 1000},
            'no pixels': {'width': 0, 'height': 0},
            'encoding that nobody knows': {'encoding': 'rgb565'}}
        for name, fields in kinds.items():
            run.see(f'image: {name}, 0.5 s', always(image_message(small, **fields)), 0.5)
        sizes = [(640, 480), (320, 240), (1920, 1080), (33, 17)]

        def changing(count: int) -> Any:
            image = cv2.resize(robot.picture, sizes[count % 4])
            if count % 3 == 0:
                return image_message(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), encoding='mono8')
            return image_message(image)
        run.see('image: other size and encoding each time, 3 s', changing, 3.0)
        run.fault('camera: publisher gone for 4 s', robot.unpublish, lasts=4.0,
                  mend=robot.publish)


def bad_jpegs(robot: Robot, rows: list[dict[str, Any]]) -> None:
    """Send JPEGs that are cut off, damaged, or none, amid others that are whole."""
    whole = cv2.imencode('.jpg', robot.picture)[1].tobytes()
    third = len(whole) // 3
    usual = robot.make
    robot.unpublish()
    robot.make = always(jpeg_message(whole))
    robot.publish(compressed=True)
    try:
        with Run(robot, rows, image_transport='compressed') as run:
            for name, data in {
                    'cut off': whole[:third], 'its middle third overwritten':
                    whole[:third] + bytes(third) + whole[2 * third:], 'of no bytes': b'',
                    'that is text': b'no picture ' * 1000}.items():
                run.see(f'JPEG: {name}, 0.5 s', always(jpeg_message(data)), 0.5)
    finally:
        robot.unpublish()
        robot.make = usual
        robot.publish()


def engine_faults(robot: Robot, rows: list[dict[str, Any]], folder: Path) -> None:
    """Have the engine fail, and hang in two ways."""
    white = np.full((480, 640, 3), 255, np.uint8)

    def show_white() -> None:
        robot.send_thrice(image_message(white))
    for how, name in (
            ('error', 'engine raises'),
            ('loop', 'engine hangs between operators'),
            ('operator', 'engine hangs within an operator')):
        bundle = write_broken_on_white(folder, read_bundle(find_model(MODEL)), how)
        with Run(robot, rows, model=bundle.folder) as run:
            run.fault(name, show_white)
            if how != 'operator':
                continue

            def deactivated() -> None:
                show_white()
                threading.Thread(target=robot.transition, args=('deactivate',)).start()
            run.fault('... and is told to deactivate amid that', deactivated)


def signals(robot: Robot, rows: list[dict[str, Any]], folder: Path) -> None:
    """Kill the node, stop it for a while, and ask it to end."""
    with Run(robot, rows) as run:
        run.fault(
            'process killed (SIGKILL, as for want of memory)', lambda: run.node.process.kill())
        run.fault('process stopped for 5 s (SIGSTOP)',
                  lambda: run.node.process.send_signal(signal.SIGSTOP), lasts=5.0,
                  mend=lambda: run.node.process.send_signal(signal.SIGCONT))
        told_to_end(run, 'told to end (SIGTERM) while it infers', signal.SIGTERM)
    with Run(robot, rows) as run:
        told_to_end(run, 'told to end (SIGINT) while it infers', signal.SIGINT)
    bundle = write_broken_on_white(folder / 'term', read_bundle(find_model(MODEL)), 'operator')
    with Run(robot, rows, model=bundle.folder, inference_timeout=0.0) as run:
        robot.send_thrice(image_message(np.full((480, 640, 3), 255, np.uint8)))
        time.sleep(0.5)
        told_to_end(run, 'told to end while it hangs, no time limit', signal.SIGTERM)


def told_to_end(run: Run, name: str, request: signal.Signals) -> None:
    """Ask the node to end, for good, and note how long that takes."""
    run.node.wanted = False
    begin = time.monotonic()
    run.node.process.send_signal(request)
    run.node.process.wait()
    took = time.monotonic() - begin
    run.robot.wait(lambda: run.ended(begin), 1.0)
    run.note(name, begin, None, ended_after_s=took, note=f'ended after {took:.2f} s')


def clocks(robot: Robot, rows: list[dict[str, Any]]) -> None:
    """Let the published clock jump."""
    from rosgraph_msgs.msg import Clock

    robot.clock = robot.node.create_publisher(Clock, '/clock', 10)
    with Run(robot, rows, use_sim_time=True) as run:
        for name, seconds in (('1000 s ahead', 1000.0), ('2000 s back', -1000.0)):
            run.fault(f'clock jumps {name} (use_sim_time)',
                      partial(setattr, robot, 'clock_offset', seconds))
    robot.node.destroy_publisher(robot.clock)
    robot.clock, robot.clock_offset = None, 0.0


def bundles(robot: Robot, rows: list[dict[str, Any]], folder: Path) -> None:
    """Overwrite the bundle under the node, and remove it."""
    bundle, away = folder / 'bundle', folder / 'away'
    shutil.copytree(find_model(MODEL), bundle)
    graph = bundle / 'model.onnx'
    data = graph.read_bytes()
    faults: list[tuple[str, Callable[[], Any], Callable[[], Any]]] = [
        ('half overwritten', lambda: graph.write_bytes(data[:len(data) // 2]),
         lambda: graph.write_bytes(data)),
        ('removed', lambda: bundle.rename(away), lambda: away.rename(bundle))]
    with Run(robot, rows, model=bundle) as run:
        for name, spoil, restore in faults:
            def configured_anew() -> None:
                for transition in ('deactivate', 'cleanup', 'configure'):
                    robot.transition(transition)

            def mended(restore: Callable[[], Any] = restore) -> None:
                restore()
                robot.transition('configure')
                robot.transition('activate')
            run.fault(f'bundle {name} while it runs', spoil)
            run.fault('... configured anew, and mended after 3 s', configured_anew, lasts=3.0,
                      mend=mended)


def disks(robot: Robot, rows: list[dict[str, Any]], folder: Path) -> None:
    """Let there be no folder for the log, or a disk that is full, or read-only."""
    (folder / 'file').touch()
    disk = folder / 'disk'
    disk.mkdir()

    def on_a_disk(act: str) -> tuple[str, ...]:
        script = f'mount -t tmpfs -o size=64k tmpfs "$1" && {{ {act}; shift; exec "$@"; }}'
        return ('unshare', '-Urm', 'sh', '-c', script, 'sh', str(disk))
    full = on_a_disk('dd if=/dev/zero of="$1/fill" bs=1k count=100 2>/dev/null')
    read_only = on_a_disk('mount -o remount,ro "$1"')
    places: list[tuple[str, tuple[str, ...], Path]] = [
        ('no folder for the log can be written', (), folder / 'file' / 'log')]
    if shutil.which('unshare') and not subprocess.run(
            [*read_only, 'true'], capture_output=True, check=False).returncode:
        places += [('disk full', full, disk / 'log'), ('disk read-only', read_only, disk / 'log')]
    for name, prefix, log in places:
        with Run(robot, rows, prefix=prefix, environment={
                'ROS_LOG_DIR': str(log), 'TMPDIR': str(log.parent)}) as run:
            # A process sees its own disks; here that is below its root.
            logged = sum(path.stat().st_size for path in Path(
                f'/proc/{run.node.process.pid}/root{log}').rglob('*') if path.is_file())
            console = next((line for line in run.node.console() if 'log' in line), 'nothing')
            run.note(name, run.begun, run.first - run.begun,
                     console=console, log_bytes=logged,
                     note=f'{logged} bytes in the log; the console says: {console}')


def cycles(robot: Robot, rows: list[dict[str, Any]], count: int) -> None:
    """Go through all states again and again, and see what grows."""
    def held(process: int) -> dict[str, Any]:
        folder = Path(f'/proc/{process}')
        memory = int((folder / 'statm').read_text().split()[1]) * os.sysconf('SC_PAGESIZE')
        return {'MB': memory / 1e6, 'threads': len(list((folder / 'task').iterdir())),
                'files': len(list((folder / 'fd').iterdir()))}

    with Run(robot, rows) as run:
        def around(times: int) -> int:
            return sum(robot.transition(name) for _ in range(times) for name in (
                'deactivate', 'cleanup', 'configure', 'activate'))
        around(max(count // 10, 1))
        before, begin = held(run.node.process.pid), time.monotonic()
        done = around(count)
        after = held(run.node.process.pid)
        run.note(f'through all states {count} times', begin, None,
                 before=before, after=after, transitions=done,
                 note=f'{done} of {4 * count} transitions; ' + ', '.join(
                     f'{name} {before[name]:.4g} -> {after[name]:.4g}' for name in before))


def main() -> int:
    """Provoke all, print a table, and write JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n\n')[0])
    parser.add_argument('--json', type=Path, metavar='FILE')
    parser.add_argument('--only', nargs='+', metavar='PART', choices=(
        'engine', 'images', 'jpegs', 'clocks', 'signals', 'bundles', 'disks', 'cycles'),
        help='engine, images, jpegs, clocks, signals, bundles, disks, cycles')
    parser.add_argument('--cycles', type=int, default=250, help='(%(default)s)')
    arguments = parser.parse_args()
    os.environ.update(dds_environment())
    report: dict[str, Any] = {
        'machine': machine_name(), 'system': platform.platform(),
        'load_before': os.getloadavg()[0], 'python': platform.python_version(),
        'prune_perception': __version__, 'model': MODEL, 'faults': []}
    print(f'{report["machine"]}, {report["system"]}, Python {report["python"]}; load '
          f'{report["load_before"]:.1f} before; {MODEL}, one thread\n')
    print(f'{"fault":48} {"back":>7} {"ended":>6}  said')
    robot, rows = Robot(free_domain()), report['faults']
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            parts: dict[str, Callable[[], None]] = {
                'engine': lambda: engine_faults(robot, rows, folder),
                'images': lambda: bad_images(robot, rows),
                'jpegs': lambda: bad_jpegs(robot, rows),
                'clocks': lambda: clocks(robot, rows),
                'signals': lambda: signals(robot, rows, folder),
                'bundles': lambda: bundles(robot, rows, folder),
                'disks': lambda: disks(robot, rows, folder),
                'cycles': lambda: cycles(robot, rows, arguments.cycles)}
            for part in arguments.only or parts:
                parts[part]()
        finally:
            robot.close()
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + '\n')
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
