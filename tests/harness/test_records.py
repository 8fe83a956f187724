"""Records of verdicts: what is written, read and judged again."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from small_ledger import ENTRY, VARIANT

from harness.claims import judge
from harness.records import collect, folder_of, record

FIVE = [1.0, 1.1, 1.2, 1.0, 1.3]


def test_records_stand_below_the_build_by_their_results():
    assert folder_of("_build/results/quick") == Path("_build/verdicts/quick")
    assert folder_of(Path("results")) == Path("_build/verdicts/results")


def test_records_are_collected_and_judged_by_the_ledger_as_it_stands(load, tmp_path):
    found, folder = load(ENTRY + VARIANT), tmp_path / "records"
    made = replace(
        judge("S05", {"gap": FIVE}, claims=found),
        source="02_architecture_comparison",
        profile="quick",
        runs=15,
        sizes=(500, 1000),
    )
    assert made.verdict == "REPRODUCED"
    record([made], folder)
    assert os.listdir(folder) == ["S05.json"]
    first, *others = collect(folder, claims=found)
    assert first == made
    assert [(v.id, v.verdict) for v in others] == [("N01", "NOT-RUN"), ("S05-offgrid", "NOT-RUN")]
    harder = load(ENTRY.replace("above: 0", "above: 2"))
    [after, _] = collect(folder, claims=harder)
    assert after.verdict == "NOT-REPRODUCED" and (after.runs, after.sizes) == (15, (500, 1000))
    assert after.notes == ("Recorded as REPRODUCED; the ledger has changed since.",)


def test_parts_are_recorded_and_judged_again(load, tmp_path):
    of_parts = ENTRY.replace("seeds: 5", "seeds: 3\n  parts: 3\n  needed: 2")
    found = load(of_parts)
    evidence = {"MNIST": {"gap": [1.0, 1.1, 1.2]}, "CIFAR-10": {"gap": [1, 1, 1]}, "SVHN": {}}
    made = judge("S05", evidence, claims=found)
    record([made], tmp_path)
    [again, _] = collect(tmp_path, claims=found)
    assert again == made and (again.verdict, again.scope) == ("REPRODUCED", "2 of 3")
    harder = load(of_parts.replace("above: 0", "above: 1"))
    [after, _] = collect(tmp_path, claims=harder)
    assert after.verdict == "NOT-REPRODUCED" and after.notes[-1].startswith("Recorded as REPROD")
    assert [part.verdict for part in after.parts.values()] == [
        "INCONCLUSIVE", "NOT-REPRODUCED", "NOT-RUN",
    ]  # fmt: skip


def test_a_claim_that_lost_its_parts_is_judged_on_those_recorded(load, tmp_path):
    evidence = {"MNIST": {"gap": FIVE}}
    parts = load(ENTRY.replace("seeds: 5", "seeds: 5\n  parts: 4"))
    record([judge("S05", evidence, claims=parts)], tmp_path)
    [after, _] = collect(tmp_path, claims=load(ENTRY))
    assert (after.verdict, after.scope) == ("REPRODUCED", "1 of 1")


def test_one_seed_is_recorded(load, tmp_path):
    found = load(ENTRY.replace("seeds: 5", "seeds: 1"))
    made = judge("S05", {"gap": [1.0]}, claims=found)
    record([made], tmp_path)
    assert collect(tmp_path, claims=found)[0] == made and made.verdict == "INCONCLUSIVE"


def test_nothing_recorded_is_not_run(load, tmp_path):
    found = load(ENTRY)
    assert [v.verdict for v in collect(tmp_path / "none", claims=found)] == ["NOT-RUN"] * 2


@pytest.mark.parametrize("change", ["cut", "unknown claim", "no evidence", "no source", "a list"])
def test_a_record_that_cannot_be_used_is_named(load, tmp_path, change):
    found = load(ENTRY)
    record([judge("S05", {"gap": FIVE}, claims=found)], tmp_path)
    path = tmp_path / "S05.json"
    content = json.loads(path.read_text())
    if change == "no source":
        del content["source"]
    changes = {"unknown claim": {"id": "S99"}, "no evidence": {"evidence": None}}
    content |= changes.get(change, {})
    text = json.dumps([1] if change == "a list" else content)
    path.write_text(text[:50] if change == "cut" else text)
    with pytest.raises(ValueError, match="S05.json cannot be used"):
        collect(tmp_path, claims=found)


def test_a_full_disk_leaves_the_earlier_record(load, tmp_path, monkeypatch):
    found, folder = load(ENTRY), tmp_path / "records"
    made = judge("S05", {}, claims=found)
    record([made], folder)
    before = (folder / "S05.json").read_text()
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        record([replace(made, source="other")], folder)
    assert os.listdir(folder) == ["S05.json"] and (folder / "S05.json").read_text() == before
