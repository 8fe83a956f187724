"""From evidence to verdicts, and to the rows and lines that show them."""

from types import SimpleNamespace

import pytest

from harness.claims import judge
from harness.ledger import Claim, Criterion
from harness.results import Result, Runs
from harness.verdicts import evidence_lines, judged, overview


def claim(id: str, parts: int = 0, **more) -> Claim:
    test = Criterion("gap", "above", 0.0)
    return Claim(
        id, "004", "§1", "D", f"Statement {id}.", "fig", "Above 0.", 2, (test,), parts, parts,
        chapter="07_toy", **more,
    )  # fmt: skip


LEDGER = {
    "A01": claim("A01"),
    "A02-n50": claim("A02-n50", parts=3, row="A02", differs="50 images."),
    "A03": claim("A03"),
    "A04": claim("A04"),
}
UP, DOWN = [1.0, 1.1], [-1.0, -1.1]
EVIDENCE = SimpleNamespace(
    A01=lambda runs: {"MNIST": {"gap": UP}, "SVHN": {"gap": DOWN}},
    A02_n50=lambda runs: {"MNIST": {"gap": UP}, "SVHN": {"gap": UP}},
    A03=lambda runs: {},  # nothing to judge, and A04 is another chapter's
)


def result(seed: int, **parameters) -> Result:
    return Result("toy.run", {"seed": seed, **parameters}, "reused")


# --- judging ------------------------------------------------------------------------------------


def test_a_claim_is_judged_by_the_function_of_its_name():
    found = judged(LEDGER, EVIDENCE, runs=Runs([]), others="ignored")
    assert [(v.id, v.verdict, v.scope) for v in found] == [
        ("A01", "PARTIAL", "2 of 2"),
        ("A02-n50", "REPRODUCED", "2 of 3"),
    ]
    [only] = judged(LEDGER, EVIDENCE, names=["A02-n50"], runs=Runs([]))
    assert only.id == "A02-n50"


def test_a_verdict_knows_its_chapter_its_profile_and_the_runs_it_was_given():
    runs = Runs([result(1, n=50), result(2, n=500), result(3)])
    asked = {"some": runs, "same": Runs(runs[:2]), "none": Runs([])}
    evidence = SimpleNamespace(A01=lambda asked, runs: {"gap": UP})
    [found] = judged(LEDGER, evidence, profile="quick", runs=runs, asked=asked, more=Runs(runs))
    assert (found.source, found.profile) == ("07_toy", "quick")
    assert (found.runs, found.sizes) == (3, (50, 500))  # a run that is given twice counts once


def test_evidence_that_does_not_fit_names_its_claim():
    wrong = SimpleNamespace(A01=lambda: {"gpa": UP})
    with pytest.raises(ValueError, match="Claim A01 has no test of 'gpa'"):
        judged(LEDGER, wrong)


# --- rows and lines -----------------------------------------------------------------------------


def test_a_row_says_what_was_judged_and_by_what():
    first, second = overview(judged(LEDGER, EVIDENCE, runs=[]), LEDGER).to_dict("records")
    assert first == {
        "claim": "A01",
        "statement": "Statement A01.",
        "judged by": "Above 0.",
        "verdict": "PARTIAL",
        "on": "2 of 2 parts. MNIST, SVHN. MNIST: reproduced; SVHN: not-reproduced",
    }
    assert second["judged by"] == "Above 0. **Not counted as A02:** 50 images."
    assert second["on"] == "2 of 3 parts. MNIST, SVHN"


def test_a_claim_without_parts_has_a_dash():
    assert overview([judge("A01", {"gap": UP}, claims=LEDGER)], LEDGER)["on"].tolist() == ["–"]


@pytest.mark.parametrize(
    ("ups", "downs", "told"),
    [
        (1, 4, "5 of 6 parts. 4 not-reproduced, 1 reproduced"),
        (5, 1, "6 of 6 parts. 5 reproduced, 1 not-reproduced"),
        (6, 0, "6 of 6 parts"),
    ],
)
def test_many_parts_are_not_named_one_by_one(ups, downs, told):
    many = {"A02-n50": claim("A02-n50", parts=6)}
    values = {f"cell {i}": {"gap": UP if i < ups else DOWN} for i in range(ups + downs)}
    assert overview([judge("A02-n50", values, claims=many)], many)["on"].tolist() == [told]


def test_a_line_a_claim_or_part_has_every_test():
    found = judged(LEDGER, EVIDENCE, runs=[])
    [outcome] = found[0].parts["MNIST"].outcomes
    lines = evidence_lines(found)
    assert lines[0] == f"- **A01**, MNIST: REPRODUCED. {outcome}" and len(lines) == 4
    plain = judge("A01", {"gap": UP}, claims=LEDGER)
    assert evidence_lines([plain]) == [f"- **A01**: REPRODUCED. {plain.outcomes[0]}"]


def test_a_line_without_tests_says_why():
    free = {"A01": Claim("A01", "004", "§1", "N", "S.", "–", "None.", 1, ())}
    told = judge("A01", {"x": UP}, claims=free)
    assert evidence_lines([told]) == ["- **A01**: REPORTED. no threshold"]
