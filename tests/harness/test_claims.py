"""Verdicts: from seeds to tests, from tests to parts, from parts to claims."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, combinations_with_replacement, permutations, product

import pytest

from harness import claims
from harness.ledger import Claim, Criterion
from harness.statistics import over_seeds


def ledger(*tests, seeds=3, id="A1", paper="000"):
    return {id: Claim(id, paper, "§1", "D", "It is so.", "–", "text", seeds, tests)}


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


@pytest.mark.parametrize("comparison", ["above", "at_least", "below", "at_most", "between"])
def test_one_seed_never_settles_a_mean(comparison):
    threshold = (-1e9, 1e9) if comparison == "between" else 0.0
    for value in (-1e6, 0.0, 1e6):
        found = claims.outcome_of(Criterion("m", comparison, threshold), [value])
        assert found.outcome == "inconclusive" and found.interval.p_value is None


def test_the_p_value_is_against_the_threshold():
    found = claims.outcome_of(Criterion("m", "above", 1.0), UP).interval
    assert found.p_value == over_seeds(UP, against=1.0).p_value > over_seeds(UP).p_value
    assert claims.outcome_of(Criterion("m", "between", (0.0, 1.0)), UP).interval.p_value is None
    assert claims.outcome_of(Criterion("m", "at_most", 0.0), [0, 0, 0]).interval.p_value is None


def test_seeds_are_counted():
    share = Criterion("m", "at_least", 0.5, "share_of_seeds", 0.8)
    assert claims.outcome_of(share, [1, 1, 1, 1, 0]).outcome == "pass"
    assert claims.outcome_of(share, [1, 1, 1, 0, 0]).outcome == "fail"
    every = Criterion("m", "at_least", 0.5, "every")
    assert claims.outcome_of(every, [1, 1, 1]).outcome == "pass"
    assert claims.outcome_of(every, [1, 1, 0]).outcome == "fail"
    assert claims.outcome_of(share, [1, 1, 1, 1, 0]).interval.estimate == 0.8


# --- from tests to the verdict

R, N, P, I, O = "REPRODUCED", "NOT-REPRODUCED", "PARTIAL", "INCONCLUSIVE", "NOT-RUN"
U, T = "UNINFORMATIVE", "REPORTED"
DECIDES = {  # the first that is there
    "fail": N,
    "not run": O,
    "null passes": U,
    "inconclusive": I,
    "pass": R,
}


@pytest.mark.parametrize(
    "outcomes", [some for n in range(1, 6) for some in combinations(DECIDES, n)]
)
def test_every_combination(outcomes):
    wanted = DECIDES[next(outcome for outcome in DECIDES if outcome in outcomes)]
    assert {claims.combine(order) for order in permutations(outcomes)} == {wanted}
    assert claims.combine(outcomes * 2) == wanted


def test_a_verdict_shows_what_it_rests_on():
    found = verdict({"gap": UP}, ABOVE)
    assert found.verdict == R and found.seeds == 3 and found.scope == ""
    assert found.evidence == {"gap": (1.0, 1.1, 1.2)}
    [outcome] = found.outcomes
    assert outcome.interval == over_seeds(UP)
    assert (
        str(outcome) == claims.in_words(found) == "mean of gap > 0: 1.1 [0.852, 1.35], n = 3, pass"
    )


@pytest.mark.parametrize("values", [UP, DOWN])
def test_too_few_seeds_settle_nothing(values):
    found = verdict({"gap": values}, ABOVE, seeds=5)
    assert found.verdict == O and found.notes == ("3 of the 5 seeds that a verdict needs.",)
    other = Criterion("other", "below", 0.0)
    found = verdict({"gap": UP * 2, "other": UP}, ABOVE, other, seeds=5)
    assert found.verdict == O and found.seeds == 3


def test_missing_evidence_is_never_a_pass():
    other = Criterion("other", "above", 0.0)
    for nothing in ({}, {"gap": []}):
        found = verdict(nothing, ABOVE)
        assert found.verdict == O and found.notes == () and found.seeds == 0
        assert str(found.outcomes[0]) == "mean of gap > 0: no evidence, n = 0, not run"
    half = verdict({"gap": UP}, ABOVE, other)
    assert half.verdict == O and half.notes == ("Not run: mean of other > 0.",)
    assert verdict({"gap": DOWN}, ABOVE, other).verdict == N


def test_what_a_null_passes_says_nothing():
    found = verdict({"gap": UP, "null_gap": UP}, ABOVE)
    assert found.verdict == U and found.outcomes[0].outcome == "null passes"
    for null in (DOWN, ASTRIDE, [], [1.0]):
        assert verdict({"gap": UP, "null_gap": null}, ABOVE).verdict == R
    for values, wanted in ((DOWN, N), (ASTRIDE, I), ([], O)):
        assert verdict({"gap": values, "null_gap": UP}, ABOVE).verdict == wanted
    with pytest.raises(ValueError, match="no test of 'other'"):
        verdict({"gap": UP, "null_other": UP}, ABOVE)


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
    assert found.verdict == T and found.seeds == 3 and claims.in_words(found) == ""
    assert verdict({}).verdict == verdict({"anything": []}).verdict == O


# --- from parts to the verdict


@pytest.mark.parametrize(
    ("found", "needed", "wanted"),
    [
        ([], 3, O),
        ([O, O, O, O], 1, O),
        # four of four
        ([R, R, R, R], 4, R),
        ([R, R, R, I], 4, I),
        ([R, R, R, N], 4, P),
        ([N, N, N, N], 4, N),
        ([N, N, N, I], 4, N),
        ([I, I, I, I], 4, I),
        # three of four
        ([R, R, R, N], 3, R),
        ([R, R, I, N], 3, I),
        ([R, R, N, N], 3, P),
        ([R, I, N, N], 3, P),
        ([I, I, N, N], 3, N),
        ([I, I, I, N], 3, I),
        # three of four, on the parts that were run: all of three, both of two, the one
        ([R, R, R, O], 3, R),
        ([R, R, R], 3, R),
        ([R, R, N, O], 3, P),
        ([R, R, I, O], 3, I),
        ([I, N, N, O], 3, N),
        ([R, R, O, O], 3, R),
        ([R, N, O, O], 3, P),
        ([R, O, O, O], 3, R),
        ([N, O, O, O], 3, N),
        ([I, O], 3, I),
        # two of four: two of three, one of two, the one
        ([R, R, N, O], 2, R),
        ([R, I, N, O], 2, I),
        ([R, N, O, O], 2, R),
        ([R, O, O, O], 2, R),
        # one of four
        ([R, N, N, N], 1, R),
        ([N, N, N, I], 1, I),
        ([N, N, N, N], 1, N),
        # what a null passes does not count, but what it would settle is told
        ([R, R, R, U], 3, R),
        ([R, R, U, N], 3, U),
        ([R, R, U, I], 3, I),
        ([R, U, N, N], 3, P),
        ([U, U, N, N], 3, N),
        ([U, U, U, U], 4, U),
        # without thresholds
        ([T, T, O, O], 4, T),
    ],
)
def test_parts_by_hand(found, needed, wanted):
    assert claims.combine_parts(found, parts=4, needed=needed) == wanted
    assert claims.combine_parts(found[::-1], parts=4, needed=needed) == wanted


# How many of `needed` of `parts` are needed of those that were run.
SCALED = {
    (4, 4): {4: 4, 3: 3, 2: 2, 1: 1},
    (3, 4): {4: 3, 3: 3, 2: 2, 1: 1},
    (2, 4): {4: 2, 3: 2, 2: 1, 1: 1},
    (1, 4): {4: 1, 3: 1, 2: 1, 1: 1},
    (2, 3): {3: 2, 2: 2, 1: 1},
    (3, 5): {5: 3, 4: 3, 3: 2, 2: 2, 1: 1},
}


@pytest.mark.parametrize(("needed", "parts"), SCALED)
def test_every_combination_of_parts(needed, parts):
    for found in combinations_with_replacement((R, N, I, U, O), parts):
        run = [one for one in found if one != O]
        wanted = by_completion(run, SCALED[needed, parts][len(run)]) if run else O
        assert claims.combine_parts(found, parts=parts, needed=needed) == wanted, found
        assert claims.combine_parts(run, parts=parts, needed=needed) == wanted, found


def by_completion(run: Sequence[str], needed: int) -> str:
    """The verdict by trying how the parts that straddle, then those of a null, could turn out."""

    def can(open_: set[str], every: bool = False) -> bool:
        ends = product(*[(R, N) if one in open_ else (one,) for one in run])
        return (all if every else any)(end.count(R) >= needed for end in ends)

    if can({I}, every=True):
        return R
    if can({I}):
        return I
    if can({I, U}):
        return U
    return P if R in run else N


def with_parts(*tests, parts=4, needed=3, seeds=3):
    [(id, claim)] = ledger(*tests, seeds=seeds).items()
    return {id: replace(claim, parts=parts, needed=needed)}


def test_each_part_is_judged_as_a_claim_of_its_own():
    evidence = {"a": {"gap": UP}, "b": {"gap": DOWN}, "c": {"gap": UP + UP}, "d": {}}
    found = claims.judge("A1", evidence, claims=with_parts(ABOVE))
    assert found.verdict == P and found.seeds == 3 and found.outcomes == ()
    assert found.scope == "3 of 4" and found.notes == ()
    assert [part.verdict for part in found.parts.values()] == [R, N, R, O]
    assert {name: part.evidence for name, part in found.parts.items()} == found.evidence
    for name, values in evidence.items():
        assert found.parts[name] == claims.judge("A1", values, claims=ledger(ABOVE))
    evidence["d"]["gap"] = UP
    whole = claims.judge("A1", evidence, claims=with_parts(ABOVE))
    assert (whole.verdict, whole.scope) == (R, "4 of 4")


def test_without_any_part_nothing_was_run():
    found = claims.judge("A1", {}, claims=with_parts(ABOVE))
    assert (found.verdict, found.scope, found.parts) == (O, "0 of 4", {})


def test_parts_that_are_not_there_are_scope_and_no_failure():
    few = claims.judge("A1", {"a": {"gap": UP}}, claims=with_parts(ABOVE))
    assert (few.verdict, few.scope) == (R, "1 of 4")


def test_a_part_with_too_few_seeds_was_not_run_and_says_so():
    evidence = {"a": {"gap": UP + UP}, "b": {"gap": UP}, "c": {"gap": DOWN}}
    found = claims.judge("A1", evidence, claims=with_parts(ABOVE, needed=1, seeds=5))
    assert found.verdict == R and [part.verdict for part in found.parts.values()] == [R, O, O]
    assert found.scope == "1 of 4"
    assert found.notes == ("b, c: 3 of the 5 seeds that a verdict needs.",)


def test_a_claim_without_parts_needs_all_that_it_gets():
    both = {"MNIST": {"gap": UP}, "CIFAR-10": {"gap": UP}}
    found = verdict(both, ABOVE)
    assert (found.verdict, found.scope, list(found.parts)) == (R, "2 of 2", ["MNIST", "CIFAR-10"])
    found = verdict({**both, "SVHN": {"gap": DOWN}}, ABOVE)
    assert (found.verdict, found.scope) == (P, "3 of 3")
    assert verdict({**both, "SVHN": {"gap": ASTRIDE}}, ABOVE).verdict == I
    assert verdict({**both, "SVHN": {}}, ABOVE).scope == "2 of 3"


def test_parts_of_a_claim_without_threshold_are_reported_only():
    found = claims.judge("A1", {"a": {"x": UP}, "b": {"x": UP}}, claims=with_parts())
    assert found.verdict == T and claims.in_words(found) == "a: REPORTED; b: REPORTED"


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        ({name: {"gap": UP} for name in "abcde"}, "A1 has 4 parts, not 5"),
        ({"gap": UP}, "must be {part: {measure: values}}"),
        ({"a": {"gap": UP}, "gap": UP}, "must be {part: {measure: values}}"),
        ({"a": {"b": {"gap": UP}}}, "Part 'a' of claim A1 has parts of its own"),
        ({"a": {"gap": UP}, "b": {"gpa": UP}}, "Part 'b': Claim A1 has no test of 'gpa'"),
        ({"a": {"gap": [float("nan")]}}, "Part 'a': .* is nan in its seed number 0"),
    ],
)
def test_evidence_that_does_not_fit_the_parts_is_an_error(evidence, words):
    with pytest.raises(ValueError, match=words):
        claims.judge("A1", evidence, claims=with_parts(ABOVE))


def test_evidence_half_by_part_is_an_error_without_parts_too():
    with pytest.raises(ValueError, match="must be {part: {measure: values}}"):
        verdict({"a": {"gap": UP}, "gap": UP}, ABOVE)


def test_parts_in_words():
    two = with_parts(ABOVE, parts=2, needed=2)
    found = claims.judge("A1", {"MNIST": {"gap": UP}, "CIFAR-10": {"gap": DOWN}}, claims=two)
    up, down = (str(part.outcomes[0]) for part in found.parts.values())
    assert claims.in_words(found) == f"MNIST: {R} ({up}); CIFAR-10: {N} ({down})"


# --- several claims

NARROW = [0.35, 0.5, 0.65]  # p = 0.029 against 0; that of UP is 0.003


def many(*ids, paper="000", **settings):
    return {k: c for id in ids for k, c in ledger(ABOVE, id=id, paper=paper, **settings).items()}


def survivors(found, evidence):
    return claims.survives(
        [claims.judge(id, values, claims=found) for id, values in evidence.items()], claims=found
    )


def test_a_claim_must_survive_all_tests_of_its_paper():
    found = many("A1", "A2", "A3")
    assert survivors(found, {"A1": {"gap": UP}, "A2": {"gap": NARROW}}) == {"A1": True, "A2": True}
    three = {"A1": {"gap": UP}, "A2": {"gap": NARROW}, "A3": {"gap": ASTRIDE}}
    assert survivors(found, three) == {"A1": True, "A2": False}  # what straddles was asked, too
    apart = many("A1", "A2") | many("A3", paper="001")
    assert survivors(apart, three) == {"A1": True, "A2": True}


def test_a_failure_must_survive_too_and_parts_are_tests():
    found = {"A1": with_parts(ABOVE, needed=2)["A1"]}
    down = [-value for value in NARROW]
    assert survivors(found, {"A1": {"a": {"gap": UP}, "b": {"gap": down}}}) == {"A1": True}
    more = {"a": {"gap": UP}, "b": {"gap": down}, "c": {"gap": down}}
    assert survivors(found, {"A1": more}) == {"A1": False}


def test_what_has_no_p_value_or_no_verdict_is_left_out():
    every = Criterion("gap", "above", 0.0, "every")
    found = many("A1", "A2", "A3", seeds=3) | ledger(every, id="A4")
    evidence = {
        "A1": {"gap": NARROW},
        "A2": {"gap": [1.0, 1.1]},  # too few seeds
        "A3": {"gap": [1.0, 1.0, 1.0]},  # no spread
        "A4": {"gap": UP},  # seeds are counted
    }
    assert survivors(found, evidence) == {"A1": True}
    assert claims.survives([], claims=found) == {}
