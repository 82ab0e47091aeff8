# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
The replay node: a recording as a camera.

For machines without ``ros2 bag play``, and for recordings which that does not read: ROS 1 bags,
videos, folders of images.
"""

from collections.abc import Callable, Sequence
import sys
import threading
import time
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.task import Future
from std_srvs.srv import Trigger

from prune_perception.frames.recording import open_recording, Recording, RecordingError
from prune_perception.nodes.interrupts import initialised
from prune_perception.nodes.pace import Pace
from prune_perception.nodes.parameters import declare, ParameterSpec, warn_of_strangers
from prune_perception.nodes.player import Player, recorded_stamp

PARAMETERS = (
    ParameterSpec(
        'recording', '', 'Bag, video or folder of images to play.', read_only=True),
    ParameterSpec(
        'topic', '', 'Image topic of the bag; empty where it has one.', read_only=True),
    ParameterSpec(
        'image_topic', '/camera/image_raw', 'Base topic to publish to; compressed images go to '
        '<image_topic>/compressed, and camera_info goes beside it.', read_only=True),
    ParameterSpec(
        'rate', 1.0, 'How many times faster than recorded.', limits=(0.01, 100.0),
        read_only=True),
    ParameterSpec('loop', False, 'Begin again at the end.', read_only=True),
    ParameterSpec(
        'start_offset', 0.0, 'Seconds of the recording to leave out, in every loop.',
        limits=(0.0, 1e9), read_only=True),
    ParameterSpec(
        'clock', False, 'Keep the recorded stamps and publish /clock. Otherwise images are '
        'stamped with the present time.', read_only=True),
    ParameterSpec('start_paused', False, 'Wait for ~/resume or ~/step.', read_only=True),
)
# The last image is lost when its writer goes before it was read, and so is a service's answer.
_SECONDS_TO_LINGER = 0.5
_NOT_BY_ITS_OWN_CLOCK = (
    'must be false here, since with clock this node is where the simulated time comes from')


class ReplayError(RuntimeError):
    """There is nothing to play; the message says why and what to do."""


class ReplayNode(Node):
    """Plays a recording, and pauses, resumes and steps when asked."""

    def __init__(self, **options: Any) -> None:
        super().__init__('replay', **options)
        problems = declare(self, PARAMETERS)
        warn_of_strangers(self)
        if problems:
            raise ReplayError('; '.join(problems.values()))
        if not self.value('recording'):
            raise ReplayError(
                'parameter recording: is empty; name a bag, a video or a folder of images')
        if self.value('clock') and self.value('use_sim_time'):
            raise ReplayError(f'parameter use_sim_time: {_NOT_BY_ITS_OWN_CLOCK}')
        self.add_on_set_parameters_callback(self._check_parameters)
        self.pace = Pace(self.value('rate'), paused=self.value('start_paused'))
        self._player: Player | None = None
        self._count: int | None = None
        for name, answer in (
                ('pause', self._pause), ('resume', self._resume), ('step', self._step)):
            self.create_service(Trigger, f'~/{name}', _answering(answer))

    def value(self, name: str) -> Any:
        """Return the value of a parameter."""
        return self.get_parameter(name).value

    def play(self, recording: Recording) -> None:
        """
        Play until the end, or for ever with ``loop``; in a thread beside the executor's.

        :raises RecordingError: nothing at all could be played.
        """
        clock = self.value('clock')
        player = self._player = Player(
            self, recording, self.value('image_topic'), pace=self.pace, clock=clock,
            start_offset=self.value('start_offset'), stamp=recorded_stamp if clock else None,
            failed=self._left_out)
        self._count = recording.count
        self.get_logger().info(
            f'playing {recording.path} into {player.topic}'
            + (', paused' if self.pace.paused else ''))
        self._tell(recording)
        while True:
            played = self._play_once(player)
            self._tell(recording)
            if self.pace.ended:
                return
            if not played:
                raise RecordingError(f'{recording.path}: not one image could be played')
            if not self.value('loop'):
                self.get_logger().info(f'played {played} images')
                return

    def _play_once(self, player: Player) -> int:
        """Play the recording as far as it goes, and return how many images were published."""
        played = 0
        try:
            for _ in player.play():
                played += 1
        except RecordingError as error:
            if not played:
                raise
            self.get_logger().error(str(error))
        return played

    def _tell(self, recording: Recording) -> None:
        """Say what is wrong with the recording, once."""
        while recording.warnings:
            self.get_logger().warning(recording.warnings.pop(0))

    def _left_out(self, index: int, reason: str) -> None:
        self.get_logger().warning(f'not played: {reason}')

    def _pause(self) -> tuple[bool, str]:
        changed = self.pace.pause()
        return True, f'{"paused" if changed else "was paused already"} {self._position()}'

    def _resume(self) -> tuple[bool, str]:
        changed = self.pace.resume()
        return True, f'{"playing on" if changed else "was playing already"} {self._position()}'

    def _step(self) -> tuple[bool, str]:
        if not self.pace.paused:
            return False, 'is playing; pause it first'
        if not self.pace.step():
            return False, ('the recording is over' if self.pace.ended
                           else 'no image came; the recording may be slow to read')
        assert self._player is not None and self._player.newest is not None
        index, reason = self._player.newest
        if reason:
            return False, f'image {index + 1} was left out: {reason}'
        return True, f'image {index + 1}{self._of_how_many()} published'

    def _check_parameters(self, parameters: Sequence[Parameter]) -> SetParametersResult:
        simulated = any(each.name == 'use_sim_time' and each.value for each in parameters)
        if simulated and self.value('clock'):
            return SetParametersResult(successful=False, reason=_NOT_BY_ITS_OWN_CLOCK)
        return SetParametersResult(successful=True)

    def _position(self) -> str:
        newest = self._player.newest if self._player else None
        if newest is None:
            return 'before the first image'
        return f'after image {newest[0] + 1}{self._of_how_many()}'

    def _of_how_many(self) -> str:
        return '' if self._count is None else f' of {self._count}'


def _answering(answer: Callable[[], tuple[bool, str]]) -> Callable[[Any, Any], Any]:
    def serve(request: Any, response: Any) -> Any:
        response.success, response.message = answer()
        return response
    return serve


def run(node: ReplayNode, recording: Recording) -> None:
    """
    Spin while the recording is played, and until it has been.

    :raises RecordingError: nothing at all could be played.
    """
    over: Future[None] = Future()
    failure: list[Exception] = []

    def play() -> None:
        try:
            node.play(recording)
            node.pace.end()
            time.sleep(_SECONDS_TO_LINGER if node.context.ok() else 0)
        except Exception as error:
            if node.context.ok():  # what fails in a shut-down context is no news
                failure.append(error)
        finally:
            node.pace.end()
            over.set_result(None)

    thread = threading.Thread(target=play, name='player')
    thread.start()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        executor.spin_until_future_complete(over)
    finally:
        node.pace.end()
        thread.join()
        executor.shutdown()
    if failure:
        raise failure[0]


def main(arguments: list[str] | None = None) -> int:
    """Play; 0 when the recording was played, also where a part of it was damaged."""
    with initialised(arguments):
        try:
            node = ReplayNode()
            try:
                with open_recording(
                        node.value('recording'), node.value('topic') or None) as recording:
                    run(node, recording)
            finally:
                node.destroy_node()
        except (ReplayError, RecordingError) as error:
            print(f'replay: {error}', file=sys.stderr)
            return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
