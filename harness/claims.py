"""Judge the papers' claims by thresholds that were fixed before the runs.

The ledger is a folder with a YAML file a paper (`harness.ledger`), one entry a claim:

    S05:
      paper: "000"                # in quotes: YAML reads a bare 000 as the number 0
      where: §4, Fig 1
      chapter: 02_architecture_comparison   # the notebook that judges it, or will
      kind: D                     # Q D V P N T M, as the ledger of claims explains
      statement: ViTs show the highest Accuracy Difference.
      reference: fig only         # what the paper prints
      criterion: Difference between the ViT and the next above 0, in 3 of 4 data sets.
      seeds: 5                    # fewer are never enough for a verdict
      parts: 4                    # optional: how many data sets, or cells, the claim speaks of
      needed: 3                   # optional, with parts only: how many must hold (default: all)
      figure: fig-fooled          # optional: the figure that shows it
      caveat: One sentence.       # optional: what a reader of the verdict must know
      missing: SVHN               # optional: what it takes, where nothing was run
      tests:                      # may be empty: then the claim is reported, not judged
        - measure: vit_minus_next # the name under which a chapter hands in its evidence
          above: 0                # or at_least, at_most, below: a number; or between: [a, b]
        - measure: vit_is_highest
          at_least: 1
          statistic: share_of_seeds   # mean (default), share_of_seeds, every
          share: 0.8                  # needed with share_of_seeds only

An entry that is no row of the papers' claims but varies one (a smaller scale, another protocol, our
attack, a new measure) has two more fields, and never counts as the row:

      row: S05
      differs: Patches moved off the grid of tokens.

A test passes when Student's 95 % interval of the mean over seeds lies wholly on the right side of
the threshold, fails when it lies wholly on the wrong side, and is inconclusive when it straddles
it. `share_of_seeds` and `every` count seeds, so they pass or fail. The tests of a claim are a
conjunction:

    any test fails                      NOT-REPRODUCED
    any test without evidence           NOT-RUN        also with fewer seeds than `seeds`
    a null passes any test              UNINFORMATIVE  what passes is no evidence for the claim
    any test inconclusive               INCONCLUSIVE   an interval straddles its threshold
    all pass                            REPRODUCED
    the claim has no tests              REPORTED

A null is what needs no attack, such as random mixtures: evidence may hand in `null_<measure>`, which
is held against the threshold of the measure. Where it passes, passing says nothing.

A claim whose evidence comes by part, such as a data set or an architecture on a data set, is judged
part by part, as above, and then on the parts that were run; how many these are is its *scope*,
printed beside the verdict. Of `needed` of `parts`, as large a share is needed of those that were
run, rounded up; without `parts` all are needed.

    no part was run                     NOT-RUN
    enough parts are REPRODUCED         REPRODUCED
    too many are UNINFORMATIVE          UNINFORMATIVE
    enough can no longer be             PARTIAL        if a part is REPRODUCED, else NOT-REPRODUCED
    anything else                       INCONCLUSIVE   the parts that straddle decide
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from harness.ledger import Claim, Criterion
from harness.statistics import LEVEL, Interval, holm, over_seeds

# {measure: one value a seed}, or by part {part: {measure: one value a seed}}
Evidence = Mapping[str, Sequence[float]] | Mapping[str, Mapping[str, Sequence[float]]]

VERDICTS = (
    "REPRODUCED", "PARTIAL", "NOT-REPRODUCED", "UNINFORMATIVE", "INCONCLUSIVE", "REPORTED", "NOT-RUN",
)  # fmt: skip
NULL = "null_"  # before the name of a measure: what its null reaches


@dataclass(frozen=True)
class Outcome:
    """What one test found: "pass", "fail", "inconclusive", "not run" (then no interval), or
    "null passes" for one that its null passes, too.

    The interval's p-value is against the threshold; None where that is two numbers, where seeds are
    counted or all equal, and below two seeds.
    """

    criterion: str
    outcome: str
    seeds: int
    interval: Interval | None = None

    def __str__(self) -> str:
        found = f"{self.interval}" if self.interval else "no evidence"
        return f"{self.criterion}: {found}, n = {self.seeds}, {self.outcome}"


@dataclass(frozen=True)
class Verdict:
    """The verdict on a claim, with what it rests on.

    seeds: the smallest number of seeds in any test with evidence.  evidence: {measure: per-seed
    values}, by part if it came so.  parts: the verdict on each part; the outcomes are theirs.
    scope: how many parts could be judged, "3 of 4".  source, profile: which chapter recorded it,
    and where its results are.  runs, sizes: how many runs it was given, and their numbers of
    training images.
    """

    id: str
    verdict: str
    outcomes: tuple[Outcome, ...]
    seeds: int
    notes: tuple[str, ...] = ()
    evidence: Evidence | None = None
    parts: Mapping[str, Verdict] = field(default_factory=dict)
    scope: str = ""
    source: str = ""
    profile: str = ""
    runs: int = 0
    sizes: tuple[int, ...] = ()


# --- judging ----------------------------------------------------------------------------------


def judge(id: str, evidence: Evidence, *, claims: Mapping[str, Claim]) -> Verdict:
    """The verdict on claim `id` from {measure: one value a seed}, or {part: {measure: ...}}.

    claims: the ledger. A measure without values counts as not run. Raises KeyError for an unknown
    claim, ValueError for a measure that the claim does not have, a value that is not finite,
    evidence half by part, evidence without parts for a claim with parts, parts of parts, and more
    parts than the claim has.
    """
    if id not in claims:
        raise KeyError(f"There is no claim {id!r} in the ledger.")
    claim = claims[id]
    by_part = {isinstance(value, Mapping) for value in evidence.values()}
    if len(by_part) > 1 or (claim.parts and by_part == {False}):
        raise ValueError(f"The evidence for claim {id} must be {{part: {{measure: values}}}}.")
    if by_part == {True} or (claim.parts and not evidence):
        return _judge_parts(claim, evidence)
    values = {measure: _finite(id, measure, v) for measure, v in evidence.items()}
    if not claim.tests:
        seeds = min(map(len, values.values()), default=0)
        return Verdict(id, "REPORTED" if seeds else "NOT-RUN", (), seeds, (), values)
    measures = {test.measure for test in claim.tests}
    if unknown := {name.removeprefix(NULL) for name in values} - measures:
        raise ValueError(f"Claim {id} has no test of {min(unknown)!r}.")
    outcomes = tuple(
        _beside_null(test, outcome_of(test, values.get(test.measure, ())), values)
        for test in claim.tests
    )
    seeds = min((o.seeds for o in outcomes if o.seeds), default=0)
    notes = [f"Not run: {o.criterion}." for o in outcomes if o.outcome == "not run" and seeds]
    verdict = combine([outcome.outcome for outcome in outcomes])
    if 0 < seeds < claim.seeds:
        verdict = "NOT-RUN"
        notes.append(f"{seeds} of the {claim.seeds} seeds that a verdict needs.")
    return Verdict(id, verdict, outcomes, seeds, tuple(notes), values)


def _judge_parts(claim: Claim, evidence: Mapping[str, Mapping[str, Sequence[float]]]) -> Verdict:
    """Judge every part as a claim of its own, and the claim by the parts' verdicts."""
    if claim.parts and len(evidence) > claim.parts:
        raise ValueError(f"Claim {claim.id} has {claim.parts} parts, not {len(evidence)}.")
    alone = {claim.id: replace(claim, parts=0, needed=0)}
    parts: dict[str, Verdict] = {}
    alike: dict[str, list[str]] = {}  # the parts that share a note
    for name, values in evidence.items():
        if any(isinstance(value, Mapping) for value in values.values()):
            raise ValueError(f"Part {name!r} of claim {claim.id} has parts of its own.")
        try:
            parts[name] = judge(claim.id, values, claims=alone)
        except ValueError as error:
            raise ValueError(f"Part {name!r}: {error}") from error
        for note in parts[name].notes:
            alike.setdefault(note, []).append(name)
    found = [part.verdict for part in parts.values()]
    run = len(found) - found.count("NOT-RUN")
    of = claim.parts or len(found)
    return Verdict(
        claim.id,
        combine_parts(found, parts=of, needed=claim.needed or of),
        outcomes=(),
        seeds=min((part.seeds for part in parts.values() if part.seeds), default=0),
        notes=tuple(f"{', '.join(names)}: {note}" for note, names in alike.items()),
        evidence={name: part.evidence for name, part in parts.items()},
        parts=parts,
        scope=f"{run} of {of}",
    )


def _beside_null(test: Criterion, found: Outcome, values: Mapping[str, Sequence[float]]) -> Outcome:
    """The outcome, or "null passes" if what passed is passed by the null of the measure, too."""
    null = outcome_of(test, values.get(NULL + test.measure, ()))
    both = found.outcome == null.outcome == "pass"
    return replace(found, outcome="null passes") if both else found


def outcome_of(test: Criterion, values: Sequence[float]) -> Outcome:
    """Hold the values of the seeds against the threshold."""
    seeds = len(values)
    if not seeds:
        return Outcome(str(test), "not run", 0)
    if test.statistic in ("share_of_seeds", "every"):
        needed = 1.0 if test.statistic == "every" else test.share
        share = float(np.mean([_right(test, value, value) for value in values]))
        verdict = "pass" if share >= needed - 1e-12 else "fail"
        return Outcome(str(test), verdict, seeds, Interval(share, share, share))
    bound = test.threshold
    interval = over_seeds(values, against=0.0 if isinstance(bound, tuple) else bound)
    if isinstance(bound, tuple) or interval.low == interval.high:
        interval = replace(interval, p_value=None)
    if _right(test, interval.low, interval.high):
        verdict = "pass"
    else:
        verdict = "fail" if _wrong(test, interval.low, interval.high) else "inconclusive"
    return Outcome(str(test), verdict, seeds, interval)


def combine(outcomes: Sequence[str]) -> str:
    """The verdict that follows from the tests' outcomes; the table is at the top of this file."""
    found = set(outcomes)
    if "fail" in found:
        return "NOT-REPRODUCED"
    if "not run" in found:
        return "NOT-RUN"
    if "null passes" in found:
        return "UNINFORMATIVE"
    return "INCONCLUSIVE" if "inconclusive" in found else "REPRODUCED"


def combine_parts(verdicts: Sequence[str], *, parts: int, needed: int) -> str:
    """The verdict that follows from the verdicts on parts, of which there are `parts` in all.

    The table is at the top of this file.
    """
    found = Counter(verdicts)
    run = len(verdicts) - found["NOT-RUN"]
    if not run:
        return "NOT-RUN"
    if found["REPORTED"]:
        return "REPORTED"
    needed = math.ceil(needed * run / parts - 1e-9)
    if found["REPRODUCED"] >= needed:
        return "REPRODUCED"
    if found["REPRODUCED"] + found["INCONCLUSIVE"] >= needed:
        return "INCONCLUSIVE"
    if found["REPRODUCED"] + found["INCONCLUSIVE"] + found["UNINFORMATIVE"] >= needed:
        return "UNINFORMATIVE"
    return "PARTIAL" if found["REPRODUCED"] else "NOT-REPRODUCED"


def survives(verdicts: Sequence[Verdict], *, claims: Mapping[str, Claim]) -> dict[str, bool]:
    """Whether each judged claim's decisive tests stay so after Holm's correction, by its id.

    The family are all judged tests with a p-value of one paper, of all parts (Holm 1979), whatever
    they found. Claims that rest on no decisive one of them are left out.
    """
    families: dict[str, list[tuple[str, Outcome, float]]] = {}
    for verdict in verdicts:
        family = families.setdefault(claims[verdict.id].paper, [])
        for part in verdict.parts.values() or [verdict]:
            for outcome in part.outcomes if part.verdict != "NOT-RUN" else ():
                if outcome.interval and outcome.interval.p_value is not None:
                    family.append((verdict.id, outcome, outcome.interval.p_value))
    kept: dict[str, bool] = {}
    for family in families.values():
        for (id, outcome, _), p in zip(family, holm([p for *_, p in family])):
            if outcome.outcome in ("pass", "fail"):
                kept[id] = kept.get(id, True) and bool(p < 1 - LEVEL)
    return kept


def _right(test: Criterion, low: float, high: float) -> bool:
    """Whether all of [low, high] meets the threshold."""
    bound = test.threshold
    match test.comparison:
        case "at_least":
            return low >= bound
        case "above":
            return low > bound
        case "at_most":
            return high <= bound
        case "below":
            return high < bound
        case _:
            return bound[0] <= low and high <= bound[1]


def _wrong(test: Criterion, low: float, high: float) -> bool:
    """Whether none of [low, high] meets the threshold."""
    bound = test.threshold
    match test.comparison:
        case "at_least":
            return high < bound
        case "above":
            return high <= bound
        case "at_most":
            return low > bound
        case "below":
            return low >= bound
        case _:
            return high < bound[0] or low > bound[1]


def _finite(id: str, measure: str, values: Sequence[float]) -> tuple[float, ...]:
    numbers = tuple(float(value) for value in values)
    for seed, number in enumerate(numbers):
        if not np.isfinite(number):
            raise ValueError(
                f"The evidence for {measure!r} of claim {id} is {number} in its seed number "
                f"{seed}: a run that diverged needs a rule, not an average."
            )
    return numbers


# --- in words ---------------------------------------------------------------------------------


def in_words(verdict: Verdict) -> str:
    """The outcomes of the tests: `mean of gap > 0: 1.1 [1, 1.2], n = 3, pass`; by part, if any."""
    if not verdict.parts:
        return "; ".join(map(str, verdict.outcomes))
    return "; ".join(
        f"{name}: {part.verdict}" + (f" ({in_words(part)})" if part.outcomes else "")
        for name, part in verdict.parts.items()
    )
