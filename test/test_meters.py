# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Discovery and reading, on trees as the kernel lays them out (``test/recorded``)."""

from collections.abc import Sequence
import os
from pathlib import Path
import stat
import tempfile
from typing import Any

import pytest
import yaml

from prune_perception.energy.meters import (
    battery,
    best,
    COUNTED,
    discover,
    Discovery,
    ina3221,
    INTEGRATED,
    Meter,
    MeterError,
    nvml,
    rapl,
    raspberry_pi_pmic,
    Scope,
)

RECORDED = Path(__file__).parent / 'recorded'
POWERCAP = 'sys/class/powercap'


def write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{value}\n', encoding='utf-8')


def grow(root: Path, name: str) -> Path:
    tree = yaml.safe_load((RECORDED / f'{name}.yaml').read_text(encoding='utf-8'))
    for path, value in tree.items():
        write(root / path, value)
    return root


def by_name(discovery: Discovery) -> dict[str, Meter]:
    names = [meter.name for meter in discovery.meters]
    assert len(names) == len(set(names))
    return dict(zip(names, discovery.meters, strict=True))


def reasons(discovery: Discovery, family: str) -> str:
    return '\n'.join(
        refusal.reason for refusal in discovery.refusals if refusal.family == family)


def forbid(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Refuse reads of these file names as the kernel does; modes do not bind root."""
    original = Path.read_text

    def read_text(self: Path, *arguments: Any, **settings: Any) -> str:
        if self.name in names:
            raise PermissionError(13, 'Permission denied', str(self))
        return original(self, *arguments, **settings)

    monkeypatch.setattr(Path, 'read_text', read_text)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def with_clock(meter: Meter) -> Clock:
    clock = Clock()
    meter._clock = clock  # type: ignore[attr-defined]
    return clock


# Nothing there


def test_an_empty_machine_gives_a_reason_for_each_family(tmp_path: Path) -> None:
    found = discover(tmp_path)
    assert found.meters == found.standby == ()
    assert {refusal.family for refusal in found.refusals} == {
        'rapl', 'ina3221', 'nvml', 'raspberry_pi_pmic', 'battery'}
    assert all(refusal.reason and '\n' not in refusal.reason for refusal in found.refusals)
    assert best(found) is None


def test_this_machine_can_be_looked_at() -> None:
    found = discover()
    assert found.meters or found.refusals
    for meter in found.meters:
        meter.read()


# RAPL


def test_package_parts_and_second_driver_are_not_added(tmp_path: Path) -> None:
    meters = by_name(discover(grow(tmp_path, 'intel_notebook')))
    assert set(meters) == {'rapl psys', 'rapl package'}
    package = meters['rapl package']
    assert package.info.files == (f'{tmp_path}/{POWERCAP}/intel-rapl:0/energy_uj',)
    assert (package.scope, package.info.method) == (Scope.PACKAGE, COUNTED)
    assert meters['rapl psys'].scope == Scope.WHOLE_SYSTEM
    clock = with_clock(package)
    package.read()
    write(tmp_path / POWERCAP / 'intel-rapl:0/energy_uj', 41_015_000_000)
    clock.now += 1.0
    assert package.read().energy_joules == pytest.approx(15.0)


def test_the_second_driver_serves_where_it_is_the_only_one(tmp_path: Path) -> None:
    write(tmp_path / POWERCAP / 'intel-rapl-mmio:0/name', 'package-0')
    write(tmp_path / POWERCAP / 'intel-rapl-mmio:0/energy_uj', 5)
    package = by_name(discover(tmp_path))['rapl package']
    assert package.info.files[0].endswith('intel-rapl-mmio:0/energy_uj')


def test_packages_are_summed_and_memory_is_apart(tmp_path: Path) -> None:
    meters = by_name(discover(grow(tmp_path, 'intel_server')))
    assert set(meters) == {'rapl package', 'rapl dram'}
    assert meters['rapl package'].rail == 'package-0 + package-1'
    assert meters['rapl dram'].scope == Scope.MEMORY
    for meter, zones, joules in (
            (meters['rapl package'], ('intel-rapl:0', 'intel-rapl:1'), (100_030, 200_040)),
            (meters['rapl dram'], ('intel-rapl:0:0', 'intel-rapl:1:0'), (10_030, 20_040))):
        clock = with_clock(meter)
        meter.read()
        for zone, count in zip(zones, joules, strict=True):
            write(tmp_path / POWERCAP / zone / 'energy_uj', count * 1_000_000)
        clock.now += 1.0
        assert meter.read().power_watts == pytest.approx(70.0)


def test_a_wrap_uses_the_range_of_its_own_zone(tmp_path: Path) -> None:
    grow(tmp_path, 'intel_server')
    write(tmp_path / POWERCAP / 'intel-rapl:0:0/energy_uj', 65_712_999_613 - 2_000_000)
    memory = by_name(discover(tmp_path))['rapl dram']
    clock = with_clock(memory)
    memory.read()
    write(tmp_path / POWERCAP / 'intel-rapl:0:0/energy_uj', 3_000_000)
    write(tmp_path / POWERCAP / 'intel-rapl:1:0/energy_uj', 20_004_000_000)
    clock.now += 1.0
    assert memory.read().energy_joules == pytest.approx(5.0 + 4.0)


def test_dies_that_mirror_one_counter_count_once(tmp_path: Path) -> None:
    found = discover(grow(tmp_path, 'amd_two_dies'))
    assert by_name(found)['rapl package'].rail == 'package-0-die-0'
    assert 'package-0-die-1 mirrors the counter of package-0-die-0' in reasons(found, 'rapl')


def test_dies_with_counters_of_their_own_are_summed(tmp_path: Path) -> None:
    grow(tmp_path, 'amd_two_dies')
    write(tmp_path / POWERCAP / 'intel-rapl:1/energy_uj', 50_002_000_000)
    found = discover(tmp_path)
    assert by_name(found)['rapl package'].rail == 'package-0-die-0 + package-0-die-1'


def test_a_counter_at_zero_is_refused_and_the_package_remains(tmp_path: Path) -> None:
    grow(tmp_path, 'intel_notebook')
    write(tmp_path / POWERCAP / 'intel-rapl:1/energy_uj', 0)
    found = discover(tmp_path)
    assert set(by_name(found)) == {'rapl package'}
    assert 'psys stands at 0' in reasons(found, 'rapl')


def test_several_psys_zones_are_not_guessed_about(tmp_path: Path) -> None:
    grow(tmp_path, 'intel_server')
    for index, name in ((2, 'psys'), (3, 'psys-1')):
        write(tmp_path / POWERCAP / f'intel-rapl:{index}/name', name)
        write(tmp_path / POWERCAP / f'intel-rapl:{index}/energy_uj', 5)
    found = discover(tmp_path)
    assert 'rapl psys' not in by_name(found)
    assert '2 psys zones' in reasons(found, 'rapl')


def test_a_missing_permission_comes_with_the_rule_that_mends_it(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grow(tmp_path, 'intel_server')
    forbid(monkeypatch, 'energy_uj')
    found = discover(tmp_path)
    assert found.meters == ()
    refusals = [refusal for refusal in found.refusals if refusal.family == 'rapl']
    assert len(refusals) == 2  # packages and memory
    for refusal in refusals:
        assert 'energy_uj: no permission' in refusal.reason
        assert refusal.udev_rule == rapl.UDEV_RULE
        assert '/etc/udev/rules.d/' in refusal.remedy


def test_a_permission_that_the_kernel_itself_refuses() -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        grow(root, 'intel_server')
        for path in [root, *root.rglob('*')]:
            path.chmod(0o755 if path.is_dir() else 0o644)
        (root / POWERCAP / 'intel-rapl:1/energy_uj').chmod(stat.S_IWUSR)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            found = discover(root)
        finally:
            os.seteuid(user)
    assert 'rapl package' not in by_name(found)  # half of the packages is not the package
    assert 'intel-rapl:1/energy_uj: no permission' in reasons(found, 'rapl')


def test_a_permission_lost_while_reading_is_named_and_comes_back_without_loss(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = by_name(discover(grow(tmp_path, 'intel_notebook')))['rapl package']
    clock = with_clock(package)
    package.read()
    clock.now += 1.0
    with monkeypatch.context() as patch:
        forbid(patch, 'energy_uj')
        with pytest.raises(MeterError, match='package-0/energy_uj|intel-rapl:0/energy_uj'):
            package.read()
    write(tmp_path / POWERCAP / 'intel-rapl:0/energy_uj', 41_020_000_000)
    clock.now += 1.0
    reading = package.read()
    assert (reading.energy_joules, reading.breaks) == (pytest.approx(20.0), 0)


def test_a_counter_that_holds_nonsense_is_named(tmp_path: Path) -> None:
    package = by_name(discover(grow(tmp_path, 'intel_notebook')))['rapl package']
    package.read()
    write(tmp_path / POWERCAP / 'intel-rapl:0/energy_uj', 'banana')
    with pytest.raises(MeterError, match="energy_uj: 'banana' is not an integer"):
        package.read()


def test_a_range_that_is_not_readable_forbids_wraps_and_nothing_else(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grow(tmp_path, 'intel_notebook')
    forbid(monkeypatch, 'max_energy_range_uj')
    package = by_name(discover(tmp_path))['rapl package']
    clock = with_clock(package)
    package.read()
    write(tmp_path / POWERCAP / 'intel-rapl:0/energy_uj', 1_000_000)
    clock.now += 1.0
    with pytest.raises(MeterError, match='went back'):
        package.read()


# Jetson


@pytest.mark.parametrize(('board', 'name', 'watts', 'others'), [
    ('jetson_orin_nx', 'ina3221 VDD_IN', 6.0, {'VDD_CPU_GPU_CV', 'VDD_SOC'}),
    # VDDQ_VDD2_1V8AO hangs on VIN_SYS_5V0 and must not be added.
    ('jetson_agx_orin', 'ina3221 VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0', 4.0 + 2.0 + 4.5,
     {'VDD_GPU_SOC', 'VDD_CPU_CV', 'VIN_SYS_5V0', 'VDDQ_VDD2_1V8AO'}),
    ('jetson_agx_xavier', 'ina3221 GPU + CPU + SOC + CV + VDDRQ + SYS5V', 19 * 0.25 + 2.5,
     {'GPU', 'CPU', 'SOC', 'CV', 'VDDRQ', 'SYS5V'}),
    ('jetson_tx2', 'ina3221 VDD_IN', 5.7,
     {'VDD_SYS_GPU', 'VDD_SYS_SOC', 'VDD_4V0_WIFI', 'VDD_SYS_CPU', 'VDD_SYS_DDR', 'VDD_MUX',
      'VDD_5V0_IO_SYS', 'VDD_3V3_SYS'}),
    ('jetson_nano', 'ina3221 POM_5V_IN', 4.0, {'POM_5V_GPU', 'POM_5V_CPU'}),
])
def test_jetson_totals(
        tmp_path: Path, board: str, name: str, watts: float, others: set[str]) -> None:
    found = discover(grow(tmp_path, board))
    meters = by_name(found)
    total = meters.pop(name)
    assert total.read().power_watts == pytest.approx(watts)
    assert (total.scope, total.info.method) == (Scope.MODULE, INTEGRATED)
    assert {meter.rail for meter in meters.values()} == others
    assert {meter.scope for meter in meters.values()} == {Scope.SINGLE_RAIL}
    assert best(found) is total
    assert not reasons(found, 'ina3221')


def test_the_conversion_period_is_taken_from_the_driver(tmp_path: Path) -> None:
    meter = by_name(discover(grow(tmp_path, 'jetson_orin_nx')))['ina3221 VDD_IN']
    assert meter.update_period == pytest.approx(0.020)


def test_rails_of_an_unknown_board_are_not_added_up(tmp_path: Path) -> None:
    found = discover(grow(tmp_path, 'unknown_ina3221'))
    assert {meter.rail for meter in found.meters} == {'VBAT', 'VSYS'}
    assert 'which of the rails VBAT, VSYS feeds which is not known' in reasons(found, 'ina3221')
    assert best(found) is None


def test_rails_of_one_name_are_told_apart(tmp_path: Path) -> None:
    grow(tmp_path, 'unknown_ina3221')
    write(tmp_path / 'sys/class/hwmon/hwmon0/in2_label', 'VBAT')
    assert {meter.rail for meter in discover(tmp_path).meters} == {'VBAT', 'VBAT (hwmon0)'}


def test_channels_that_are_off_or_not_connected_are_left_out(tmp_path: Path) -> None:
    grow(tmp_path, 'jetson_orin_nx')
    write(tmp_path / 'sys/class/hwmon/hwmon1/in3_enable', 0)
    write(tmp_path / 'sys/class/hwmon/hwmon1/in2_label', 'NC')
    assert {meter.rail for meter in discover(tmp_path).meters} == {'VDD_IN'}


def test_a_sum_with_a_rail_missing_is_no_total(tmp_path: Path) -> None:
    grow(tmp_path, 'jetson_agx_orin')
    (tmp_path / 'sys/class/hwmon/hwmon3/curr3_input').unlink()
    found = discover(tmp_path)
    assert all(meter.scope == Scope.SINGLE_RAIL for meter in found.meters)
    assert 'VIN_SYS_5V0: ' in reasons(found, 'ina3221')
    assert 'curr3_input: is not there' in reasons(found, 'ina3221')


def test_a_rail_that_vanishes_while_reading_is_named_and_may_come_back(tmp_path: Path) -> None:
    meter = discover(grow(tmp_path, 'jetson_agx_orin')).meters[0]
    clock = with_clock(meter)
    meter.read()
    clock.now += 1.0
    current = tmp_path / 'sys/class/hwmon/hwmon3/curr2_input'
    current.unlink()
    with pytest.raises(MeterError, match='VIN_SYS_5V0: .*hwmon3/curr2_input: is not there'):
        meter.read()
    write(current, 100)
    clock.now += 1.0
    assert meter.read().breaks == 1
    clock.now += 1.0
    assert meter.read().energy_joules == pytest.approx(10.5)


def test_a_device_that_answers_with_an_error_is_named(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meter = discover(grow(tmp_path, 'jetson_orin_nx')).meters[0]
    original = Path.read_text

    def read_text(self: Path, *arguments: Any, **settings: Any) -> str:
        if self.name == 'in1_input':
            raise OSError(19, 'No such device')
        return original(self, *arguments, **settings)

    monkeypatch.setattr(Path, 'read_text', read_text)
    with pytest.raises(MeterError, match='VDD_IN: .*in1_input: no such device'):
        meter.read()


@pytest.mark.parametrize(('current', 'said'), [(4_000_000, '20000 W'), (-4000, '-20 W')])
def test_a_current_that_cannot_be_is_named(tmp_path: Path, current: int, said: str) -> None:
    meter = discover(grow(tmp_path, 'jetson_orin_nx')).meters[0]
    write(tmp_path / 'sys/class/hwmon/hwmon1/curr1_input', current)
    with pytest.raises(MeterError, match=f'VDD_IN: .*in1_input.* says {said}'):
        meter.read()


def test_a_missing_permission_on_hwmon_names_the_rule(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grow(tmp_path, 'jetson_orin_nx')
    forbid(monkeypatch, 'in1_input')
    found = discover(tmp_path)
    assert 'ina3221 VDD_IN' not in by_name(found)
    refusal = next(refusal for refusal in found.refusals if refusal.family == 'ina3221')
    assert 'in1_input: no permission' in refusal.reason
    assert 'ina3221' in refusal.udev_rule


def test_files_that_are_all_for_root_give_one_reason(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grow(tmp_path, 'jetson_orin_nx')
    forbid(monkeypatch, 'update_interval', *(
        f'{name}{channel}_{end}' for name in ('in', 'curr') for channel in range(1, 8)
        for end in ('label', 'input', 'enable')))
    found = discover(tmp_path)
    assert found.meters == ()
    refusal, = (refusal for refusal in found.refusals if refusal.family == 'ina3221')
    assert 'in1_input: no permission to read it (and 2 more rails)' in refusal.reason
    assert refusal.udev_rule


# NVIDIA


class FakeNvml:
    """The functions of pynvml that are used; each figure may be an error."""

    class NVMLError(Exception):
        pass

    def __init__(self, energy: object, power: object, boards: int = 1,
                 start: Exception | None = None) -> None:
        self.energy, self.power, self.boards, self.start = energy, power, boards, start

    def nvmlInit(self) -> None:
        if self.start:
            raise self.start

    def nvmlDeviceGetCount(self) -> int:
        return self.boards

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetName(self, handle: int) -> bytes:
        return b'Fake RTX'

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> object:
        return self._give(self.energy)

    def nvmlDeviceGetPowerUsage(self, handle: int) -> object:
        return self._give(self.power)

    def _give(self, value: object) -> object:
        if isinstance(value, Exception):
            raise value
        return value


NOT_SUPPORTED = FakeNvml.NVMLError('Not Supported')


def test_nvml_prefers_the_energy_counter() -> None:
    module = FakeNvml(5_000_000, 60_000)
    meter = by_name(nvml.find(module))['nvml 0']
    assert (meter.rail, meter.info.method) == ('Fake RTX (0)', COUNTED)
    assert meter.scope == Scope.GRAPHICS_BOARD
    clock = with_clock(meter)
    meter.read()
    module.energy = 5_120_000
    clock.now += 2.0
    reading = meter.read()
    assert (reading.energy_joules, reading.power_watts) == (
        pytest.approx(120.0), pytest.approx(60.0))


def test_nvml_falls_back_to_power_and_says_so() -> None:
    meter = by_name(nvml.find(FakeNvml(NOT_SUPPORTED, 60_500)))['nvml 0']
    assert meter.info.method == INTEGRATED
    assert meter.read().power_watts == pytest.approx(60.5)


def test_nvml_that_supports_no_query_is_refused_after_a_real_read() -> None:
    found = nvml.find(FakeNvml(NOT_SUPPORTED, NOT_SUPPORTED))
    assert found.meters == ()
    assert 'nvmlDeviceGetPowerUsage of Fake RTX (0): Not Supported' in reasons(found, 'nvml')


@pytest.mark.parametrize('module', [
    FakeNvml(1, 1, start=FakeNvml.NVMLError('Driver Not Loaded')),
    FakeNvml(1, 1, start=OSError('libnvidia-ml.so: cannot open')),
    FakeNvml(1, 1, boards=0)])
def test_nvml_without_driver_or_board_is_refused(module: FakeNvml) -> None:
    found = nvml.find(module)
    assert found.meters == ()
    assert reasons(found, 'nvml')


def test_a_board_that_is_lost_while_reading_is_named() -> None:
    module = FakeNvml(5_000_000, 60_000)
    meter = nvml.find(module).meters[0]
    meter.read()
    module.energy = FakeNvml.NVMLError('GPU is lost')
    with pytest.raises(MeterError, match=r'Fake RTX \(0\): GPU is lost'):
        meter.read()
    module.energy = 'much'
    with pytest.raises(MeterError, match="'much' is not an integer"):
        meter.read()


def test_the_real_module_is_asked_where_it_is_installed() -> None:
    pytest.importorskip('pynvml', reason='nvidia-ml-py is not installed')
    found = nvml.find()
    assert found.meters or reasons(found, 'nvml')


# Raspberry Pi


def pmic_text() -> str:
    tree = yaml.safe_load((RECORDED / 'raspberry_pi_5.yaml').read_text(encoding='utf-8'))
    return tree['pmic_read_adc']


def test_the_rails_of_the_pmic_are_multiplied_and_summed(tmp_path: Path) -> None:
    commands: list[Sequence[str]] = []

    def run(command: Sequence[str]) -> str:
        commands.append(tuple(command))
        return pmic_text()

    meter = by_name(discover(grow(tmp_path, 'raspberry_pi_5'), run=run))['raspberry pi pmic']
    # 0.05*3.7 + 0.1*3.3 + 0.2*1.8 + 0.02*1.1 + 0.2*1.1 + 0.25*0.8 + 2*0.9 + 0.01*0.8 + 0.02*5
    assert meter.read().power_watts == pytest.approx(3.225)
    assert set(commands) == {('vcgencmd', 'pmic_read_adc')}
    rails = raspberry_pi_pmic.parse(pmic_text())
    assert len(rails) == 12
    assert not {'EXT5V', 'BATT'} & set(rails)  # voltages without a current


@pytest.mark.parametrize(('text', 'said'), [
    ('', 'no rail'),
    ('error=1 error_msg="Command not registered"', 'no rail'),
    ('VDD_CORE_A current(7)=1.0A', 'VDD_CORE has a current and no voltage'),
    ('VDD_CORE_A current(7)=1.0.0A\nVDD_CORE_V volt(15)=0.9V', 'not a number'),
])
def test_a_pmic_that_answers_nonsense_is_named(text: str, said: str) -> None:
    with pytest.raises(MeterError, match=said):
        raspberry_pi_pmic.parse(text)


def test_the_command_is_not_run_on_other_boards(tmp_path: Path) -> None:
    def run(command: Sequence[str]) -> str:
        raise AssertionError('must not be called')

    found = discover(tmp_path, run=run)
    assert 'not a Raspberry Pi' in reasons(found, 'raspberry_pi_pmic')


@pytest.mark.parametrize(('script', 'said'), [
    ('echo "Can\'t open device file: /dev/vcio" >&2; exit 255', 'permission'),
    ('echo error=1; exit 1', 'error=1'),
    (None, 'vcgencmd: not installed')])
def test_a_command_that_fails_is_refused(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, said: str) -> None:
    programs = tmp_path / 'bin'
    programs.mkdir()
    if script is not None:
        (programs / 'vcgencmd').write_text(f'#!/bin/sh\n{script}\n', encoding='utf-8')
        (programs / 'vcgencmd').chmod(0o755)
    monkeypatch.setenv('PATH', str(programs))
    found = raspberry_pi_pmic.find(grow(tmp_path, 'raspberry_pi_5'))
    assert found.meters == ()
    refusal, = found.refusals
    if said == 'permission':
        assert refusal.udev_rule == raspberry_pi_pmic.UDEV_RULE
    else:
        assert said in refusal.reason


def test_the_real_runner_reads_what_the_command_prints(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / 'bin'
    programs.mkdir()
    (programs / 'vcgencmd').write_text(
        '#!/bin/sh\n[ "$1" = pmic_read_adc ] || exit 1\n'
        'echo "VDD_CORE_A current(7)=2.0A"; echo "VDD_CORE_V volt(15)=0.5V"\n',
        encoding='utf-8')
    (programs / 'vcgencmd').chmod(0o755)
    monkeypatch.setenv('PATH', str(programs))
    meter, = raspberry_pi_pmic.find(grow(tmp_path, 'raspberry_pi_5')).meters
    assert meter.read().power_watts == pytest.approx(1.0)


# Batteries

SUPPLY = 'sys/class/power_supply'


def test_batteries_of_the_machine_are_summed_without_the_mouse(tmp_path: Path) -> None:
    meter = by_name(discover(grow(tmp_path, 'notebook_battery')))['battery']
    assert meter.rail == 'BAT0 + BAT1'
    assert meter.scope == Scope.BATTERY
    assert meter.read().power_watts == pytest.approx(9.5)
    write(tmp_path / SUPPLY / 'BAT1/status', 'Discharging')
    write(tmp_path / SUPPLY / 'BAT1/power_now', -2_000_000)
    assert meter.read().power_watts == pytest.approx(11.5)


def test_a_gauge_with_signed_current_and_voltage(tmp_path: Path) -> None:
    meter = by_name(discover(grow(tmp_path, 'robot_gauge')))['battery']
    assert meter.read().power_watts == pytest.approx(18.0)


@pytest.mark.parametrize(('file', 'value', 'said'), [
    ('BAT0/status', 'Charging', 'BAT0 is Charging'),
    ('BAT0/status', 'Full', 'BAT0 is Full'),
    ('AC/online', '1', 'AC: external power is connected')])
def test_a_charging_battery_waits_and_then_measures(
        tmp_path: Path, file: str, value: str, said: str) -> None:
    grow(tmp_path, 'notebook_battery')
    before = (tmp_path / SUPPLY / file).read_text(encoding='utf-8')
    write(tmp_path / SUPPLY / file, value)
    found = discover(tmp_path)
    assert found.meters == ()
    meter, = found.standby
    assert best(found) is meter
    assert said in reasons(found, 'battery')
    with pytest.raises(MeterError, match='not what the machine draws|does not say what'):
        meter.read()
    write(tmp_path / SUPPLY / file, before)
    assert meter.read().power_watts == pytest.approx(9.5)


def test_a_battery_without_figures_is_refused(tmp_path: Path) -> None:
    grow(tmp_path, 'robot_gauge')
    (tmp_path / SUPPLY / 'bq27441-0/current_now').unlink()
    found = battery.find(tmp_path)
    assert found.meters == found.standby == ()
    assert 'neither power_now nor current_now' in reasons(found, 'battery')


# Which one


def test_the_rules_in_the_documentation_are_those_that_are_printed() -> None:
    page = (Path(__file__).parents[1] / 'docs' / 'meters.md').read_text(encoding='utf-8')
    for rule in (rapl.UDEV_RULE, ina3221.UDEV_RULE, raspberry_pi_pmic.UDEV_RULE):
        assert f'\n{rule}\n' in page


def test_the_widest_view_of_the_computer_is_best_and_the_battery_comes_after_it(
        tmp_path: Path) -> None:
    grow(tmp_path, 'notebook_battery')
    assert best(discover(tmp_path, nvml_module=FakeNvml(1, 1))).name == 'battery'  # type: ignore
    grow(tmp_path, 'intel_server')
    assert best(discover(tmp_path)).name == 'rapl package'  # type: ignore[union-attr]
    grow(tmp_path, 'intel_notebook')
    assert best(discover(tmp_path)).name == 'rapl psys'  # type: ignore[union-attr]


def test_a_meter_that_works_is_better_than_one_that_waits(tmp_path: Path) -> None:
    grow(tmp_path, 'notebook_battery')
    write(tmp_path / SUPPLY / 'BAT0/status', 'Charging')
    found = discover(tmp_path, nvml_module=FakeNvml(1, 1))
    assert best(found).name == 'nvml 0'  # type: ignore[union-attr]
