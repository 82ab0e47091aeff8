# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The governor of a detector node in a process of its own, over real DDS."""

from collections.abc import Iterator
from pathlib import Path
import shutil
from typing import Any

from bundles import sees_one, write_sees_one
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
import numpy as np
import pytest
from rclpy.qos import DurabilityPolicy, QoSProfile
from robot import detector, raw, Robot
from sensor_msgs.msg import BatteryState, Temperature
from test_meters import write

from prune_perception.bundle import write_bundle
from prune_perception.resources import find_model

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
GREY = raw(np.full((32, 64, 3), 127, np.uint8))
ZONE = 'sys/class/thermal/thermal_zone0'
# How often each multiplies large matrices, its modelled microjoules, and where it sees somebody.
RUNGS = {'large': (2, 4000.0, 1), 'medium': (1, 2000.0, 3), 'small': (0, 1000.0, 5)}


def account(microjoules: float) -> dict[str, Any]:
    return {'board': {'word_bits': 8, 'batch': 1, 'total': {'energy_uj': microjoules}}}


def ladder(folder: Path, *names: str) -> list[str]:
    """Write bundles of which each sees somebody at another place; return their folders."""
    for name in names or RUNGS:
        work, energy, cell = RUNGS[name]
        write_sees_one(folder, name, cell, work, energy=account(energy))
    return [str(folder / name) for name in names or RUNGS]


def decisions(robot: Robot) -> list[DiagnosticStatus]:
    """Return a list that what the governor decides comes into, the last one at once."""
    heard: list[DiagnosticStatus] = []
    robot.create_subscription(
        DiagnosticStatus, '/detector/governor', heard.append,
        QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL))
    return heard


def running(robot: Robot, name: str) -> dict[str, str]:
    """Wait until a bundle runs; return the governor's figures."""
    def runs() -> dict[str, str] | None:
        values = {item.key: item.value for item in robot.statuses['governor'].values} \
            if 'governor' in robot.statuses else {}
        return values if values.get('Bundle') == name and not values['Being made ready'] else None
    robot.statuses.pop('governor', None)
    values: dict[str, str] = robot.wait_for(runs, f'bundle {name} at work', 60.0)
    return values


def settle(robot: Robot) -> dict[str, int]:
    """Wait until every image that arrived is accounted for; return the counts."""
    counts: dict[str, int] = {}

    def accounted() -> bool:
        if not {'input', 'detector'} <= robot.statuses.keys():
            return False
        values = {item.key: item.value for name in ('input', 'detector')
                  for item in robot.statuses[name].values}
        counts.update(
            received=int(values['Images received']), processed=int(values['Frames processed']),
            dropped=int(values['Images dropped, newer came first']),
            failed=int(values['Images failed']))
        return (counts['received'] > 0 and counts['received']
                == counts['processed'] + counts['dropped'] + counts['failed']
                and len(robot.detections) == counts['processed'])
    robot.statuses.clear()
    robot.wait_for(accounted, f'account of all images: {counts}')
    return counts


def cells(robot: Robot) -> list[int]:
    """Return where each message saw somebody, in the order of their arrival."""
    found = []
    for message in robot.detections:
        (detection,) = message.detections  # never two: no result is of two bundles
        assert detection.results[0].hypothesis.class_id == 'person'
        assert detection.bbox.size_x == detection.bbox.size_y == 16
        found.append(round((detection.bbox.center.position.x - 4) / 8))
    return found


def test_overload_is_answered_and_every_accepted_frame_is_published(tmp_path: Path) -> None:
    """A camera of 30 Hz, a large bundle that takes some tenths of a second."""
    large = write_sees_one(tmp_path, 'large', RUNGS['large'][2], 20, energy=account(4000.0))
    parameters = {
        'autostart': True, 'ladder': [*ladder(tmp_path, 'small'), str(large.folder)], 'threads': 1,
        'budget.latency_ms': 60.0, 'governor.down_after': 2.0}
    with detector(parameters=parameters) as robot:
        heard = decisions(robot)
        publisher = robot.publisher(type(GREY), '/camera/image_raw')
        assert publisher
        timer = robot.create_timer(1 / 30, lambda: robot.send(GREY))
        values = running(robot, 'small')
        robot.spin(1.0)
        robot.destroy_timer(timer)
        counts = settle(robot)

        assert counts['failed'] == 0 and counts['dropped'] > 0
        seen = cells(robot)
        assert set(seen) == {RUNGS['large'][2], RUNGS['small'][2]}
        assert seen == sorted(seen)  # once the small one is there, no result of the large one
        assert values['Ladder'] == 'large, small'
        assert values['Changes'] == '1'
        assert values['Last change'].startswith('latency ')
        assert 'is above 60.0 ms, for 2 s: down to small' in values['Last change']
        assert float(values['Latency p95 before (ms)']) > 60
        slowest = values['Slowest frame while it was made ready (ms)']
        assert slowest == 'none ended meanwhile' or float(slowest) > 60
        assert values['Latency (ms), budget'] == '60.0'
        robot.wait_for(lambda: len(heard) >= 3, 'decisions')
        assert [message.message.split(':')[0].split(' ')[0] for message in heard[:3]] == [
            'begins', 'latency', 'small']
        assert heard[2].message.startswith('small runs, after large: latency ')
        assert heard[2].name == 'detector: governor'
        assert robot.values('detector')['Model'] == 'small'
        assert robot.values('power')['Modelled energy per frame (J)'] == '0.001'
        late = decisions(robot)
        robot.wait_for(lambda: len(late) == len(heard), 'decisions that were kept')
        assert late[-1].message == heard[-1].message


@pytest.fixture(scope='module')
def robot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Robot]:
    """Three rungs, no budget, and a machine whose processor's temperature is a file."""
    folder = tmp_path_factory.mktemp('governing')
    write(folder / ZONE / 'type', 'cpu-thermal')
    write(folder / ZONE / 'temp', 50_000)
    parameters = {
        'autostart': True, 'ladder': ladder(folder), 'threads': 1, 'root': str(folder),
        'governor.down_after': 1.0, 'governor.up_after': 5.0}
    with detector(parameters=parameters) as robot:
        robot.folder = folder  # type: ignore[attr-defined]
        yield robot


@pytest.fixture
def begin(robot: Robot) -> Iterator[Robot]:
    """Begin with the largest and no budget."""
    for name in ('latency_ms', 'watts', 'battery_percent', 'temperature_c'):
        assert robot.set_parameter(f'budget.{name}', 0.0).successful
    assert robot.set_parameter('pinned', 'large').successful
    running(robot, 'large')
    assert robot.set_parameter('pinned', '').successful
    yield robot
    assert robot.set_parameter('pinned', '').successful


def test_low_battery_leads_to_the_smallest_and_a_charged_one_back(begin: Robot) -> None:
    robot, state = begin, BatteryState(percentage=0.8)
    publisher = robot.publisher(BatteryState, '/battery')
    timer = robot.create_timer(0.2, lambda: publisher.publish(state))
    assert robot.set_parameter('budget.battery_percent', 30.0).successful
    status = robot.status('governor', OK, 'battery 80 at least 30 %')
    assert 'large is the largest' in status.message
    state.percentage = 0.2
    values = running(robot, 'small')
    assert values['Battery (%)'] == '20' and values['Battery (%), at least'] == '30'
    status = robot.status('governor', WARN, 'small is the smallest')
    assert 'battery 20 % is below 30 %' in status.message
    state.percentage = 0.9
    values = running(robot, 'large')
    assert values['Last change'].startswith('room for 5 s: up to large, expected: battery 90')
    state.percentage = 90.0  # a driver that does not keep to the message's definition
    robot.status('governor', WARN, 'battery not known')
    assert 'lies between 0 and 1' in robot.values('governor')['Battery, source']
    robot.destroy_timer(timer)


def test_hot_processor(begin: Robot) -> None:
    robot = begin
    zone = robot.folder / ZONE / 'temp'  # type: ignore[attr-defined]
    assert robot.set_parameter('budget.temperature_c', 80.0).successful
    robot.status('governor', OK, 'temperature 50.0 of 80.0 °C')
    assert robot.values('governor')['Temperature, source'] == 'thermal zone cpu-thermal'
    zone.write_text('91000\n')
    values = running(robot, 'medium')
    assert values['Last change'].startswith('temperature 91.0 °C is above 80.0 °C')
    robot.status('governor', OK, 'more to cool down')
    assert running(robot, 'medium')
    zone.unlink()
    robot.status('governor', WARN, 'temperature not known')
    # Somebody else knows better, as of a graphics board.
    publisher = robot.publisher(Temperature, '/temperature')
    timer = robot.create_timer(0.2, lambda: publisher.publish(Temperature(temperature=60.0)))
    robot.status('governor', WARN, '; now: temperature 60.0 of 80.0 °C')  # for a while
    robot.status('governor', OK, 'temperature 60.0 of 80.0 °C')
    assert running(robot, 'large')['Temperature, source'] == '/temperature'
    robot.destroy_timer(timer)


def reading(watts: float) -> DiagnosticStatus:
    """Return what a power monitor says."""
    reading.updates += 1  # type: ignore[attr-defined]
    values = {
        'Name': 'rail', 'Rail': 'VDD_IN', 'Scope': 'module', 'Includes': 'the module',
        'Update period (s)': '0.1', 'Method': 'power, integrated', 'Energy (J)': '0.0',
        'Power (W)': repr(watts), 'Monotonic time (s)': '0.0',
        'Updates': str(reading.updates), 'Breaks': '0'}  # type: ignore[attr-defined]
    return DiagnosticStatus(
        values=[KeyValue(key=key, value=value) for key, value in values.items()])


reading.updates = 0  # type: ignore[attr-defined]


def test_power_over_its_budget(begin: Robot) -> None:
    robot, heard = begin, decisions(begin)
    publisher = robot.create_publisher(DiagnosticStatus, '/power_monitor/reading', QoSProfile(
        depth=1))

    def measure() -> None:
        # The rail follows at once, however late this test hears of it by the diagnostics.
        medium = bool(heard) and heard[-1].message.startswith('medium runs')
        publisher.publish(reading(8.0 if medium else 12.0))

    timer = robot.create_timer(0.2, measure)
    assert robot.set_parameter('budget.watts', 10.0).successful
    values = running(robot, 'medium')
    assert values['Last change'] == 'power 12.00 W is above 10.00 W, for 1 s: down to medium'
    # A third less there: learnt from the step down.
    status = robot.status('governor', OK, 'not so with large: power about 12.00 W, 9.00 W')
    assert status.message.startswith('power 8.00 of 10.00 W')
    assert 'measured by rail' in robot.values('governor')['Power, source']
    robot.destroy_timer(timer)
    robot.status('governor', WARN, 'power not known, which counts neither as kept nor as broken')


def test_pinned(begin: Robot) -> None:
    robot = begin
    refused = robot.set_parameter('pinned', 'nanodet_g')
    assert not refused.successful
    assert refused.reason == ("parameter pinned: 'nanodet_g' is not in the ladder, which has "
                              'large, medium, small')
    assert robot.set_parameter('budget.temperature_c', 1.0).successful
    assert robot.set_parameter('pinned', 'medium').successful
    values = running(robot, 'medium')
    assert values['Pinned'] == 'medium'
    status = robot.status('governor', OK, 'medium is pinned')
    assert status.message == 'medium is pinned; the budgets are not looked at'
    assert robot.set_parameter('budget.temperature_c', 0.0).successful
    assert robot.set_parameter('pinned', '').successful
    running(robot, 'large')


def test_a_bundle_that_cannot_be_loaded_any_more(begin: Robot) -> None:
    robot = begin
    graph = robot.folder / 'small' / 'model.onnx'  # type: ignore[attr-defined]
    shutil.copy(graph, graph.with_suffix('.kept'))
    graph.write_bytes(b'somebody replaced it')
    try:
        assert robot.set_parameter('pinned', 'small').successful
        status = robot.status('governor', ERROR, 'small could not be made ready: ')
        assert 'large stays, and it is tried again in 30 s' in robot.log()
        assert 'model.onnx: has changed or is incomplete' in status.message
        assert robot.answer(GREY).detections
        assert robot.log().count('[ERROR]') == 1  # not once a second
    finally:
        shutil.move(graph.with_suffix('.kept'), graph)
    # It is said until it is looked at again, and one that is asked for again is tried at once.
    assert robot.set_parameter('pinned', '').successful
    robot.status('governor', ERROR, 'small could not be made ready: ')
    assert robot.set_parameter('pinned', 'small').successful
    running(robot, 'small')
    robot.status('governor', OK, 'small is pinned')


def test_a_bundle_that_cannot_be_loaded_is_passed_over(begin: Robot) -> None:
    robot = begin
    graph = robot.folder / 'medium' / 'model.onnx'  # type: ignore[attr-defined]
    shutil.move(graph, graph.with_suffix('.kept'))
    publisher = robot.publisher(BatteryState, '/battery')
    timer = robot.create_timer(0.2, lambda: publisher.publish(BatteryState(percentage=0.2)))
    try:
        assert robot.set_parameter('budget.battery_percent', 30.0).successful
        running(robot, 'small')
        robot.status('governor', ERROR, 'medium could not be made ready: ')
    finally:
        shutil.move(graph.with_suffix('.kept'), graph)
        robot.destroy_timer(timer)
    assert robot.set_parameter('pinned', 'medium').successful
    running(robot, 'medium')
    robot.status('governor', OK, 'medium is pinned')


def test_threads_that_change_amid_a_change_delay_it_only(begin: Robot) -> None:
    robot = begin
    assert robot.set_parameter('pinned', 'small').successful
    assert robot.set_parameter('threads', 2).successful
    running(robot, 'small')
    robot.wait_for(lambda: '2 threads' in robot.values('detector')['Engine'], 'two threads')
    assert robot.set_parameter('threads', 1).successful
    robot.wait_for(lambda: '1 threads' in robot.values('detector')['Engine'], 'one thread')
    assert running(robot, 'small')


def test_lifecycle_with_a_ladder(begin: Robot) -> None:
    robot = begin
    assert robot.set_parameter('pinned', 'medium').successful
    running(robot, 'medium')
    assert robot.transition('deactivate')
    assert robot.status('governor', OK).message == 'inactive'
    assert robot.transition('activate')
    assert running(robot, 'medium')['Pinned'] == 'medium'
    assert robot.transition('deactivate')
    assert robot.transition('cleanup')
    assert robot.status('governor', OK).message == 'unconfigured'
    assert robot.set_parameter('pinned', 'nobody').successful  # not known yet what there will be
    assert not robot.transition('configure')
    robot.status('detector', ERROR, "parameter pinned: 'nobody' is not in the ladder")
    assert robot.set_parameter('pinned', '').successful
    assert robot.transition('configure')
    assert robot.transition('activate')
    running(robot, 'large')


def test_ladders_that_are_none(tmp_path: Path) -> None:
    """Each is refused in a line; the node lives on, and takes a ladder that is one."""
    good = ladder(tmp_path, 'small', 'medium')
    card, graph = sees_one('other', 2, class_names=('dog', 'person'))
    write_bundle(tmp_path / 'other', card, {'model.onnx': graph})
    with detector(parameters={'autostart': True, 'ladder': [good[0], 'nanodet_g']}) as robot:
        status = robot.status('detector', ERROR, 'cannot be in one ladder')
        assert status.message == (
            'configure failed: small and nanodet_g cannot be in one ladder: nanodet_g alone has '
            "'bicycle', 'car', 'motorcycle' and 75 more")
        for names, words in (
                ([good[0], str(tmp_path / 'other')],
                 "the same classes in another order: number 0 is 'person' in small and 'dog' in "
                 'other'),
                ([good[0]], 'a ladder has two bundles or more'),
                ([good[0], good[0]], 'two bundles of the ladder are named small'),
                ([good[0], str(tmp_path / 'nowhere')], 'nowhere')):
            assert robot.set_parameter('ladder', names).successful
            assert not robot.transition('configure')
            robot.status('detector', ERROR, words)
        assert robot.set_parameter('ladder', good).successful
        assert robot.transition('configure')


def test_what_would_do_nothing_without_a_ladder_is_refused() -> None:
    small = str(find_model('nanodet_g_person_10'))
    with detector(parameters={'autostart': True, 'model': small, 'budget.watts': 5.0}) as robot:
        status = robot.status('detector', ERROR, 'parameter budget.watts: there is no ladder')
        assert 'the parameter ladder names the bundles to choose from' in status.message
        assert robot.set_parameter('budget.watts', 0.0).successful
        assert robot.transition('configure')
        refused = robot.set_parameter('pinned', 'nanodet_g')
        assert not refused.successful and 'there is no ladder' in refused.reason
        assert 'governor' not in robot.statuses
