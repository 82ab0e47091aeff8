# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Prune a detector for a robot's camera, and run it in ROS 2 with its energy told."""

__version__ = '0.1.0'
