"""Result files that were cut off, swapped, edited, or made to do harm."""

import json
import re
import shutil

import fault_runs
import numpy as np
import pytest
from fault_tools import calls, is_a_sentence
from toy_sweep import go, statuses

from harness import store, sweep, verify


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


@pytest.fixture
def stored(tmp_path, log):
    """Three results in a folder; the log of their calls is empty again."""
    results = go(fault_runs.noted, sweep.grid(a=[1, 2, 3], log=[list(log.parts)]), tmp_path / "r")
    log.unlink()
    return results


def again(stored):
    """The same sweep on what is there now; the sentence it says of each run that was spoilt."""
    results = go(fault_runs.noted, [r.parameters for r in stored], stored[0].path.parents[1])
    assert [r["square"] for r in results] == [1, 4, 9] and [r["x"][0] for r in results] == [1, 2, 3]
    return {run.parameters["a"]: note for run in results for note in run.notes}


def with_its_hashes_mended(path, change):
    """Edit a JSON file as somebody would who knows how results are checked."""
    content = json.loads(path.read_text())
    content.pop("sha256")
    change(content)
    npz = path.with_suffix(".npz")
    if npz.exists():
        content["npz_sha256"] = store.hashlib.sha256(npz.read_bytes()).hexdigest()
    path.write_text(json.dumps({**content, "sha256": store._own_hash(content)}))


def cut(json_file, npz):
    json_file.write_bytes(json_file.read_bytes()[:200])


def cut_arrays(json_file, npz):
    npz.write_bytes(npz.read_bytes()[:100])


def emptied(json_file, npz):
    json_file.write_bytes(b"")


def nested(json_file, npz):
    json_file.write_text("[" * 100_000)


def other_kinds(json_file, npz):
    with_its_hashes_mended(json_file, lambda content: content.update(arrays=["x"]))


def pickled(json_file, npz):
    np.savez(npz, x=np.array([{"a": 1}], dtype=object))
    with_its_hashes_mended(json_file, lambda content: None)


def unpacks_to_more(json_file, npz):
    np.savez_compressed(npz, x=np.zeros(10_000_000))
    with_its_hashes_mended(json_file, lambda content: None)


SPOILT = [cut, cut_arrays, emptied, nested, other_kinds, pickled, unpacks_to_more]


@pytest.mark.filterwarnings("ignore:A stored result was not used")
@pytest.mark.parametrize("spoil", SPOILT)
def test_a_spoilt_result_is_named_and_alone_made_anew(stored, log, spoil):
    spoil(stored[1].path, stored[1].path.with_suffix(".npz"))
    said = again(stored)
    assert said.keys() == {2} and is_a_sentence(said[2]) and stored[1].path.stem in said[2]
    assert calls(log) == [2] and again(stored) == {}


@pytest.mark.filterwarnings("ignore:A stored result was not used")
@pytest.mark.parametrize("suffixes", [[".json"], [".npz"], [".json", ".npz"]])
def test_swapped_results_are_not_taken_for_each_other(stored, log, suffixes):
    one, other = stored[0].path, stored[2].path
    for suffix in suffixes:
        paths = [path.with_suffix(suffix) for path in (one, other)]
        contents = [path.read_bytes() for path in paths]
        for path, content in zip(paths, reversed(contents), strict=True):
            path.write_bytes(content)
    damaged = [c for c in verify.verify(one.parents[1], 0) if c.outcome == "damaged"]
    assert {check.path for check in damaged} == {one, other}
    said = again(stored)
    assert said.keys() == {1, 3} and all(map(is_a_sentence, said.values()))
    assert calls(log) == [1, 3] and again(stored) == {}


def test_an_edit_with_its_hash_mended_is_found_by_computing_again(stored, tmp_path, capsys):
    """No checksum can tell it from a true result; `python -m harness.verify` can."""
    with_its_hashes_mended(stored[1].path, lambda content: content["scalars"].update(square=5))
    assert statuses(go(fault_runs.noted, [stored[1].parameters], tmp_path / "r")) == ["reused"]
    assert verify.main([str(tmp_path / "r"), "--sample", "3"]) == 1
    said = capsys.readouterr().out
    assert "square: 5 published, 4 now" in said and "2 of 3 runs agree" in said


def test_an_array_edited_with_its_hashes_mended_is_found_too(stored, tmp_path, capsys):
    np.savez(stored[1].path.with_suffix(".npz"), x=np.full(4, 2.5))
    with_its_hashes_mended(stored[1].path, lambda content: None)
    assert verify.main([str(tmp_path / "r"), "--sample", "3"]) == 1
    assert "x: float64 [4] with mean 2.5 published, float64 [4] with mean 2" in (
        capsys.readouterr().out
    )


def test_what_an_edit_keeps_from_being_computed_again_is_said(stored, tmp_path, capsys):
    """A result that claims to have taken a year is not drawn, and must not pass for checked."""
    with_its_hashes_mended(
        stored[1].path, lambda content: content["provenance"].update(seconds=3e7)
    )
    assert verify.main([str(tmp_path / "r"), "--sample", "3"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"1 run +skipped .* taking more than 300 s.*: not drawn", said)
    assert "2 of 2 runs agree" in said


@pytest.mark.parametrize(
    ("function", "parameter"),
    [
        ("shutil.rmtree", "path"),
        ("os.rmdir", "path"),
        ("lib.data.Path.rmdir", "self"),
        ("lib.data.os.rmdir", "path"),
        ("no_such_module.run", "path"),
    ],
)
def test_a_result_that_names_a_harmful_function_runs_nothing(tmp_path, capsys, function, parameter):
    victim = tmp_path / "victim"
    victim.mkdir()
    given = {parameter: str(victim)}
    made_by = {"device_type": "cpu", "seconds": 0.1, "threads": 1, "stamp": "0"}
    path = store.path_for(tmp_path / "r", function, given)
    store.write(path, function, given, {"a": 1}, {}, made_by)
    assert verify.main([str(tmp_path / "r")]) == 1
    said = capsys.readouterr().out
    assert f"{function} is no function of this project, so it is not run" in said
    assert victim.is_dir() and "Traceback" not in said


@pytest.mark.parametrize("wrong", [{"seconds": "1"}, {"threads": None}, {"device_type": 3}])
def test_a_result_without_a_sound_provenance_is_damaged(stored, tmp_path, wrong):
    with_its_hashes_mended(stored[1].path, lambda content: content["provenance"].update(wrong))
    [check] = [c for c in verify.verify(tmp_path / "r", 3) if c.outcome != "agrees"]
    assert (
        check.outcome == "damaged" and f"does not say its {next(iter(wrong))}" in check.details[0]
    )


def test_a_folder_in_the_place_of_a_result_is_said(stored, log):
    stored[1].path.unlink()
    stored[1].path.mkdir()
    with pytest.warns(RuntimeWarning, match="was not used|could not be saved"):
        results = go(fault_runs.noted, [r.parameters for r in stored], stored[0].path.parents[1])
    assert [r["square"] for r in results] == [1, 4, 9] and calls(log) == [2]
    shutil.rmtree(stored[1].path)
    assert again(stored) == {} and calls(log) == [2, 2]
