# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""What the tests share."""

from collections.abc import Generator
import os
from pathlib import Path

import pytest

# ONNX Runtime reads this once, when it is imported first, which a test may do before the engine.
os.environ['ORT_DISABLE_TELEMETRY'] = '1'

# Test processes beside each other have a core each: torch's threads, which spin while they wait
# for one that has lost its core, would make them many times slower.
if 'PYTEST_XDIST_WORKER' in os.environ:
    os.environ['OMP_NUM_THREADS'] = '1'

DATA_VARIABLE = 'PRUNE_PERCEPTION_DATA'


@pytest.fixture(scope='session')
def data() -> Path:
    """Return the folder of the data beside the project, or skip where it is not given."""
    name = os.environ.get(DATA_VARIABLE)
    if not name:
        pytest.skip(f'needs the data that {DATA_VARIABLE} names')
    folder = Path(name)
    if not folder.is_dir():
        pytest.fail(f'{DATA_VARIABLE}={name} is not a folder')
    return folder.resolve()


def _forbid_skipping(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Fail a skip for want of the data where the data is promised: a typo must not hide a test."""
    if report.skipped and os.environ.get(DATA_VARIABLE) and DATA_VARIABLE in str(report.longrepr):
        report.outcome = 'failed'
        report.longrepr = f'{report.nodeid}: skipped although {DATA_VARIABLE} is set: ' \
                          f'{report.longrepr}'


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Apply the rule on skipping to tests."""
    report = yield
    _forbid_skipping(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[
        None, pytest.CollectReport, pytest.CollectReport]:
    """Apply the rule on skipping to modules that skip as a whole."""
    report = yield
    _forbid_skipping(report)
    return report
