"""A worker is killed in mid-sweep, by the system or by its own task: SIGKILL, nothing softer."""

import importlib.util
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import fault_runs
import pytest
from fault_tools import IMPORTS, calls, is_a_sentence, loose, wait_until
from toy_sweep import go, statuses

from harness import sweep
from harness.results import reason, status

CLUSTER = """
from distributed import LocalCluster
if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        print(cluster.scheduler_address, flush=True)
        input()
"""
DASK = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0", "PYTHONPATH": IMPORTS}


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a Dask cluster whose two workers are processes of their own."""
    process = subprocess.Popen(
        [sys.executable, "-c", CLUSTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, env=os.environ | DASK,
    )  # fmt: skip
    yield process.stdout.readline().strip()
    process.communicate("\n", timeout=60)


@pytest.fixture(params=["loky", "dask"])
def executor(request) -> str:
    if request.param == "loky":
        return "loky:2"
    if importlib.util.find_spec("distributed") is None:
        pytest.skip("Dask is not installed")
    return f"dask:{request.getfixturevalue('cluster')}"


def test_a_worker_that_is_killed_loses_nothing(tmp_path, executor):
    flag, log, folder = tmp_path / "flag", tmp_path / "log", tmp_path / "r"

    def kill() -> None:
        if wait_until(flag.exists, 60):
            os.kill(int(flag.read_text()), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    grid = sweep.grid(a=range(1, 7), log=[list(log.parts)], flag=[list(flag.parts)])
    results = go(fault_runs.waits, grid, folder, executor=executor)
    killer.join()
    assert int(flag.read_text()) != os.getpid()
    assert statuses(results) == ["computed"] * 6 and [r["square"] for r in results][1] == 4
    assert set(calls(log)) == {1, 2, 3, 4, 5, 6} and loose(folder) == []
    log.unlink()
    assert statuses(go(fault_runs.waits, grid, folder)) == ["reused"] * 6 and calls(log) == []


def test_a_task_that_always_kills_its_worker_is_named_and_the_rest_finishes(tmp_path, executor):
    log, folder = tmp_path / "log", tmp_path / "r"
    grid = sweep.grid(a=range(1, 6), log=[list(Path(log).parts)])
    results = go(fault_runs.kills, grid, folder, executor=executor)
    assert statuses(results) == ["computed", "failed", "computed", "computed", "computed"]
    why = reason(results[1])
    assert is_a_sentence(why) and "kills(a=2" in why and "2 attempts" in why
    assert "perhaps for want of memory" in why and f"`{why}`" in status(results)
    log.unlink()
    again = go(fault_runs.kills, grid, folder, executor=executor)
    assert statuses(again) == ["reused", "failed", "reused", "reused", "reused"]
    assert set(calls(log)) == {2} and loose(folder) == []
