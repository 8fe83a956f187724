"""Results together: groups, tables, and what is said about those that are not there."""

import numpy as np
import pandas as pd
import pytest

from harness import results
from harness.results import Result, Runs


def test_a_frame_has_one_row_a_run():
    good = Result("m.f", {"n": 1}, "reused", {"n": 1, "acc": 0.5})
    bad = Result("m.f", {"n": 2}, "failed", error="Traceback …\nValueError: boom")
    frame = results.frame([good, bad])
    assert list(frame.columns) == ["n", "acc", "status"] and pd.isna(frame["acc"][1])
    with pytest.raises(ValueError, match="another 'n'"):
        results.frame([Result("m.f", {"n": 1}, "reused", {"n": 2})])


def run(status, **parameters):
    return Result("chapters.toy.runs.run", parameters, status)


def test_runs_leave_out_what_has_no_values():
    states = ["computed", "failed", "reused", "missing", "stale"]
    runs = Runs([run(state) for state in states])
    assert [result.status for result in runs] == ["computed", "reused", "stale"]
    assert [result.status for result in runs.absent] == ["failed", "missing"]
    assert [result.status for result in runs.all] == states and len(runs) == 3 and runs
    assert not Runs([run("missing")]) and not Runs([])


@pytest.fixture
def some():
    """Two data sets with two seeds; one run is missing."""
    return Runs(
        [
            Result(
                "m.f", {"dataset": d, "seed": s, "size": [2, 3]}, state, {"auroc": 10.0 * i + s},
                {"x": np.full(2, s)},
            )
            for i, d in enumerate(("mnist", "svhn"))
            for s, state in ((1, "reused"), (2, "missing" if d == "svhn" else "computed"))
        ],
        title=str.upper,
    )  # fmt: skip


def test_runs_are_chosen_by_their_parameters(some):
    assert some.where(dataset="mnist").values("auroc") == [1.0, 2.0]
    assert some.where(seed=[2, 3]).values("auroc") == [2.0]
    assert len(some.where(seed=2).absent) == 1 and len(some.where(seed=2, dataset="svhn")) == 0
    assert some.where(dataset="svhn").where(seed=1)[0]["auroc"] == 11.0
    assert not some.where(nothing=1) and len(some.where()) == 3


def test_runs_tell_which_values_are_there(some):
    assert some.of("dataset") == ["mnist", "svhn"] and some.of("seed") == [1, 2]
    assert some.where(seed=2).of("dataset") == ["mnist"]
    assert [x.tolist() for x in some.values("x")] == [[1, 1], [2, 2], [1, 1]]
    with pytest.raises(KeyError, match="has no 'auc'; it has auroc, x"):
        some.values("auc")
    with pytest.raises(KeyError):
        some.of("lr")


def test_runs_as_a_frame_name_the_data_set(some):
    table = some.frame()
    assert list(table["data set"]) == ["MNIST", "MNIST", "SVHN"]
    assert list(table["auroc"]) == [1.0, 2.0, 11.0] and list(table["status"])[1] == "computed"
    assert Runs([]).frame().empty and "data set" not in Runs([run("reused", n=1)]).frame()


def test_runs_are_joined_and_cut(some):
    both = some.where(dataset="svhn") + some.where(dataset="mnist")
    assert both.values("auroc") == [11.0, 1.0, 2.0] and len(both.absent) == 1
    assert both.frame()["data set"][0] == "SVHN" and [r["auroc"] for r in both[:2]] == [11.0, 1.0]


def test_status_counts_what_is_there_and_what_is_old():
    assert results.status([run("reused"), run("computed")]) == "2 of 2 runs are there."
    text = results.status([run("reused"), run("stale")])
    assert text.startswith("2 of 2 runs are there, 1 of them older than the code")


def test_status_names_few_absent_runs_and_counts_many():
    few = results.status([run("reused"), run("missing", n=5), run("failed", n=6)])
    assert few.startswith("1 of 3") and "- missing: run(n=5)" in few
    assert "- failed: 1 with `no reason is known`" in few
    absent = [run("missing", dataset="svhn", n=n) for n in range(5)] + [run("missing", n=9)] * 2
    many = results.status(absent)
    assert "- missing: 5 of run on svhn" in many and "- missing: 2 of run" in many
    assert "n=3" not in many


def test_each_reason_of_a_failure_stands_once():
    def failed(n, error):
        return Result("m.f", {"n": n}, "failed", error=error)

    text = results.status(
        [failed(n, "Traceback\nValueError: boom\n") for n in range(3)]
        + [failed(4, "OSError: full")]
    )
    assert text.count("boom") == 1 and "- failed: 3 with `ValueError: boom`" in text
    assert "- failed: 1 with `OSError: full`" in text
