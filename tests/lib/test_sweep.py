import concurrent.futures
import importlib
import importlib.util
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from lib import sweep, verify

RUNS = '''
import os, pathlib, time, uuid
import numpy as np, torch

def square(a, seed=0, log=None):
    """Scalars and an array; notes each call in a file."""
    if log:
        with open(log, "a") as file:
            file.write(f"{a}\\n")
    return {"square": a * a, "x": torch.full((2, 2), float(a)), "seconds": time.time()}

def explode(a):
    if a == 2:
        raise ZeroDivisionError("two is too much")
    return {"a": a}

def die(a, flag, log):
    """Kills its process for a = 2, the first time."""
    with open(log, "a") as file:
        file.write(f"{a}\\n")
    if a == 2 and not os.path.exists(flag):
        pathlib.Path(flag).touch()
        os._exit(1)
    return {"a": a, "pid": os.getpid()}

def slow(a, flag):
    if a == 2:
        pathlib.Path(flag).write_text(str(os.getpid()))
        time.sleep(60)
    return {"a": a}

def interrupted(a):
    if a == 2:
        raise KeyboardInterrupt
    return {"a": a}

def where(a, device="cpu"):
    return {"device_seen": device, "torch_threads": torch.get_num_threads()}

def big(a):
    return {"x": np.random.RandomState(a).rand(40_000)}

def not_a_dict(a):
    return a

def changing(a):
    return {"value": uuid.uuid4().hex}
'''


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """An importable module of runs, as experiments/ holds them."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "toy_runs.py").write_text(RUNS)
    sys.path.insert(0, str(folder))
    yield importlib.import_module("toy_runs")
    sys.path.remove(str(folder))
    del sys.modules["toy_runs"]


def go(function, parameters, folder, **options):
    return sweep.sweep(function, parameters, folder=folder, progress=False, **options)


def statuses(results):
    return [result.status for result in results]


# --- the ordinary course


def test_grid_is_the_product_and_single_values_stay_single():
    assert sweep.grid(a=[1, 2], b=range(2), c="mlp") == [
        {"a": a, "b": b, "c": "mlp"} for a in (1, 2) for b in (0, 1)
    ]
    assert sweep.grid() == [{}] and sweep.grid(a=None) == [{"a": None}]
    assert sweep.grid(a={"b": 1, "c": 2}) == [{"a": {"b": 1, "c": 2}}]


def test_what_exists_is_not_computed_again(runs, tmp_path):
    log = str(tmp_path / "log")
    grid = sweep.grid(a=[1, 2], log=log)
    first = go(runs.square, grid, tmp_path / "r")
    again = go(runs.square, sweep.grid(a=[3, 1, 2, 1], log=log), tmp_path / "r")
    assert statuses(first) == ["computed"] * 2
    assert statuses(again) == ["computed", "reused", "reused", "reused"]
    assert [r["square"] for r in again] == [9, 1, 4, 1] and (again[2]["x"] == 2).all()
    assert Path(log).read_text().split() == ["1", "2", "3"]
    assert list(sweep.frame(again)["square"]) == [9, 1, 4, 1]


def test_what_is_computed_can_depend_on_the_run(runs, tmp_path):
    results = go(
        runs.square, sweep.grid(a=[1, 2]), tmp_path / "r", compute=lambda run: run["a"] == 2
    )
    assert statuses(results) == ["missing", "computed"]


def test_reading_only(runs, tmp_path):
    go(runs.square, [{"a": 1}], tmp_path / "r")
    results = go(runs.square, sweep.grid(a=[1, 2]), tmp_path / "r", compute=False)
    assert statuses(results) == ["reused", "missing"]
    assert statuses(go(runs.square, [{"a": 1}], tmp_path / "no", compute=False)) == ["missing"]
    assert not (tmp_path / "no").exists()
    with pytest.raises(RuntimeError, match=r"square\(a=2\): missing"):
        sweep.require(results)


def test_provenance_says_how_a_result_came_about(runs, tmp_path):
    [result] = go(runs.square, [{"a": 1, "seed": 7}], tmp_path / "r", threads=2)
    p = result.provenance
    assert p["threads"] == 2 and p["seed"] == 7 and p["device_type"] == "cpu" and p["device"]
    assert p["versions"]["torch"] and p["seconds"] >= 0 and p["peak_memory_mib"] > 10
    assert len(p["fingerprint"]) == 16 and p["sources"].keys() == {"toy_runs"}
    assert p["commit"] is None and p["finished"].endswith("+00:00")


def test_commit_and_dirty_sources_are_noted(runs, tmp_path):
    def git(*words):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", "-C", folder, *identity, *words], check=True, capture_output=True)

    source = Path(runs.__file__)
    folder = str(source.parent)
    git("init")
    try:
        git("add", "toy_runs.py")
        git("commit", "-m", "runs")
        (source.parent / "unrelated").touch()
        state = sweep._git_state(runs.square)
        assert len(state["commit"]) == 40 and state["dirty"] is False
        source.write_text(RUNS + "\n# more")
        assert sweep._git_state(runs.square)["dirty"] is True
    finally:
        source.write_text(RUNS)
        subprocess.run(["rm", "-rf", f"{folder}/.git"], check=True)


def test_the_device_is_passed_on_but_names_no_result(runs, tmp_path):
    before = torch.get_num_threads()
    [one] = go(runs.where, [{"a": 1, "device": "cpu"}], tmp_path / "r", threads=1)
    [two] = go(runs.where, [{"a": 1}], tmp_path / "r")
    assert one["device_seen"] == "cpu" and two.status == "reused"
    assert "device" not in one.parameters
    assert one["torch_threads"] == 1 and torch.get_num_threads() == before


def test_a_gpu_is_named_in_the_provenance(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A GPU")
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 5 * 2**20)
    [result] = go(runs.where, [{"a": 1, "device": "cuda:0"}], tmp_path / "r")
    p = result.provenance
    assert (p["device"], p["device_type"], p["peak_memory_mib"]) == ("A GPU", "cuda", 5.0)
    assert result["device_seen"] == "cuda:0"


# --- bad input


def test_functions_that_workers_cannot_import_are_refused(tmp_path):
    def inner(a):
        return {}

    for function in (inner, lambda a: {}, "text"):
        with pytest.raises(ValueError, match="top level of a module"):
            go(function, [{"a": 1}], tmp_path)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"b": 1}, "does not fit its function"),
        ({"a": {1, 2}}, "a of square.* is a set"),
        ({"a": float("nan")}, "survive JSON"),
        ({"a": torch.ones(1)}, "is a Tensor"),
    ],
)
def test_parameters_that_do_not_fit_are_refused_before_anything_runs(
    runs, tmp_path, parameters, words
):
    with pytest.raises(ValueError, match=words):
        go(runs.square, [{"a": 1}, parameters], tmp_path / "r")
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("spec", ["", "loky", "loky:0", "loky:x", "dask:", "serial:2", "gpu"])
def test_unknown_executors_are_refused(spec):
    with pytest.raises(ValueError, match="use 'serial', 'loky:2'"):
        sweep.make_executor(spec)


@pytest.mark.skipif(importlib.util.find_spec("distributed") is not None, reason="Dask is installed")
def test_dask_says_when_it_is_not_installed():
    with pytest.raises(ImportError, match=r"dask\[distributed\]"):
        sweep.make_executor("dask:tcp://localhost:8786")


def test_dask_runs_a_sweep(runs, tmp_path):
    distributed = pytest.importorskip("distributed", reason="Dask is not installed")
    with distributed.Client(processes=False, n_workers=2, threads_per_worker=1) as client:
        results = go(runs.square, sweep.grid(a=[1, 2, 3]), tmp_path, executor=client.get_executor())
    assert [r["square"] for r in results] == [1, 4, 9]


# --- failures


def test_a_failed_run_is_reported_and_loses_no_other(runs, tmp_path):
    results = go(runs.explode, sweep.grid(a=[1, 2, 3]), tmp_path / "r")
    assert statuses(results) == ["computed", "failed", "computed"]
    assert "ZeroDivisionError: two is too much" in results[1].error
    with pytest.raises(RuntimeError, match=r"(?s)1 of 3.*explode\(a=2\): failed.*ZeroDivision"):
        sweep.require(results)
    assert statuses(go(runs.explode, [{"a": 2}], tmp_path / "r")) == ["failed"]
    [odd] = go(runs.not_a_dict, [{"a": 1}], tmp_path / "r")
    assert odd.status == "failed" and "returned a int" in odd.error


@pytest.mark.parametrize("victim", ["json", "npz"])
def test_damage_is_reported_and_repaired(runs, tmp_path, victim):
    [result] = go(runs.square, [{"a": 1}], tmp_path / "r")
    path = result.path.with_suffix(f".{victim}")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.warns(RuntimeWarning, match=re.escape(path.name)):
        [read] = go(runs.square, [{"a": 1}], tmp_path / "r", compute=False)
    assert read.status == "missing" and path.name in read.notes[0]
    with pytest.warns(RuntimeWarning):
        [again] = go(runs.square, [{"a": 1}], tmp_path / "r")
    assert again.status == "computed" and path.name in again.notes[0] and (again["x"] == 1).all()
    assert statuses(go(runs.square, [{"a": 1}], tmp_path / "r")) == ["reused"]


def test_an_edited_number_is_never_shown(runs, tmp_path):
    [result] = go(runs.square, [{"a": 3}], tmp_path / "r")
    result.path.write_text(result.path.read_text().replace('"square": 9', '"square": 10'))
    with pytest.warns(RuntimeWarning, match="changed after"):
        [again] = go(runs.square, [{"a": 3}], tmp_path / "r")
    assert again["square"] == 9


def test_a_result_older_than_the_code_is_stale(runs, tmp_path):
    go(runs.square, [{"a": 3}], tmp_path / "r")
    source = Path(runs.__file__)
    try:
        source.write_text(RUNS + "\n# only a comment\n\nNEW = 1\n")
        assert statuses(go(runs.square, [{"a": 3}], tmp_path / "r")) == ["reused"]
        source.write_text(RUNS.replace("a * a", "a**2"))
        [old] = go(runs.square, [{"a": 3}], tmp_path / "r", compute=False)
        assert old.status == "stale" and old["square"] == 9 and "toy_runs changed" in old.notes[0]
        assert list(sweep.frame([old])["status"]) == ["stale"]
        assert statuses(go(runs.square, [{"a": 3}], tmp_path / "r")) == ["computed"]
        assert statuses(go(runs.square, [{"a": 3}], tmp_path / "r")) == ["reused"]
    finally:
        source.write_text(RUNS)


def test_a_folder_that_cannot_be_written_is_noticed_before_anything_runs(runs, tmp_path):
    (tmp_path / "file").touch()
    log = str(tmp_path / "log")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match="cannot be written.*nothing was computed"):
            go(runs.square, [{"a": 1, "log": log}], folder)
        assert statuses(go(runs.square, [{"a": 1}], folder, compute=False)) == ["missing"]
    assert not Path(log).exists()


def test_on_a_full_disk_the_values_survive_in_memory(runs, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.warns(RuntimeWarning, match=r"big\(a=1\) could not be saved.*in memory"):
            [result] = go(runs.big, [{"a": 1}], tmp_path / "r")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert result.status == "computed" and result["x"].shape == (40_000,)
    assert [p for p in (tmp_path / "r").rglob("*") if p.is_file()] == []
    assert statuses(go(runs.big, [{"a": 1}], tmp_path / "r")) == ["computed"]


def test_retries_are_counted_exactly_without_a_pool(runs, tmp_path):
    """An executor that always loses its worker."""

    class Lost(sweep.SerialExecutor):
        calls = 0

        def submit(self, *args, **kwargs):
            Lost.calls += 1
            future = concurrent.futures.Future()
            future.set_exception(concurrent.futures.BrokenExecutor("gone"))
            return future

    [result] = go(runs.square, [{"a": 1}], tmp_path / "r", executor=Lost(), retries=2)
    assert Lost.calls == 3
    assert result.status == "failed" and "3 attempts" in result.error and "gone" in result.error


class Losing(sweep.SerialExecutor):
    """Computes each run, does `after(path)`, and loses the answer the first `times` times."""

    def __init__(self, times, after=lambda path: None):
        self.times, self.after = times, after

    def submit(self, function, call, *rest):
        future = super().submit(function, call, *rest)
        self.after(call.path)
        self.times -= 1
        if self.times >= 0:
            future = concurrent.futures.Future()
            future.set_exception(concurrent.futures.BrokenExecutor("gone"))
        return future


def test_a_run_that_was_finished_before_its_worker_died_is_not_repeated(runs, tmp_path):
    log = tmp_path / "log"
    [result] = go(
        runs.square, [{"a": 2, "log": str(log)}], tmp_path / "r", executor=Losing(1), retries=1
    )
    assert result.status == "computed" and result["square"] == 4
    assert log.read_text().split() == ["2"]


def test_a_result_file_that_cannot_be_seen_from_here_is_a_failure(runs, tmp_path):
    blind = Losing(0, after=lambda path: path.unlink())
    [result] = go(runs.square, [{"a": 2}], tmp_path / "r", executor=blind)
    assert result.status == "failed" and "a folder that all machines share" in result.error


def test_a_killed_worker_loses_nothing(runs, tmp_path):
    """Neither the run that it had, nor its neighbours, nor those still waiting."""
    flag, log = str(tmp_path / "flag"), str(tmp_path / "log")
    grid = sweep.grid(a=range(6), flag=flag, log=log)
    results = go(runs.die, grid, tmp_path / "r", executor="loky:2")
    assert statuses(results) == ["computed"] * 6 and results[5]["pid"] != os.getpid()
    calls = Path(log).read_text().split()
    assert calls.count("2") == 2 and max(map(calls.count, calls)) == 2
    assert statuses(go(runs.die, grid, tmp_path / "r")) == ["reused"] * 6


def test_an_interrupt_in_this_process_keeps_what_is_finished(runs, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        go(runs.interrupted, sweep.grid(a=[1, 2, 3]), tmp_path / "r")
    found = go(runs.interrupted, sweep.grid(a=[1, 2, 3]), tmp_path / "r", compute=False)
    assert statuses(found) == ["reused", "missing", "missing"]


SCRIPT = """
import sys
sys.path.insert(0, {runs!r})
import toy_runs
from lib import sweep
grid = sweep.grid(a=[1, 2, 3], flag={flag!r})
sweep.sweep(toy_runs.slow, grid, folder={folder!r}, executor="loky:1", progress=False)
"""


def test_an_interrupt_keeps_what_is_finished_and_ends_the_workers(runs, tmp_path):
    flag = tmp_path / "flag"
    script = SCRIPT.format(
        runs=str(Path(runs.__file__).parent), flag=str(flag), folder=str(tmp_path / "r"),
    )  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-c", script], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        for _ in range(600):
            if flag.exists() and flag.read_text():
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=30)[1]
        assert process.returncode != 0 and "KeyboardInterrupt" in errors
        worker = int(flag.read_text())
        for _ in range(50):
            if not psutil.pid_exists(worker):
                break
            time.sleep(0.1)
        assert not psutil.pid_exists(worker)
    finally:
        if process.poll() is None:
            process.kill()
    found = go(runs.slow, sweep.grid(a=[1, 2, 3], flag=str(flag)), tmp_path / "r", compute=False)
    assert statuses(found) == ["reused", "missing", "missing"]
    assert not list((tmp_path / "r").rglob("*.tmp"))


# --- progress


def test_progress_stays_out_of_the_page(runs, tmp_path, monkeypatch, capfd):
    grid = sweep.grid(a=[1, 2])
    monkeypatch.setenv("BOOK_TERMINAL", "")
    sweep.sweep(runs.square, grid, folder=tmp_path / "silent")
    monkeypatch.setenv("BOOK_TERMINAL", str(tmp_path / "terminal"))
    sweep.sweep(runs.square, grid, folder=tmp_path / "elsewhere")
    monkeypatch.setenv("BOOK_TERMINAL", str(tmp_path / "no" / "such" / "terminal"))
    sweep.sweep(runs.square, grid, folder=tmp_path / "nowhere")
    assert capfd.readouterr() == ("", "")
    assert "2/2" in (tmp_path / "terminal").read_text()
    monkeypatch.delenv("BOOK_TERMINAL")
    sweep.sweep(runs.square, grid, folder=tmp_path / "live")
    assert "2/2" in capfd.readouterr().err
    sweep.sweep(runs.square, grid, folder=tmp_path / "live")
    assert capfd.readouterr() == ("", "")


# --- verify


def test_verify_tells_agreement_from_disagreement(runs, tmp_path, capsys):
    go(runs.square, sweep.grid(a=[1, 2, 3]), tmp_path / "r")
    checks = verify.verify(tmp_path / "r", 2, seed=1)
    assert [check.outcome for check in checks] == ["agrees"] * 2
    assert [c.run for c in checks] == [c.run for c in verify.verify(tmp_path / "r", 2, seed=1)]
    assert verify.main(["verify", str(tmp_path / "r"), "--sample", "9"]) == 0
    assert "3 of 3 runs agree" in capsys.readouterr().out
    go(runs.changing, [{"a": 1}], tmp_path / "r")
    assert verify.main(["verify", str(tmp_path / "r"), "--sample", "9"]) == 1
    out = capsys.readouterr().out
    assert "differs" in out and "value:" in out and "3 of 4" in out


def test_verify_reports_damage_and_what_cannot_be_computed(runs, tmp_path):
    [good, gone] = go(runs.square, sweep.grid(a=[1, 2]), tmp_path / "r")
    good.path.write_text(good.path.read_text()[:-30])
    (tmp_path / "r" / "claims").mkdir()
    (tmp_path / "r" / "claims" / "S01.json").write_text("{}")
    checks = verify.verify(tmp_path / "r", 5)
    assert sorted(check.outcome for check in checks) == ["agrees", "damaged"]
    moved = json.loads(json.dumps(dict(gone.provenance)))
    result = sweep.Result("toy_runs.vanished", {}, "reused", provenance=moved)
    check = verify.recompute(result, 0.01)
    assert check.outcome == "failed" and "vanished" in check.details[0]


def test_verify_of_nothing_is_no_success(tmp_path, capsys):
    assert verify.main(["verify", str(tmp_path)]) == 1
    assert "holds no result" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (1.0, 1.005, True),
        (1.0, 1.02, False),
        (float("nan"), float("nan"), True),
        (float("nan"), 1.0, False),
        (True, False, False),
        ("x", "y", False),
        (None, 0.0, False),
        ([1.0, 0.0], [1.0, 0.005], True),
        ([1.0, 2.0], [1.0], False),
        ([[1.0], [1.0, 2.0]], [[1.0], [1.0, 2.0]], True),
        (["a", 1.0], ["a", 1.5], False),
        ({"k": 1.0}, {"k": 1.001}, True),
        (np.array([True, False]), np.array([True, True]), False),
        (np.array([True, False]), np.array([True, False]), True),
        (np.array([1.0, np.nan]), np.array([1.0, np.nan]), True),
        (np.zeros((2, 1)), np.zeros((1, 2)), False),
    ],
)
def test_agreement_within_tolerance(a, b, same):
    assert verify.close(a, b, 0.01) is same


def test_no_warning_in_the_ordinary_course(runs, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        go(runs.square, [{"a": 1}], tmp_path / "r")
        go(runs.square, [{"a": 1}], tmp_path / "r")
