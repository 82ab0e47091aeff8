# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The two ways in which images fail to arrive: one image is bad, or the recording is."""


class ImageError(ValueError):
    """One image cannot be decoded; the next one may well be good."""


class RecordingError(ValueError):
    """A recording cannot be opened, or cannot be read any further."""
