"""Where and with what a run was made."""

from __future__ import annotations

import contextlib
import importlib.metadata
import inspect
import platform
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

# --- provenance -------------------------------------------------------------------------------


def git_state(function: Callable, sources: Sequence[Path]) -> dict[str, Any]:
    """The commit of the function's sources, and whether they differ from it; None outside git."""
    files = [str(path.resolve()) for path in sources]
    folder = str(Path(inspect.getsourcefile(function)).resolve().parent)

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", folder, *words], capture_output=True, text=True, timeout=20
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    changes = git("status", "--porcelain", "--", *files) if commit else None
    return {"commit": commit, "dirty": None if changes is None else bool(changes)}


def versions() -> dict[str, str]:
    """Version of Python and of each package that results depend on, by name; of those installed."""
    packages = ("torch", "torchvision", "numpy", "scipy", "scikit-learn")
    found = {"python": platform.python_version()}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def processor() -> str:
    """The model name of the CPU."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def peak_memory(gpu: str | None) -> float:
    """MiB: of the GPU during this run, or the most this process has used so far."""
    if gpu is not None:
        return round(torch.cuda.max_memory_allocated(gpu) / 2**20, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB on Linux, bytes on macOS
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
