# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Removes shared memory that processes of Fast DDS left when they were killed.

A participant has a segment in memory for what it sends, 35 MB with the profile of this package.
One that ends in order removes it; of one that does not, as of a node that is killed or leaves with
a hung engine, it stays until the machine starts again, unless another participant has it open. A
node that is started again and again would fill the memory.
"""

import fcntl
import os
from pathlib import Path
import re
import time

# Fast DDS 3 and 2. Ports, which are small and used again by the next participant, are left alone.
_LOCK = re.compile(r'(fastdds|fastrtps)_[0-9a-f]{16}_el')

# A lock that is being made lies there unlocked for some microseconds.
_SECONDS_TO_LOCK = 5.0


def remove_orphans(folder: Path = Path('/dev/shm')) -> int:
    """
    Remove this user's segments whose owner lives no more, and return how many bytes that were.

    The owner of a segment holds an exclusive lock on a file beside it, which the kernel lets go
    of when the process ends, however it does. ``fastdds shm clean`` goes by it, too. A process
    that has such a segment open keeps what it sees.
    """
    freed = 0
    for lock in folder.glob('fast*_el'):
        if not _LOCK.fullmatch(lock.name):
            continue
        try:
            with lock.open('rb') as file:
                status = os.fstat(file.fileno())
                if (status.st_uid != os.getuid()
                        or not time.time() - status.st_mtime > _SECONDS_TO_LOCK):
                    continue
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                segment = lock.with_name(lock.name.removesuffix('_el'))
                size = segment.stat().st_blocks * 512 if segment.exists() else 0
                segment.unlink(missing_ok=True)
                lock.unlink(missing_ok=True)
                freed += size
        except OSError:
            continue  # it is in use, or somebody else has just removed it
    return freed
