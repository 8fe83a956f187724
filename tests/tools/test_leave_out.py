"""Arrays are left out of published results only where others keep theirs."""

import leave_out
import numpy as np
import pytest

from harness import store


@pytest.fixture
def folder(tmp_path):
    for seed in range(3):
        parameters = {"dataset": "digits", "seed": seed}
        path = store.path_for(tmp_path, "toy.run", parameters)
        arrays = {"images": np.full((2, 2), seed), "losses": np.ones(3)}
        store.write(path, "toy.run", parameters, {"auroc": 0.5}, arrays, {"stamp": "f"})
    return tmp_path


def run(folder, monkeypatch, *options):
    monkeypatch.setattr("sys.argv", ["leave_out.py", *options, "--results", str(folder)])
    return leave_out.main()


def arrays(folder):
    """{seed: names of the arrays that its result has}."""
    contents = [store.load_json(path) for path in folder.glob("toy.run/*.json")]
    return {content["parameters"]["seed"]: set(content["arrays"]) for content in contents}


def test_pictures_stay_where_they_are_shown(folder, monkeypatch, capsys):
    assert run(folder, monkeypatch, "toy.run", "images", "--keep", "seed=0", "dataset=digits") == 0
    assert capsys.readouterr().out == "2 of 3 runs of toy.run are without images now\n"
    assert arrays(folder) == {0: {"images", "losses"}, 1: {"losses"}, 2: {"losses"}}
    assert run(folder, monkeypatch, "toy.run", "images", "--keep", "seed=0") == 0
    assert "0 of 3 runs" in capsys.readouterr().out


@pytest.mark.parametrize("options", [["images", "--keep", "seed=7"], ["imges", "--keep", "seed=0"]])
def test_nothing_is_left_out_when_nothing_would_keep_it(folder, monkeypatch, capsys, options):
    assert run(folder, monkeypatch, "toy.run", *options) == 1
    assert "No run in toy.run would keep" in capsys.readouterr().err
    assert all("images" in names for names in arrays(folder).values())


def test_a_damaged_result_stops_it_before_anything_is_changed(folder, monkeypatch, capsys):
    last = sorted(folder.glob("toy.run/*.json"))[-1]
    last.write_text(last.read_text()[:-20])
    assert run(folder, monkeypatch, "toy.run", "images", "--keep", "seed=0") == 1
    assert "was probably cut off" in capsys.readouterr().err
    assert sum("shape" in path.read_text() for path in folder.glob("toy.run/*.json")) == 3
