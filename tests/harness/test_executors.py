"""Executors: names, workers that run other code, clusters that are lost."""

import importlib
import importlib.util
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from toy_sweep import RUNS, go, statuses

from harness import executors, sweep
from harness.stamp import watch


@pytest.mark.parametrize("spec", ["", "loky", "loky:0", "loky:x", "dask:", "serial:2", "gpu"])
def test_unknown_executors_are_refused(spec):
    with pytest.raises(ValueError, match="use 'serial', 'loky:2'"):
        executors.make_executor(spec)


@pytest.mark.skipif(importlib.util.find_spec("distributed") is not None, reason="Dask is installed")
def test_dask_says_when_it_is_not_installed():
    with pytest.raises(ImportError, match=r"dask\[distributed\]"):
        executors.make_executor("dask:tcp://localhost:8786")


# --- workers that outlive the code


def refused(results):
    return all(r.status == "failed" and "UnknownCode: " in r.error for r in results)


@pytest.mark.parametrize("recorded", [True, False])
def test_a_worker_process_with_older_code_refuses(runs, tmp_path, edited, recorded):
    """Otherwise its result would be stored as the work of the new code."""
    with executors.pool_of("loky:1") as pool:
        if recorded:
            pool.submit(sweep.run_in_threads, 1, watch, package="toy_runs").result()
        assert go(runs.square, [{"a": 3}], tmp_path / "r", executor=pool)[0]["square"] == 9
        new = edited("a * a", "-a")
        results = go(new.square, sweep.grid(a=[3, 4]), tmp_path / "r", executor=pool)
        assert refused(results) and "anew" in results[0].error
        assert ("runs other code" in results[0].error) == recorded
        assert statuses(go(new.square, sweep.grid(a=[3, 4]), tmp_path / "r", compute=False)) == [
            "stale", "missing",
        ]  # fmt: skip
        pool.shutdown(cancel_futures=True)
    assert [r["square"] for r in go(new.square, sweep.grid(a=[3, 4]), tmp_path / "r")] == [-3, -4]


def test_this_process_stamps_the_code_that_it_runs(runs, tmp_path, edited):
    source = Path(runs.__file__)
    source.write_text(RUNS.replace("a * a", "-a"))
    assert go(runs.square, [{"a": 3}], tmp_path / "r")[0]["square"] == 9
    new = edited("a * a", "-a")
    [old] = go(new.square, [{"a": 3}], tmp_path / "r", compute=False)
    assert old.status == "stale"
    assert go(new.square, [{"a": 3}], tmp_path / "r")[0]["square"] == -3


def test_a_file_that_changes_before_it_is_first_loaded_is_noticed(runs, tmp_path, edited):
    """The code that a run imports late is not the code that was stamped."""
    helper = tmp_path / "code" / "toy_late"
    helper.mkdir(parents=True)
    (helper / "__init__.py").write_text("")
    (helper / "runs.py").write_text(
        "from pathlib import Path\n"
        "def late(a):\n"
        "    Path(__file__).with_name('below.py').write_text('VALUE = 2')\n"
        "    from toy_late import below\n"
        "    return {'value': below.VALUE}\n"
    )
    (helper / "below.py").write_text("VALUE = 1")
    watch("toy_late")
    sys.path.insert(0, str(helper.parent))
    try:
        late = importlib.import_module("toy_late.runs").late
        assert refused(go(late, [{"a": 1}], tmp_path / "r"))
    finally:
        sys.path.remove(str(helper.parent))
        for name in [name for name in sys.modules if name.startswith("toy_late")]:
            del sys.modules[name]


# --- Dask

needs_dask = pytest.mark.skipif(
    importlib.util.find_spec("distributed") is None, reason="Dask is not installed"
)


@pytest.fixture
def cluster(runs):
    """The address of a scheduler with one worker, in processes of their own, and the scheduler."""
    code = (
        "from distributed import LocalCluster\n"
        "if __name__ == '__main__':\n"
        "    cluster = LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None,\n"
        "                           processes=False, protocol='tcp://', host='127.0.0.1')\n"
        "    print(cluster.scheduler_address, flush=True)\n"
        "    input()\n"
    )
    folder = str(Path(runs.__file__).parent)
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([folder, *sys.path])},
    )  # fmt: skip
    yield process.stdout.readline().strip(), process
    process.kill()
    process.communicate()


def clients():
    from distributed import Client
    from distributed.client import _global_clients

    return [c for c in Client._instances if c.status != "closed"] + list(_global_clients.values())


@needs_dask
def test_dask_runs_a_sweep_and_its_client_is_closed(runs, tmp_path, cluster):
    address, _ = cluster
    grid = sweep.grid(a=[1, 2, 3])
    results = go(runs.square, grid, tmp_path / "r", executor=f"dask:{address}")
    assert [r["square"] for r in results] == [1, 4, 9] and clients() == []
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        again = go(runs.square, [{"a": 4}], tmp_path / "r", executor=client.get_executor())
        assert again[0]["square"] == 16 and client.status == "running"


@needs_dask
def test_a_dask_worker_with_older_code_refuses(runs, tmp_path, cluster, edited):
    spec = f"dask:{cluster[0]}"
    assert go(runs.square, [{"a": 3}], tmp_path / "r", executor=spec)[0]["square"] == 9
    new = edited("a * a", "-a")
    assert refused(go(new.square, [{"a": 3}], tmp_path / "r", executor=spec))


@needs_dask
@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "no address"])
def test_a_scheduler_that_is_not_there_is_named(runs, tmp_path, address, monkeypatch):
    monkeypatch.setattr(executors, "ANSWER_SECONDS", 1)
    with pytest.raises(ConnectionError, match=f"No Dask scheduler answers at {address}"):
        go(runs.square, [{"a": 1}], tmp_path / "r", executor=f"dask:{address}")
    assert clients() == []


@needs_dask
@pytest.mark.parametrize("own", [True, False])
def test_a_scheduler_that_dies_in_mid_run_ends_the_sweep(
    runs, tmp_path, cluster, own, monkeypatch
):
    monkeypatch.setattr(executors, "ANSWER_SECONDS", 2)
    address, process = cluster
    flag = tmp_path / "flag"

    def kill():
        while not (flag.exists() and flag.read_text()):
            time.sleep(0.05)
        process.kill()

    threading.Thread(target=kill, daemon=True).start()
    grid = [{"a": a, "flag": list(flag.parts)} for a in (1, 2, 3)]
    spec, client = f"dask:{address}", None
    if own:
        from distributed import Client

        client = Client(address, timeout=2, set_as_default=False)
        spec = client.get_executor()
    start = time.monotonic()
    with pytest.raises(ConnectionError, match=re.escape(f"{address} was lost")):
        go(runs.slow, grid, tmp_path / "r", executor=spec)
    assert time.monotonic() - start < 20
    if client is not None:
        client.close(timeout=2)
    assert clients() == []
    assert go(runs.slow, grid, tmp_path / "r", compute=False)[0].status == "reused"
