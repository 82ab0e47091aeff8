# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Memory that was needed once and is not any more."""

import ctypes
import gc


def release_unused_memory() -> None:
    """
    Give memory that was freed back to the operating system, garbage in cycles included.

    Loading a network takes copies of its weights that are dropped again, and the C library keeps
    their pages for itself: 15 MB for NanoDet-g, which a small board has better uses for. Where
    the C library is not glibc nothing happens.
    """
    gc.collect()
    release_freed_memory()


def release_freed_memory() -> None:
    """
    Do so without looking for garbage, for which all other threads of Python would have to wait.

    In a node that is 20 ms of a processor, and on a busy one many times that.
    """
    trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)
    if trim is not None:
        trim(0)
