# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The detector's transitions: in every order, and so often that what is not let go of shows."""

from collections.abc import Callable, Iterator
import ctypes
import gc
from pathlib import Path
import random
import resource
import threading
import time
from typing import Any

from bundles import write_sees_one
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState
import numpy as np
import pytest
import rclpy
from rclpy.parameter import Parameter
from robot import free_domain, raw

from prune_perception.nodes.detector_node import DetectorNode

CYCLE = ('configure', 'activate', 'deactivate', 'cleanup')
# By transition: the states that have it, and where it leads.
LEGAL = {
    Transition.TRANSITION_CONFIGURE: ({'unconfigured'}, 'inactive'),
    Transition.TRANSITION_CLEANUP: ({'inactive'}, 'unconfigured'),
    Transition.TRANSITION_ACTIVATE: ({'inactive'}, 'active'),
    Transition.TRANSITION_DEACTIVATE: ({'active'}, 'inactive'),
    Transition.TRANSITION_UNCONFIGURED_SHUTDOWN: ({'unconfigured'}, 'finalized'),
    Transition.TRANSITION_INACTIVE_SHUTDOWN: ({'inactive'}, 'finalized'),
    Transition.TRANSITION_ACTIVE_SHUTDOWN: ({'active'}, 'finalized'),
    # What only rclpy itself may do, and what there is not.
    Transition.TRANSITION_CREATE: (set(), ''), Transition.TRANSITION_DESTROY: (set(), ''),
    Transition.TRANSITION_ON_ACTIVATE_ERROR: (set(), ''), 99: (set(), '')}


@pytest.fixture
def node_of() -> Iterator[Callable[..., DetectorNode]]:
    """Make nodes in this process, without an executor: the test makes the calls."""
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=free_domain())
    nodes: list[DetectorNode] = []

    def make(**parameters: Any) -> DetectorNode:
        node = DetectorNode(context=context, parameter_overrides=[
            Parameter(name, value=value) for name, value in (
                {'threads': 1} | parameters).items()])
        node.get_logger().set_level(rclpy.logging.LoggingSeverity.FATAL)
        nodes.append(node)
        return node
    yield make
    for node in nodes:
        node.deactivate()
        node.cleanup()
        node.destroy_node()
    rclpy.shutdown(context=context)


def request(node: DetectorNode, transition: int) -> bool:
    """Ask for a transition as the service does, and return the answer."""
    return node._LifecycleNodeMixin__on_change_state(
        ChangeState.Request(transition=Transition(id=transition)),
        ChangeState.Response()).success


def look(node: DetectorNode) -> None:
    """Show an active node an image, and wait for what it sees."""
    assert node._worker is not None
    for name, camera in node._cameras.items():
        before = camera.monitor.snapshot(time.monotonic()).processed
        node._worker.offer(name, raw(np.full((32, 64, 3), 127, np.uint8)))
        deadline = time.monotonic() + 20
        while camera.monitor.snapshot(time.monotonic()).processed == before:
            assert time.monotonic() < deadline
            time.sleep(0.0005)


def inference_threads() -> int:
    return sum(thread.name == 'inference' for thread in threading.enumerate())


@pytest.mark.parametrize('seed', range(4))
def test_transitions_in_every_order(
        tmp_path: Path, node_of: Callable[..., DetectorNode], seed: int) -> None:
    chance = random.Random(seed)
    bundle = write_sees_one(tmp_path, 'one', 3)
    card = bundle.folder / 'model.yaml'
    text = card.read_text()
    node = node_of(model=str(bundle.folder))
    state, broken = 'unconfigured', False
    for _ in range(80):
        if chance.random() < 0.1:
            broken = not broken
            card.write_text('nothing' if broken else text)
        # A shutdown would end the walk early.
        wanted = chance.choice([each for each, (_, goal) in LEGAL.items()
                                if goal != 'finalized' or state not in LEGAL[each][0]])
        before, goal = LEGAL[wanted]
        possible = state in before and not (
            broken and wanted == Transition.TRANSITION_CONFIGURE)
        assert request(node, wanted) == possible, f'{wanted} when {state}'
        state = goal if possible else state
        assert node._state_machine.current_state[1] == node.state_name == state
        assert inference_threads() == (state == 'active')
        assert bool(node._cameras) == (state != 'unconfigured')
        node._report()
        if state == 'active':
            look(node)
    finals = {'unconfigured': Transition.TRANSITION_UNCONFIGURED_SHUTDOWN,
              'inactive': Transition.TRANSITION_INACTIVE_SHUTDOWN,
              'active': Transition.TRANSITION_ACTIVE_SHUTDOWN}
    assert request(node, finals[state])
    assert node._state_machine.current_state[0] == State.PRIMARY_STATE_FINALIZED
    assert not any(request(node, each) for each in LEGAL)
    assert inference_threads() == 0


def around(node: DetectorNode, times: int) -> None:
    for _ in range(times):
        for name in CYCLE:
            assert request(node, getattr(Transition, f'TRANSITION_{name.upper()}'))
            if name == 'activate':
                look(node)
                node._report()


@pytest.mark.parametrize('cameras, rungs', [([''], 1), (['front', 'rear'], 2)])
def test_nothing_is_kept_from_one_time_to_the_next(
        tmp_path: Path, node_of: Callable[..., DetectorNode], cameras: list[str], rungs: int
        ) -> None:
    folders = [str(write_sees_one(tmp_path, f'bundle {rung}', rung, work=rung).folder)
               for rung in range(rungs)]
    node = node_of(model=folders[0], cameras=cameras, annotated_image=True,
                   ladder=folders if rungs > 1 else [''])
    around(node, 3)

    def objects() -> int:
        gc.collect()
        return len(gc.get_objects())

    def grown() -> int:
        before = objects()
        around(node, 10)
        return objects() - before
    # What other modules of this process make once, late, is in one of three at most.
    assert min(grown() for _ in range(3)) < 10, 'less than one for each time'


@pytest.mark.slow
def test_a_thousand_times_without_growth(
        tmp_path: Path, node_of: Callable[..., DetectorNode]) -> None:
    node = node_of(model=str(write_sees_one(tmp_path, 'one', 3).folder))
    process = Path('/proc/self')

    def held() -> tuple[int, int]:
        return len(list((process / 'task').iterdir())), len(list((process / 'fd').iterdir()))

    def memory() -> int:
        # Without what is free in the C library's pools, which come and go by whole buffers with
        # how threads happen to overlap.
        ctypes.CDLL(None).malloc_trim(0)
        return int((process / 'statm').read_text().split()[1]) * resource.getpagesize()
    around(node, 100)  # what is made at the first use
    before, bytes_before = held(), memory()
    around(node, 1000)
    assert held() == before
    assert memory() - bytes_before < 1e6, 'less than a kilobyte for each time'
