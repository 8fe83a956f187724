"""What a notebook opens: runs over grids, read, computed or missing."""

import importlib
import sys
from dataclasses import replace

import pytest

from harness import stamp
from harness.claims import Verdict
from harness.study import Study

TOY = """
def run(dataset, seed, n=1, device="cpu"):
    if n == 13:
        raise RuntimeError("thirteen")
    return {"score": seed + n, "where": device}


def plain(seed):
    return {"score": seed}
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A module of runs that workers could import."""
    (tmp_path / "toy_study.py").write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path)
    stamp.watch("toy_study")
    yield importlib.import_module("toy_study")
    del sys.modules["toy_study"]


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path / "results", title=str.upper)


def test_axes_are_crossed_and_cases_stay_together(toy, study):
    cases = [{"n": 1, "seed": 5}, {"n": 2, "seed": 6}]
    found = study(toy.run, cases, dataset=["a", "b"])
    assert [(r.parameters["dataset"], r["score"]) for r in found] == [
        ("a", 6), ("a", 8), ("b", 6), ("b", 8),
    ]  # fmt: skip


def test_a_second_study_reads_what_the_first_computed(toy, study, tmp_path):
    study(toy.run, dataset="a", seed=[1, 2])
    again = Study(tmp_path / "results")(toy.run, dataset="a", seed=[1, 2])
    assert [result.status for result in again] == ["reused", "reused"]


def test_groups_share_runs_and_keep_their_order(toy, study):
    one, two = {"dataset": "a", "seed": 1}, {"dataset": "a", "seed": 2}
    found = study.groups(toy.run, {"first": [one, two], "second": [two], "none": []})
    assert {name: runs.values("score") for name, runs in found.items()} == {
        "first": [2, 3],
        "second": [3],
        "none": [],
    }
    assert len(study.results) == 2


def test_a_failed_run_is_absent_and_known(toy, study):
    found = study(toy.run, dataset="a", seed=[1], n=[1, 13])
    assert found.values("score") == [2]
    assert [result.status for result in found.absent] == ["failed"]
    assert len(study.results) == 2


def test_without_computing_runs_are_missing_and_nothing_is_written(toy, tmp_path):
    study = Study(tmp_path / "results", compute=False)
    found = study(toy.run, dataset="a", seed=[1, 2])
    assert not found and [r.status for r in found.absent] == ["missing", "missing"]
    assert not (tmp_path / "results").exists()


def test_runs_on_a_data_set_that_is_not_here_are_only_looked_up(toy, tmp_path):
    study = Study(tmp_path / "results", missing={"b": "not to be had"})
    found = study(toy.run, dataset=["a", "b"], seed=1)
    assert found.of("dataset") == ["a"]
    assert [result.status for result in found.absent] == ["missing"]


def test_a_device_is_handed_to_functions_that_have_one(toy, tmp_path):
    study = Study(tmp_path / "results", device="meta")
    assert study(toy.run, dataset="a", seed=1).values("where") == ["meta"]
    assert study(toy.plain, seed=1).values("score") == [1]


def test_parameters_that_do_not_fit_are_refused(toy, study):
    with pytest.raises(ValueError, match="does not fit"):
        study(toy.run, dataset="a", sed=1)


def test_data_sets_that_stand_in_for_others_are_named(tmp_path):
    study = Study(tmp_path, stand_ins={"coloured digits": "SVHN", "tiny": "ImageNet"})
    other = Verdict("A1", "REPRODUCED", (), 5)
    found = replace(other, parts={"MLP, coloured digits": other, "MLP, MNIST": other})
    assert study.stood_in([other, found]) == " Run here: coloured digits in place of SVHN."
    assert study.stood_in([other]) == study.stood_in([]) == ""
    assert Study(tmp_path).stood_in([found]) == ""


# --- reading ------------------------------------------------------------------------------------


def test_where_takes_a_value_or_several(toy, study):
    found = study(toy.run, dataset=["a", "b"], seed=[1, 2, 3])
    assert len(found.where(dataset="a")) == 3
    assert found.where(dataset="b", seed=[1, 3]).values("score") == [2, 4]
    assert not found.where(dataset="c")


def test_values_of_a_parameter_come_once_in_their_order(toy, study):
    assert study(toy.run, dataset=["b", "a"], seed=[2, 1]).of("dataset") == ["b", "a"]


def test_a_frame_names_the_data_set(toy, study):
    table = study(toy.run, dataset=["a"], seed=[1, 2]).frame()
    assert table["data set"].tolist() == ["A", "A"] and table["score"].tolist() == [2, 3]


def test_runs_add_up_and_filter(toy, study):
    found = study(toy.run, dataset="a", seed=[1, 2], n=[1, 13])
    both = found + study(toy.run, dataset="b", seed=[1])
    assert len(both) == 3 and len(both.absent) == 2
    some = both.filter(lambda result: result["score"] > 2)
    assert some.values("score") == [3] and len(some.absent) == 2
