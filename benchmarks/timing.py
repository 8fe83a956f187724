"""Medians of alternating runs in one process, and what they were measured on.

Shared by the benchmarks; running it as a script does nothing.
"""

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

PACKAGES = ("torch", "numpy", "scipy", "scikit-learn")


@dataclass(frozen=True)
class Timing:
    """Seconds of one candidate over all rounds."""

    median: float
    low: float  # 10 % quantile
    high: float  # 90 % quantile
    rounds: int


def cpu_model() -> str:
    """The processor's name as the system gives it."""
    info = Path("/proc/cpuinfo")
    names = [
        line.partition(":")[2].strip()
        for line in (info.read_text().splitlines() if info.is_file() else [])
        if line.startswith("model name")
    ]
    return names[0] if names else platform.processor() or platform.machine()


def environment() -> str:
    """Versions, processor, threads and how busy the machine is, one line each."""
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"Python {platform.python_version()}, {packages}\n"
        f"{cpu_model()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads used, "
        f"load {load} before the run"
    )


MOST, LEAST = 15, 3  # rounds


def alternating(
    name: str, candidates: dict[str, Callable[[], object]], *, seconds: float
) -> dict[str, Timing]:
    """Time every candidate once per round, so that a slow phase of the machine meets all.

    One round is not counted; then there are rounds for so many seconds, at least 3 and at most 15.
    With 0 seconds there is one round, and it counts. What is measured is said before.
    """
    print(f"measuring {name}: {', '.join(candidates)}", flush=True)
    for run in candidates.values() if seconds else ():
        run()
    times = {candidate: [] for candidate in candidates}
    began, done = time.perf_counter(), 0
    while done < (LEAST if seconds else 1) or (
        done < MOST and time.perf_counter() - began < seconds
    ):
        for candidate, run in candidates.items():
            start = time.perf_counter()
            run()
            times[candidate].append(time.perf_counter() - start)
        done += 1
    return {key: Timing(*np.quantile(t, [0.5, 0.1, 0.9]), done) for key, t in times.items()}


def table(header: list[str], rows: list[list[str]]) -> str:
    """Columns aligned by spaces: the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in [header, *rows]
    )
