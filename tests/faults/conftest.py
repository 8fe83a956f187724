"""Books and runs to be spoilt, and the certainty that no process outlives its test."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / name) for name in ("tools", "harness")]

from tiny_book import is_alive

from harness.stamp import watch

watch("fault_runs")


@pytest.fixture
def ended_at_last() -> Iterator[list[int]]:
    """Process ids that a test puts here are dead when it is over, whatever it found."""
    pids: list[int] = []
    yield pids
    for pid in filter(is_alive, pids):
        os.kill(pid, 9)


@pytest.fixture(scope="session")
def small_disks(tmp_path_factory) -> None:
    """Skips where a process cannot have a file system of its own."""
    from fault_tools import on_small_disk

    if shutil.which("unshare") is None:
        pytest.skip("there is no `unshare` here, with which a process mounts a small disk")
    done = on_small_disk(tmp_path_factory.mktemp("disk"), "4k", ["true"])
    if done.returncode:
        pytest.skip(f"this system lets no process mount a small disk: {done.stderr.strip()}")
