# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""All that touches rclpy: nodes, message conversion, health."""
