"""What the pages show of their results: titles, what is missing, the evidence."""

import pytest

from experiments import pages
from lib import claims, plots
from lib.results import Result


@pytest.fixture
def said(monkeypatch) -> list[str]:
    texts: list[str] = []
    monkeypatch.setattr(plots, "say", texts.append)
    return texts


def run(dataset: str, seed: int, **scalars) -> Result:
    return Result("runs.one", {"dataset": dataset, "seed": seed}, "computed", scalars, {}, {})


def test_tidy_adds_the_title_of_the_data_set():
    table = pages.tidy([run("mnist", 0, score=1.0), run("cifar10-jpeg", 1, score=2.0)])
    assert table["data set"].tolist() == ["MNIST", "CIFAR-10 (JPEG)"]
    assert table["score"].tolist() == [1.0, 2.0]


def test_tidy_of_nothing_is_an_empty_table():
    assert len(pages.tidy([])) == 0


def test_a_data_set_that_is_not_here_is_named_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setenv("WWR_DATA", str(tmp_path))
    missing = pages.unavailable(["digits", "fashion-mnist-900"])
    assert list(missing) == ["fashion-mnist-900"]
    assert "Fashion-MNIST (900) is not in" in missing["fashion-mnist-900"]


def test_the_status_names_data_sets_that_are_not_here(said):
    pages.say_status([run("mnist", 0)], {"mnist": "no such folder"})
    assert "MNIST is not here: no such folder" in said[0]


def test_the_evidence_is_listed_by_part_where_there_are_parts(said):
    with_parts = claims.judge("I08", {"MNIST": {"inversion_accuracy": [0.99, 0.98, 0.97]}})
    without = claims.judge("I28", {"seconds": [1.0, 2.0, 3.0]})
    pages.say_evidence([with_parts, without])
    lines = [line for line in said[0].splitlines() if line.startswith("- ")]
    assert [line.split("**")[1] for line in lines] == ["I08", "I28"]
    assert "MNIST: REPRODUCED" in lines[0]
    assert "no threshold" in lines[1]
