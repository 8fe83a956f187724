"""Published runs, computed again: agreement, damage, reasons and exit codes."""

import json
import subprocess
import sys

import numpy as np
import pytest
from toy_sweep import go

from harness import store, sweep, verify
from harness.results import Result


def test_verify_tells_agreement_from_disagreement(runs, tmp_path, capsys):
    go(runs.square, sweep.grid(a=[1, 2, 3]), tmp_path / "r")
    checks = verify.verify(tmp_path / "r", 2, seed=1)
    assert [check.outcome for check in checks] == ["agrees"] * 2
    assert [c.run for c in checks] == [c.run for c in verify.verify(tmp_path / "r", 2, seed=1)]
    assert verify.main([str(tmp_path / "r"), "--sample", "9"]) == 0
    assert "3 of 3 runs agree" in capsys.readouterr().out
    go(runs.changing, [{"a": 1}], tmp_path / "r")
    assert verify.main([str(tmp_path / "r"), "--sample", "9"]) == 1
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
    result = Result("toy_runs.vanished", {}, "reused", provenance=moved)
    check = verify.recompute(result, 0.01)
    assert check.outcome == "failed" and "vanished" in check.details[0]


def test_verify_of_nothing_is_no_success(tmp_path, capsys):
    assert verify.main([str(tmp_path)]) == 1
    assert "holds no result" in capsys.readouterr().out


def test_what_was_left_out_of_a_result_is_held_against_its_hash():
    was = {"x": store.fingerprint(np.zeros(3))}
    for now, rtol, same in [
        ({"x": np.zeros(3)}, 0, True),
        ({"x": np.ones(3)}, 0, False),
        ({"x": np.ones(3)}, 0.01, True),
        ({"x": np.ones(4)}, 0.01, False),
        ({"x": np.ones(3, np.float32)}, 0.01, False),
        ({}, 0.01, False),
    ]:
        assert bool(verify.changed(was, now, rtol)) != same


def test_a_run_agrees_though_an_array_was_left_out(runs, tmp_path):
    [run] = go(runs.square, [{"a": 3}], tmp_path / "r")
    store.leave_out(run, list(run.arrays))
    [check] = verify.verify(tmp_path / "r", 1)
    assert run.arrays and check.outcome == "agrees"


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


def test_every_distinct_reason_is_shown_whole(runs, tmp_path, capsys, monkeypatch):
    go(runs.square, sweep.grid(a=[1, 2, 3]), tmp_path / "r")
    reason = "no such thing:\n" + "a long explanation " * 20 + "and its end"

    def broken(a):
        raise LookupError(reason)

    broken.__module__ = runs.__name__
    monkeypatch.setattr(runs, "square", broken)
    assert verify.main([str(tmp_path / "r"), "--sample", "9"]) == 1
    out = capsys.readouterr().out
    assert out.count("and its end") == 1 and f"3 failed with:\nLookupError: {reason}" in out
    assert "0 of 3 runs agree" in out


def test_runs_on_somebodys_own_files_are_skipped(runs, tmp_path, capsys):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.txt").write_text("a")
    go(runs.files, [{"folder": str(tmp_path / "images")}], tmp_path / "r")
    [check] = verify.verify(tmp_path / "r", 5)
    assert check.outcome == "skipped" and "made from images@" in check.details[0]
    assert verify.main([str(tmp_path / "r")]) == 1 and "0 of 0" in capsys.readouterr().out
    go(runs.square, [{"a": 1}], tmp_path / "r")
    assert verify.main([str(tmp_path / "r")]) == 0 and "1 of 1" in capsys.readouterr().out


def test_the_command_works_as_a_module(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "harness.verify", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "") and "holds no result" in done.stdout
