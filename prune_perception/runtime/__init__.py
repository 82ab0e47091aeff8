# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""From an image to detections on the robot: preprocess, run an engine, decode, suppress."""
