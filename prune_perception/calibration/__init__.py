# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Figures of this machine: the time of each layer of a network, and a hardware profile fitted to it.

The formulas are derived in ``docs/calibration.md``. Needs ``onnx`` and ``scipy``: offline only.
"""


class CalibrationError(RuntimeError):
    """What could not be measured or fitted; one line that says why and what to do."""
