# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""How hot the processor is, on trees as the kernel lays them out."""

from pathlib import Path

import pytest
from test_meters import forbid, grow, write

from prune_perception.energy.meters import MeterError
from prune_perception.energy.meters.temperature import processor_temperature, Temperature

ZONES = 'sys/class/thermal'


def refusal(root: Path) -> str:
    with pytest.raises(MeterError) as caught:
        processor_temperature(root)
    return str(caught.value)


def test_the_hottest_of_the_processor_and_not_of_the_board(tmp_path: Path) -> None:
    assert processor_temperature(grow(tmp_path / 'a', 'notebook_thermal')) == Temperature(
        54.0, 'x86_pkg_temp')
    assert processor_temperature(grow(tmp_path / 'b', 'jetson_orin_thermal')) == Temperature(
        48.593, 'tj-thermal')


def test_a_zone_that_is_read_anew(tmp_path: Path) -> None:
    root = grow(tmp_path, 'notebook_thermal')
    write(root / ZONES / 'thermal_zone2/temp', 80_500)
    assert processor_temperature(root) == Temperature(80.5, 'TCPU')


@pytest.mark.parametrize('kind, processor', [
    ('cpu-thermal', True), ('cpu_thermal', True), ('CPU-therm', True), ('GPU-therm', True),
    ('soc-thermal', True), ('bigcore0-thermal', True), ('littlecore-thermal', True),
    ('cpu0-1-thermal', True), ('PMIC-Die', False), ('AO-therm', False), ('battery', False),
    ('thermal-fan-est', False), ('pch_cannonlake', False)])
def test_types_of_zones(tmp_path: Path, kind: str, processor: bool) -> None:
    write(tmp_path / ZONES / 'thermal_zone0/type', kind)
    write(tmp_path / ZONES / 'thermal_zone0/temp', 40_000)
    if processor:
        assert processor_temperature(tmp_path) == Temperature(40.0, kind)
    else:
        assert refusal(tmp_path) == (
            f"{tmp_path / ZONES}: no zone is known to be the processor's, there are {kind}")


def test_no_figure_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(tmp_path) == f'{tmp_path / ZONES}: no thermal zone'
    zone = tmp_path / ZONES / 'thermal_zone0'
    write(zone / 'type', 'cpu-thermal')
    assert refusal(tmp_path) == f'{zone / "temp"}: is not there (any more)'
    write(zone / 'temp', 'warm')
    assert "'warm' is not an integer" in refusal(tmp_path)
    write(zone / 'temp', -256_000)
    assert refusal(tmp_path) == f'{zone / "temp"}: -256 °C cannot be'
    forbid(monkeypatch, 'temp')
    assert 'no permission' in refusal(tmp_path)
