"""What this machine has: cores and memory."""

from __future__ import annotations

import mmap
import os
import resource
import sys
from pathlib import Path


def default_threads() -> int:
    """CPU cores that this process may use: a container's quota and OMP_NUM_THREADS count."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.exists():
        limit, _, period = quota.read_text().strip().partition(" ")
        if limit != "max":
            cores = min(cores, max(1, round(int(limit) / int(period))))
    told = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, int(told)) if told.isdecimal() and int(told) else cores


def peak_memory() -> int:
    """Most memory that this process has held so far, in bytes: on the GPU if it used one."""
    import torch  # here, since what needs no torch asks for the threads too

    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


WORKING = 2**29  # bytes that training needs beside the model and the texts


def texts_budget(memory: int | None) -> int | None:
    """Bytes of `memory`, the most that the process shall hold, that are left for texts."""
    if memory is None:
        return None
    return max(0, memory - resident() - WORKING)


def machine_memory() -> int:
    """Bytes of memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def resident() -> int:
    """Bytes of memory that this process holds now; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as stream:
            return int(stream.read().split()[1]) * mmap.PAGESIZE
    except OSError:
        return 0
