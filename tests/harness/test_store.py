"""Results on disk: whole, checked, and found again by name."""

import errno
import json
import os
import re
import threading

import numpy as np
import pytest
import torch

from harness import store

NAME, PARAMETERS = "toy.run", {"n": 50, "lr": 0.01, "arch": "mlp", "sizes": [2, 3]}
SCALARS = {"auroc": 0.75, "note": "fine", "history": [3.0, 2.0], "nothing": None}
ARRAYS = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "hit": np.array([True, False])}


@pytest.fixture
def stored(tmp_path):
    path = store.path_for(tmp_path, NAME, PARAMETERS)
    store.write(path, NAME, PARAMETERS, SCALARS, ARRAYS, {"stamp": "f"})
    return path


def read(path):
    return store.read(path, NAME, PARAMETERS, "reused")


def test_a_result_comes_back_as_it_was(stored):
    result = read(stored)
    assert result.scalars == SCALARS and result["auroc"] == 0.75
    assert set(result.arrays) == {"x", "hit"} and result["x"].dtype == np.float32
    assert np.array_equal(result["x"], ARRAYS["x"]) and np.array_equal(result["hit"], ARRAYS["hit"])
    with pytest.raises(KeyError, match="auc.*auroc, note, history, nothing, x, hit"):
        result["auc"]


def test_the_file_is_readable_and_named_by_its_parameters(stored, tmp_path):
    assert stored.parent == tmp_path / "toy.run"
    assert stored.name.startswith("arch=mlp,lr=0.01,n=50,sizes=2+3-") and stored.suffix == ".json"
    assert '"history": [3.0, 2.0]' in stored.read_text()
    assert sorted(os.listdir(stored.parent)) == [stored.name, stored.with_suffix(".npz").name]


def test_names_are_short_distinct_and_independent_of_the_order(tmp_path):
    def path(**parameters):
        return store.path_for(tmp_path, NAME, parameters)

    assert path(a=1, b=2) == path(b=2, a=1)
    assert path(a={"b": 1, "c": 2}) == path(a={"c": 2, "b": 1})
    assert path(a={"b": 1, "c": [2, 3]}).name.startswith("a=b=1+c=2+3-")
    assert len({path(a=1), path(a="1"), path(a=1.0), path(a=[1]), path(a=True), path()}) == 6
    odd = path(url="dask://x/../../y" * 20)
    assert odd.parent.parent == tmp_path and len(odd.name) < 120


def test_a_function_is_named_by_its_chapter(tmp_path):
    name = "chapters.kkt_reconstruction.runs.attack"
    assert store.short_name(name) == "kkt_reconstruction.attack"
    assert store.short_name("toy.run") == "toy.run" and store.short_name("runs.run") == "runs.run"
    assert store.path_for(tmp_path, name, {}).parent == tmp_path / "kkt_reconstruction.attack"


def test_equal_results_are_equal_files(stored, tmp_path):
    before = stored.read_bytes(), stored.with_suffix(".npz").read_bytes()
    store.write(stored, NAME, PARAMETERS, SCALARS, ARRAYS, {"stamp": "f"})
    assert (stored.read_bytes(), stored.with_suffix(".npz").read_bytes()) == before


def test_arrays_are_loaded_only_when_asked_for(stored):
    result = read(stored)
    stored.with_suffix(".npz").unlink()
    assert result["auroc"] == 0.75 and len(result.arrays) == 2
    with pytest.raises(FileNotFoundError):
        result["x"]


@pytest.mark.parametrize("cut", [0, 1, 40, -3])
def test_a_truncated_json_is_noticed(stored, cut):
    stored.write_bytes(stored.read_bytes()[:cut])
    with pytest.raises(store.Damaged, match=re.escape(stored.name) + ".*cut off"):
        read(stored)


def test_an_edited_json_is_noticed(stored):
    stored.write_text(stored.read_text().replace("0.75", "0.95"))
    with pytest.raises(store.Damaged, match="changed after it was written"):
        read(stored)


def test_json_of_something_else_is_noticed(stored):
    stored.write_text("[1, 2]")
    with pytest.raises(store.Damaged, match="not the JSON of a result"):
        read(stored)
    stored.write_bytes(b"\xff\xfe")
    with pytest.raises(store.Damaged):
        read(stored)


def test_the_result_of_another_run_is_noticed(stored):
    with pytest.raises(store.Damaged, match="holds another run"):
        store.read(stored, NAME, {**PARAMETERS, "n": 51}, "reused")


@pytest.mark.parametrize("change", ["cut", "edited", "gone"])
def test_damage_to_the_npz_is_noticed(stored, change):
    npz = stored.with_suffix(".npz")
    whole = npz.read_bytes()
    if change == "gone":
        npz.unlink()
    else:
        npz.write_bytes(whole[:-30] if change == "cut" else whole[:50] + b"!" + whole[51:])
    with pytest.raises(store.Damaged, match=re.escape(npz.name)):
        read(stored)


def test_a_pickled_array_is_refused(stored):
    """Even one whose checksums somebody has made to fit."""
    npz = stored.with_suffix(".npz")
    np.savez(npz, x=np.array([{"a": 1}], dtype=object), hit=ARRAYS["hit"])
    content = json.loads(stored.read_text())
    content.pop("sha256")
    content["npz_sha256"] = store.hashlib.sha256(npz.read_bytes()).hexdigest()
    stored.write_text(json.dumps({**content, "sha256": store._own_hash(content)}))
    with pytest.raises(store.Damaged, match="does not hold the arrays"):
        read(stored)


def test_values_are_sorted_into_scalars_and_arrays():
    values = {"a": torch.tensor(2), "b": torch.ones(2, requires_grad=True), "c": np.float64(0.5),
              "d": (1, np.int64(2)), "e": {"k": [True]}}  # fmt: skip
    scalars, arrays = store.split_values(values, "run()")
    assert scalars == {"a": 2, "c": 0.5, "d": [1, 2], "e": {"k": [True]}}
    assert arrays.keys() == {"b"} and arrays["b"].dtype == np.float32
    assert json.dumps(scalars)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (3, "returned a int"),
        ({1: 2}, "not a dict with text keys"),
        ({"s": {1, 2}}, "'s' of run\\(\\) is a set"),
        ({"o": np.array([None, 1])}, "array of objects"),
        ({"m": torch.nn.Linear(1, 1)}, "is a Linear"),
    ],
)
def test_values_that_cannot_be_kept_are_named(values, words):
    with pytest.raises(TypeError, match=words):
        store.split_values(values, "run()")


def test_a_full_disk_leaves_the_earlier_result_and_no_other_file(stored, monkeypatch):
    before = sorted(os.listdir(stored.parent))

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store.write(stored, NAME, PARAMETERS, SCALARS, {"x": np.zeros(9)}, {"stamp": "g"})
    assert sorted(os.listdir(stored.parent)) == before
    assert read(stored)["auroc"] == 0.75


def test_an_array_that_is_left_out_stays_described(stored):
    store.leave_out(read(stored), ["x"])
    result = read(stored)
    assert set(result.arrays) == {"hit"} and result.scalars == SCALARS
    assert result.provenance == {"stamp": "f", "left_out": {"x": store.fingerprint(ARRAYS["x"])}}
    with pytest.raises(KeyError, match=r"'x' of run\(.*was left out of what is published"):
        result["x"]
    with pytest.raises(KeyError, match="x"):
        store.leave_out(result, ["x"])
    store.leave_out(result, ["hit"])
    assert set(read(stored).provenance["left_out"]) == {"x", "hit"}
    assert not stored.with_suffix(".npz").exists()


def test_a_new_result_without_arrays_removes_the_old_ones(stored):
    store.write(stored, NAME, PARAMETERS, {"a": 1}, {}, {})
    assert os.listdir(stored.parent) == [stored.name] and read(stored)["a"] == 1


def test_two_writers_of_one_run_leave_one_whole_result(tmp_path):
    path = store.path_for(tmp_path, NAME, PARAMETERS)
    errors = []

    def write(k):
        try:
            for i in range(25):
                array = {"x": np.full(5, 100 * k + i)}
                store.write(path, NAME, PARAMETERS, {"k": 100 * k + i}, array, {})
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    result = read(path)
    assert errors == [] and (result["x"] == result["k"]).all()
    assert len(os.listdir(path.parent)) == 2
