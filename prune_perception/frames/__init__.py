# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Where images come from: pixel encodings, and recordings of camera images.

- ``encodings``: the bytes of one image message become a BGR array.
- ``pictures``: what a compressed picture says of itself before it is decoded.
- ``recording``: ``open_recording`` opens a bag, a video file or a folder of pictures.
- ``part``: some frames of a recording, at their places in the whole.
- ``rate``: how fast they follow each other.
- ``storages``, ``bags``, ``videos``, ``folders``: how each kind of recording is read.

Nothing is imported here, so that the onboard node, which needs ``encodings`` alone, loads
neither the bag libraries nor anything else it does not use.
"""
