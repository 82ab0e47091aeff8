# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The command ``prune-perception``: one file a verb."""
