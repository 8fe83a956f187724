"""A worker is killed in mid-sweep, by the system or by its own task: SIGKILL, nothing softer."""

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

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


@pytest.fixture
def cluster() -> Iterator[str]:
    """The address of a Dask cluster whose two workers are processes of their own."""
    own = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0", "PYTHONPATH": IMPORTS}
    process = subprocess.Popen(
        [sys.executable, "-c", CLUSTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, env=os.environ | own,
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


def test_killed_workers_lose_nothing_and_a_task_that_kills_its_own_is_named(tmp_path, executor):
    """Run 2 has its worker killed once, from outside; run 4 kills its own whenever it is tried."""
    flag, log, folder = tmp_path / "flag.2", tmp_path / "log", tmp_path / "r"

    def kill() -> None:
        if wait_until(flag.exists, 60):
            with contextlib.suppress(ProcessLookupError):  # the other fault can be faster
                os.kill(int(flag.read_text()), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    given = {"log": [list(log.parts)], "flag": [list(flag.parts)], "at": [[2]], "fatal": 4}
    grid = sweep.grid(a=[1, 2, 3, 4, 5], **given)
    results = go(fault_runs.waits, grid, folder, executor=executor)
    killer.join()
    assert int(flag.read_text()) != os.getpid()
    wanted = ["computed", "computed", "computed", "failed", "computed"]
    assert statuses(results) == wanted, [result.error for result in results]
    why = reason(results[3])
    assert is_a_sentence(why) and "waits(a=4" in why and "2 attempts" in why
    assert "perhaps for want of memory" in why and f"1 with `{why}`" in status(results)
    assert loose(folder) == [] and [r["square"] for r in results if r.arrays] == [1, 4, 9, 25]
    log.unlink()
    found = go(fault_runs.waits, [r for r in grid if r["a"] != 4], folder)
    assert statuses(found) == ["reused"] * 4 and calls(log) == []
