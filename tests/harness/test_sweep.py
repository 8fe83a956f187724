"""Sweeps: what is computed, kept, refused and repaired."""

import concurrent.futures
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import psutil
import pytest
import torch
from toy_sweep import RUNS, go, statuses

from harness import contents, stamp, sweep
from harness.executors import SerialExecutor
from harness.provenance import git_state
from harness.results import frame, status

# --- the ordinary course


def test_grid_is_the_product_and_single_values_stay_single():
    assert sweep.grid(a=[1, 2], b=range(2), c="mlp") == [
        {"a": a, "b": b, "c": "mlp"} for a in (1, 2) for b in (0, 1)
    ]
    assert sweep.grid() == [{}] and sweep.grid(a=None) == [{"a": None}]
    assert sweep.grid(a={"b": 1, "c": 2}) == [{"a": {"b": 1, "c": 2}}]


def test_what_exists_is_not_computed_again(runs, tmp_path):
    log = tmp_path / "log"
    grid = [{"a": a, "log": list(log.parts)} for a in (1, 2)]
    first = go(runs.square, grid, tmp_path / "r")
    again = go(runs.square, [{**grid[0], "a": a} for a in (3, 1, 2, 1)], tmp_path / "r")
    assert statuses(first) == ["computed"] * 2
    assert statuses(again) == ["computed", "reused", "reused", "reused"]
    assert [r["square"] for r in again] == [9, 1, 4, 1] and (again[2]["x"] == 2).all()
    assert log.read_text().split() == ["1", "2", "3"]
    assert list(frame(again)["square"]) == [9, 1, 4, 1]


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
    assert "missing: square(a=2)" in status(results)


def test_provenance_says_how_a_result_came_about(runs, tmp_path):
    [result] = go(runs.square, [{"a": 1, "seed": 7}], tmp_path / "r", threads=2)
    p = result.provenance
    assert p["threads"] == 2 and p["seed"] == 7 and p["device_type"] == "cpu" and p["device"]
    assert p["versions"]["torch"] and p["seconds"] >= 0 and p["peak_memory_mib"] > 10
    assert len(p["stamp"]) == 16 and p["sources"].keys() == {"toy_runs"}
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
        state = git_state(runs.square, [source])
        assert len(state["commit"]) == 40 and state["dirty"] is False
        source.write_text(RUNS + "\n# more")
        assert git_state(runs.square, [source])["dirty"] is True
    finally:
        source.write_text(RUNS)
        os.utime(source, (0, 0))
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


# --- folders and files


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "one" / "images"
    (folder / "cat").mkdir(parents=True)
    (folder / "cat" / "a.png").write_bytes(b"a cat")
    (folder / "b.png").write_bytes(b"another")
    return folder


def test_the_same_content_elsewhere_is_the_same_run(runs, tmp_path, images):
    [first] = go(runs.files, [{"folder": str(images)}], tmp_path / "r")
    assert first["seen"] == ["b.png", "cat/a.png"] and first["given"] == str(images)
    assert first.parameters["folder"] == str(images) and str(tmp_path) not in first.label
    name = stored_parameters(first)["folder"]
    assert re.fullmatch("images@[0-9a-f]{12}", name)
    assert name.replace("@", "_") in first.path.name
    assert str(tmp_path) not in first.path.read_text().replace(first["given"], "")
    other = shutil.copytree(images, tmp_path / "two" / "images")
    assert statuses(go(runs.files, [{"folder": f"{other}/"}], tmp_path / "r")) == ["reused"]
    [file] = go(runs.files, [{"folder": str(other / "b.png")}], tmp_path / "r")
    assert stored_parameters(file)["folder"].startswith("b.png@")


def stored_parameters(result):
    return json.loads(result.path.read_text())["parameters"]


@pytest.mark.parametrize("change", ["content", "name", "more", "less"])
def test_other_content_is_another_run(runs, tmp_path, images, change):
    go(runs.files, [{"folder": str(images)}], tmp_path / "r")
    file = images / "cat" / "a.png"
    if change == "content":  # of the same length
        file.write_bytes(b"a dog")
    elif change == "more":
        (images / "c.png").touch()
    elif change == "name":
        file.rename(images / "cat" / "c.png")
    else:
        file.unlink()
    assert statuses(go(runs.files, [{"folder": str(images)}], tmp_path / "r", compute=False)) == [
        "missing"
    ]


def test_two_folders_of_one_name_are_told_apart(tmp_path):
    """Even if names, sizes and times of their files are equal."""
    names = set()
    for place, text in (("one", "a"), ("two", "b")):
        folder = tmp_path / place / "images"
        folder.mkdir(parents=True)
        (folder / "a.png").write_text(text)
        os.utime(folder / "a.png", (1, 1))
        names.add(contents.named(str(folder)))
    assert len(names) == 2


def test_other_texts_are_taken_as_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mnist").mkdir()
    for value in ("mnist", "a/b", 1, None, ["x/y"], f"{tmp_path}/none"):
        assert contents.named(value) == value


# --- definitions that stand for others


def declared(folder, **change):
    entry = {"definition": "toy_runs.square", "was": WAS, "is": IS, "why": "shorter",
             "checked": ["a=3.json"]} | change  # fmt: skip
    folder.mkdir(exist_ok=True)
    (folder / "equivalences.yaml").write_text(json.dumps([entry]))


WAS, IS = "0123456789abcdef", "fedcba9876543210"


def test_results_of_a_definition_that_was_declared_equal_are_reused(
    runs, tmp_path, edited, monkeypatch
):
    monkeypatch.setattr(stamp, "EQUIVALENT", {})
    was = stamp.definition_hash("toy_runs", "square", packages=("toy_runs",))
    go(runs.square, [{"a": 3}], tmp_path / "r")
    new = edited("a * a", "a**2")
    now = stamp.definition_hash("toy_runs", "square", packages=("toy_runs",))
    declared(tmp_path / "other", was=was, **{"is": now})
    assert statuses(go(new.square, [{"a": 3}], tmp_path / "r", compute=False)) == ["stale"]
    declared(tmp_path / "r", was=was, **{"is": now})
    assert statuses(go(new.square, [{"a": 3}], tmp_path / "r")) == ["reused"]
    assert statuses(go(new.square, [{"a": 4}], tmp_path / "r")) == ["computed"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"was": "short"}, "Entry 1 of .*'was' must be 16"),
        ({"is": 1234567890123456}, "'is' must be 16"),
        ({"why": " "}, "'why' must be a text"),
        ({"definition": 3}, "'definition' must be a text"),
        ({"checked": []}, "'checked' must name at least one"),
        ({"checked": "a.json"}, "'checked' must name"),
        ({"more": 1}, "exactly the fields"),
    ],
)
def test_malformed_equivalences_are_refused(runs, tmp_path, change, words, monkeypatch):
    monkeypatch.setattr(stamp, "EQUIVALENT", {})
    declared(tmp_path, **change)
    with pytest.raises(ValueError, match=words):
        go(runs.square, [{"a": 3}], tmp_path)
    assert stamp.EQUIVALENT == {}


@pytest.mark.parametrize("text", ["definition: x", "- [", "3"])
def test_equivalences_that_are_no_list_are_refused(runs, tmp_path, text):
    (tmp_path / "equivalences.yaml").write_text(text)
    with pytest.raises(ValueError, match="must be a list|cannot be read"):
        go(runs.square, [{"a": 3}], tmp_path)


# --- failures


def test_a_failed_run_is_reported_and_loses_no_other(runs, tmp_path):
    results = go(runs.explode, sweep.grid(a=[1, 2, 3]), tmp_path / "r")
    assert statuses(results) == ["computed", "failed", "computed"]
    assert "ZeroDivisionError: two is too much" in results[1].error
    assert status(results).startswith("2 of 3 runs are there.")
    assert "failed: 1 with `ZeroDivisionError: two is too much`" in status(results)
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


def test_a_result_older_than_the_code_is_stale(runs, tmp_path, edited):
    go(runs.square, [{"a": 3}], tmp_path / "r")
    new = edited("import os", "# only a comment\n\nNEW = 1\nimport os")
    assert statuses(go(new.square, [{"a": 3}], tmp_path / "r")) == ["reused"]
    new = edited("a * a", "a**2")
    [old] = go(new.square, [{"a": 3}], tmp_path / "r", compute=False)
    assert old.status == "stale" and old["square"] == 9 and "toy_runs changed" in old.notes[0]
    assert list(frame([old])["status"]) == ["stale"]
    assert statuses(go(new.square, [{"a": 3}], tmp_path / "r")) == ["computed"]
    assert statuses(go(new.square, [{"a": 3}], tmp_path / "r")) == ["reused"]


def test_a_folder_that_cannot_be_written_is_noticed_before_anything_runs(runs, tmp_path):
    (tmp_path / "file").touch()
    log = tmp_path / "log"
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match="cannot be written.*nothing was computed"):
            go(runs.square, [{"a": 1, "log": list(log.parts)}], folder)
        assert statuses(go(runs.square, [{"a": 1}], folder, compute=False)) == ["missing"]
    assert not log.exists()


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

    class Lost(SerialExecutor):
        calls = 0

        def submit(self, *args, **kwargs):
            Lost.calls += 1
            future = concurrent.futures.Future()
            future.set_exception(concurrent.futures.BrokenExecutor("gone"))
            return future

    [result] = go(runs.square, [{"a": 1}], tmp_path / "r", executor=Lost(), retries=2)
    assert Lost.calls == 3
    assert result.status == "failed" and "3 attempts" in result.error and "gone" in result.error


class Losing(SerialExecutor):
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
        runs.square,
        [{"a": 2, "log": list(log.parts)}],
        tmp_path / "r",
        executor=Losing(1),
        retries=1,
    )
    assert result.status == "computed" and result["square"] == 4
    assert log.read_text().split() == ["2"]


def test_a_result_file_that_cannot_be_seen_from_here_is_a_failure(runs, tmp_path):
    blind = Losing(0, after=lambda path: path.unlink())
    [result] = go(runs.square, [{"a": 2}], tmp_path / "r", executor=blind)
    assert result.status == "failed" and "a folder that all machines share" in result.error


def test_an_interrupt_in_this_process_keeps_what_is_finished(runs, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        go(runs.interrupted, sweep.grid(a=[1, 2, 3]), tmp_path / "r")
    found = go(runs.interrupted, sweep.grid(a=[1, 2, 3]), tmp_path / "r", compute=False)
    assert statuses(found) == ["reused", "missing", "missing"]


SCRIPT = """
import sys
sys.path.insert(0, {runs!r})
import toy_runs
from harness import sweep
grid = [{{"a": a, "flag": {flag!r}}} for a in (1, 2, 3)]
sweep.sweep(toy_runs.slow, grid, folder={folder!r}, executor="loky:1", progress=False)
"""


def test_an_interrupt_keeps_what_is_finished_and_ends_the_workers(runs, tmp_path):
    flag = tmp_path / "flag"
    script = SCRIPT.format(
        runs=str(Path(runs.__file__).parent), flag=list(flag.parts), folder=str(tmp_path / "r"),
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
    grid = [{"a": a, "flag": list(flag.parts)} for a in (1, 2, 3)]
    found = go(runs.slow, grid, tmp_path / "r", compute=False)
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


def test_no_warning_in_the_ordinary_course(runs, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        go(runs.square, [{"a": 1}], tmp_path / "r")
        go(runs.square, [{"a": 1}], tmp_path / "r")
