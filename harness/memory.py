"""Memory that a process keeps between the steps of a training.

The allocator of glibc hands a large block back to the system when a tensor goes, and asks for it
again at the next step, page by page. With these settings it keeps them: the same numbers, less time
in the kernel (`benchmarks/memory.py`). They are read when a process starts, so they belong into the
environment of what is started; other C libraries ignore them.
"""

import os
from collections.abc import Mapping

KEPT_MEMORY: Mapping[str, str] = {
    "MALLOC_MMAP_THRESHOLD_": str(2**30),  # bytes; larger blocks still come from the system
    "MALLOC_TRIM_THRESHOLD_": str(2**33),  # bytes of free memory, above which some is returned
}


def with_kept_memory(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """An environment with these settings, unless it has its own."""
    return {**KEPT_MEMORY, **environment}
