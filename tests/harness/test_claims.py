"""Verdicts: from seeds to tests, from tests to parts and claims, and their records."""

import json
import os
from dataclasses import replace

import pytest
from small_ledger import ENTRY

from harness import claims
from harness.ledger import Claim, Criterion


def ledger(*tests, seeds=3, id="A1"):
    return {id: Claim(id, "000", "§1", "D", "It is so.", "–", "text", seeds, tests)}


ABOVE = Criterion("gap", "above", 0.0)
UP, DOWN, ASTRIDE = [1.0, 1.1, 1.2], [-1.0, -1.1, -1.2], [-1.0, 0.1, 1.2]


def verdict(evidence, *tests, seeds=3):
    return claims.judge("A1", evidence, claims=ledger(*tests, seeds=seeds))


# --- one test


@pytest.mark.parametrize(
    ("comparison", "threshold", "values", "outcome"),
    [
        ("above", 0, UP, "pass"),
        ("above", 0, DOWN, "fail"),
        ("above", 0, ASTRIDE, "inconclusive"),
        ("above", 1, [1, 1, 1], "fail"),
        ("at_least", 1, [1, 1, 1], "pass"),
        ("at_least", 0.3, [0.1 + 0.2] * 3, "pass"),
        ("below", 0, DOWN, "pass"),
        ("below", 0, UP, "fail"),
        ("below", 1, [1, 1, 1], "fail"),
        ("at_most", 1, [1, 1, 1], "pass"),
        ("at_most", 0, ASTRIDE, "inconclusive"),
        ("between", (0, 2), UP, "pass"),
        ("between", (0, 2), DOWN, "fail"),
        ("between", (3, 4), UP, "fail"),
        ("between", (0, 1.1), UP, "inconclusive"),
        ("between", (-0.1, 0.1), ASTRIDE, "inconclusive"),
    ],
)
def test_the_whole_interval_must_be_on_the_right_side(comparison, threshold, values, outcome):
    assert claims.outcome_of(Criterion("m", comparison, threshold), values).outcome == outcome


def test_the_median_is_not_moved_by_one_seed():
    values = [1.0] * 8 + [-100.0]
    assert claims.outcome_of(Criterion("m", "above", 0.0, "median"), values).outcome == "pass"
    assert claims.outcome_of(Criterion("m", "above", 0.0), values).outcome == "inconclusive"


def test_seeds_are_counted():
    share = Criterion("m", "at_least", 0.5, "share_of_seeds", 0.8)
    assert claims.outcome_of(share, [1, 1, 1, 1, 0]).outcome == "pass"
    assert claims.outcome_of(share, [1, 1, 1, 0, 0]).outcome == "fail"
    every = Criterion("m", "at_least", 0.5, "every")
    assert claims.outcome_of(every, [1, 1, 1]).outcome == "pass"
    assert claims.outcome_of(every, [1, 1, 0]).outcome == "fail"
    assert claims.outcome_of(share, [1, 1, 1, 1, 0]).interval.estimate == 0.8


# --- from tests to the verdict


@pytest.mark.parametrize(
    ("outcomes", "wanted"),
    [
        (["pass"], "REPRODUCED"),
        (["pass", "pass"], "REPRODUCED"),
        (["fail", "fail"], "NOT-REPRODUCED"),
        (["pass", "fail"], "PARTIAL"),
        (["pass", "fail", "inconclusive"], "PARTIAL"),
        (["pass", "fail", "not run"], "PARTIAL"),
        (["pass", "inconclusive"], "INCONCLUSIVE"),
        (["fail", "inconclusive"], "INCONCLUSIVE"),
        (["inconclusive"], "INCONCLUSIVE"),
        (["pass", "not run"], "INCONCLUSIVE"),
        (["fail", "not run"], "INCONCLUSIVE"),
        (["inconclusive", "not run"], "INCONCLUSIVE"),
        (["not run", "not run"], "NOT-RUN"),
    ],
)
def test_every_combination(outcomes, wanted):
    assert claims.combine(outcomes) == wanted == claims.combine(outcomes[::-1])


def test_a_verdict_shows_what_it_rests_on():
    found = verdict({"gap": UP}, ABOVE)
    assert found.verdict == "REPRODUCED" and found.seeds == 3
    assert found.evidence == {"gap": (1.0, 1.1, 1.2)}
    [outcome] = found.outcomes
    assert outcome.interval.estimate == pytest.approx(1.1)
    assert 1.0 <= outcome.interval.low < 1.1 < outcome.interval.high <= 1.2
    assert str(outcome) == "mean of gap > 0: 1.1 [1, 1.2], n = 3, pass"


@pytest.mark.parametrize("values", [UP, DOWN])
def test_too_few_seeds_settle_nothing(values):
    found = verdict({"gap": values}, ABOVE, seeds=5)
    assert found.verdict == "INCONCLUSIVE" and "3 of the 5 seeds" in found.notes[0]
    other = Criterion("other", "below", 0.0)
    found = verdict({"gap": UP * 2, "other": UP}, ABOVE, other, seeds=5)
    assert found.verdict == "INCONCLUSIVE" and found.seeds == 3


def test_missing_evidence_is_never_a_pass():
    other = Criterion("other", "above", 0.0)
    assert verdict({}, ABOVE).verdict == "NOT-RUN"
    assert verdict({"gap": []}, ABOVE).verdict == "NOT-RUN"
    half = verdict({"gap": UP}, ABOVE, other)
    assert half.verdict == "INCONCLUSIVE" and half.notes == ("Not run: mean of other > 0.",)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_evidence_that_is_not_finite_is_an_error(value):
    with pytest.raises(ValueError, match="'gap' of claim A1 is (nan|inf) in its seed number 1"):
        verdict({"gap": [1.0, value, 1.0]}, ABOVE)


def test_misspelt_measures_and_claims_are_errors():
    with pytest.raises(ValueError, match="A1 has no test of 'gpa'"):
        verdict({"gpa": UP}, ABOVE)
    with pytest.raises(KeyError, match="no claim 'A2'"):
        claims.judge("A2", {}, claims=ledger(ABOVE))


def test_a_claim_without_threshold_is_reported_only():
    found = verdict({"anything": UP})
    assert found.verdict == "INCONCLUSIVE" and "no threshold" in found.notes[0]
    assert verdict({}).verdict == "NOT-RUN"


# --- from parts to the verdict

R, N, P, I, O = "REPRODUCED", "NOT-REPRODUCED", "PARTIAL", "INCONCLUSIVE", "NOT-RUN"


@pytest.mark.parametrize(
    ("found", "needed", "wanted"),
    [
        ([], 3, O),
        ([O, O, O, O], 1, O),
        ([R, R, R], 3, R),
        ([R, R, R, R], 4, R),
        ([R, R, R, N], 3, R),
        ([R, P, N, I], 1, R),
        ([R, R, N, N], 3, P),
        ([R, N, N], 3, P),
        ([R, P, P, I], 3, P),
        ([P, P], 3, P),
        ([P, N, N, N], 3, P),
        ([R, N], 4, P),
        ([N, N], 3, N),
        ([N, N, N, N], 3, N),
        ([N, N, I, O], 3, N),
        ([N, N, N, I], 1, I),
        ([R, R], 3, I),
        ([R, R, N], 3, I),
        ([R, R, N, I], 3, I),
        ([N], 3, I),
        ([P, I, I, O], 3, I),
        ([I, I, I, I], 3, I),
        ([I, O], 3, I),
    ],
)
def test_every_combination_of_parts(found, needed, wanted):
    assert claims.combine_parts(found, parts=4, needed=needed) == wanted
    assert claims.combine_parts(found[::-1], parts=4, needed=needed) == wanted


def with_parts(*tests, parts=4, needed=3, seeds=3):
    [(id, claim)] = ledger(*tests, seeds=seeds).items()
    return {id: replace(claim, parts=parts, needed=needed)}


def test_each_part_is_judged_as_a_claim_of_its_own():
    evidence = {"a": {"gap": UP}, "b": {"gap": DOWN}, "c": {"gap": UP + UP}, "d": {}}
    found = claims.judge("A1", evidence, claims=with_parts(ABOVE))
    assert found.verdict == I and found.seeds == 3 and found.outcomes == ()
    assert found.notes == ("3 of 4 parts have evidence; 2 reproduced.",)
    assert [part.verdict for part in found.parts.values()] == [R, N, R, O]
    assert {name: part.evidence for name, part in found.parts.items()} == found.evidence
    for name, values in evidence.items():
        assert found.parts[name] == claims.judge("A1", values, claims=ledger(ABOVE))
    evidence["d"]["gap"] = UP
    assert claims.judge("A1", evidence, claims=with_parts(ABOVE)).verdict == R
    assert claims.judge("A1", {}, claims=with_parts(ABOVE)).verdict == O


def test_a_part_with_too_few_seeds_stays_open_and_says_so():
    evidence = {"a": {"gap": UP + UP}, "b": {"gap": UP}, "c": {"gap": DOWN}}
    found = claims.judge("A1", evidence, claims=with_parts(ABOVE, needed=1, seeds=5))
    assert found.verdict == R and [part.verdict for part in found.parts.values()] == [R, I, I]
    assert found.notes[1:] == ("b, c: 3 of the 5 seeds that a verdict needs.",)


def test_parts_of_a_claim_without_threshold_are_reported_only():
    found = claims.judge("A1", {"a": {"x": UP}, "b": {"x": UP}}, claims=with_parts())
    assert found.verdict == I and found.notes[1].startswith("a, b: Reported")
    assert claims.as_frame([found], claims=with_parts())["evidence"][0] == f"a: {I}; b: {I}"


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        ({name: {"gap": UP} for name in "abcde"}, "A1 has 4 parts, not 5"),
        ({"gap": UP}, "must be {part: {measure: values}}; 'gap' is not so"),
        ({"a": {"gap": UP}, "gap": UP}, "must be {part: {measure: values}}; 'gap' is not so"),
        ({"a": {"b": {"gap": UP}}}, "Part 'a': .* must be {measure: values}; 'b' is not so"),
        ({"a": {"gap": UP}, "b": {"gpa": UP}}, "Part 'b': Claim A1 has no test of 'gpa'"),
        ({"a": {"gap": [float("nan")]}}, "Part 'a': .* is nan in its seed number 0"),
    ],
)
def test_evidence_that_does_not_fit_the_parts_is_an_error(evidence, words):
    with pytest.raises(ValueError, match=words):
        claims.judge("A1", evidence, claims=with_parts(ABOVE))


def test_evidence_by_part_for_a_claim_without_parts_is_an_error():
    with pytest.raises(ValueError, match="A1 must be {measure: values}; 'a' is not so"):
        verdict({"a": {"gap": UP}}, ABOVE)


def test_parts_in_tables():
    two = with_parts(ABOVE, parts=2, needed=2)
    found = claims.judge("A1", {"MNIST": {"gap": UP}, "CIFAR-10": {"gap": DOWN}}, claims=two)
    plain = verdict({"gap": UP}, ABOVE)
    up, down = "mean of gap > 0: 1.1 [1, 1.2], n = 3, pass", found.parts["CIFAR-10"].outcomes[0]
    rows = claims.as_frame([found, plain], claims=two)
    assert list(rows["verdict"]) == [P, R] and list(rows["evidence"]) == [
        f"MNIST: {R} ({up}); CIFAR-10: {N} ({down})", up,
    ]  # fmt: skip
    assert claims.parts_frame([found, plain]).to_dict("records") == [
        {"claim": "A1", "part": "MNIST", "verdict": R, "evidence": up},
        {"claim": "A1", "part": "CIFAR-10", "verdict": N, "evidence": str(down)},
    ]
    assert list(claims.parts_frame([])) == ["claim", "part", "verdict", "evidence"]


# --- records


def test_records_are_collected_and_judged_by_the_ledger_as_it_stands(load, tmp_path):
    found = load(ENTRY)
    folder = tmp_path / "records"
    made = claims.judge("S05", {"gap": [1.0, 1.1, 1.2, 1.0, 1.3]}, claims=found)
    assert made.verdict == "REPRODUCED"
    claims.record([made], folder, source="01/compare", profile="quick")
    assert os.listdir(folder) == ["S05.json"]
    first, second = claims.collect(folder, claims=found)
    assert (first.verdict, first.source, first.profile) == ("REPRODUCED", "01/compare", "quick")
    assert first.evidence == made.evidence and first.outcomes == made.outcomes
    assert (second.id, second.verdict) == ("N01", "NOT-RUN")
    harder = load(ENTRY.replace("above: 0", "above: 2"))
    [after, _] = claims.collect(folder, claims=harder)
    assert after.verdict == "PARTIAL" and "Recorded as REPRODUCED" in after.notes[0]
    table = claims.as_frame([after, second], claims=harder)
    assert list(table["verdict"]) == ["PARTIAL", "NOT-RUN"] and "gap > 2" in table["evidence"][0]


def test_parts_are_recorded_and_judged_again(load, tmp_path):
    of_parts = ENTRY.replace("seeds: 5", "seeds: 3\n  parts: 3\n  needed: 2")
    found = load(of_parts)
    evidence = {"MNIST": {"gap": [1.0, 1.1, 1.2]}, "CIFAR-10": {"gap": [1, 1, 1]}, "SVHN": {}}
    made = claims.judge("S05", evidence, claims=found)
    claims.record([made], tmp_path, source="01/compare", profile="quick")
    [again, _] = claims.collect(tmp_path, claims=found)
    assert again == replace(made, source="01/compare", profile="quick") and again.verdict == R
    harder = load(of_parts.replace("above: 0", "above: 1"))
    [after, _] = claims.collect(tmp_path, claims=harder)
    assert after.verdict == I and after.notes[-1].startswith("Recorded as REPRODUCED")
    assert [part.verdict for part in after.parts.values()] == [I, P, O]
    with pytest.raises(ValueError, match="S05.json cannot be used .*must be {measure: values}"):
        claims.collect(tmp_path, claims=load(ENTRY))


def test_nothing_recorded_is_not_run(load, tmp_path):
    found = load(ENTRY)
    assert [v.verdict for v in claims.collect(tmp_path / "none", claims=found)] == ["NOT-RUN"] * 2


@pytest.mark.parametrize("change", ["cut", "unknown claim", "no evidence"])
def test_a_record_that_cannot_be_used_is_named(load, tmp_path, change):
    found = load(ENTRY)
    claims.record([claims.judge("S05", {}, claims=found)], tmp_path, source="s", profile="quick")
    path = tmp_path / "S05.json"
    content = json.loads(path.read_text())
    if change == "cut":
        path.write_text(path.read_text()[:50])
    else:
        content.update({"id": "S99"} if change == "unknown claim" else {"evidence": None})
        path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="S05.json cannot be used"):
        claims.collect(tmp_path, claims=found)


def test_a_full_disk_leaves_the_earlier_record(load, tmp_path, monkeypatch):
    found = load(ENTRY)
    folder = tmp_path / "records"
    made = [claims.judge("S05", {}, claims=found)]
    claims.record(made, folder, source="s", profile="quick")
    before = (folder / "S05.json").read_text()
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        claims.record(made, folder, source="other", profile="quick")
    assert os.listdir(folder) == ["S05.json"] and (folder / "S05.json").read_text() == before
