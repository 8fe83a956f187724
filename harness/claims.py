"""Judge the papers' claims by thresholds that were fixed before the runs.

The ledger is a folder with a YAML file a paper (`harness.ledger`), one entry a claim:

    S05:
      paper: "000"                # in quotes: YAML reads a bare 000 as the number 0
      where: §4, Fig 1
      kind: D                     # Q D V P N T M, as the ledger of claims explains
      statement: ViTs show the highest Accuracy Difference.
      reference: fig only         # what the paper prints
      criterion: Difference between the ViT and the next above 0, in 3 of 4 data sets.
      seeds: 5                    # fewer are never enough for a verdict
      parts: 4                    # optional: how many data sets, or cells, the claim speaks of
      needed: 3                   # optional, with parts only: how many must hold (default: all)
      tests:                      # may be empty: then the claim is reported, not judged
        - measure: vit_minus_next # the name under which a notebook hands in its evidence
          above: 0                # or at_least, at_most, below: a number; or between: [a, b]
        - measure: vit_is_highest
          at_least: 1
          statistic: share_of_seeds   # mean (default), median, share_of_seeds, every
          share: 0.8                  # needed with share_of_seeds only

A claim with two metrics, such as the paper's and a calibrated one, is two entries (`H17-paper`,
`H17-calibrated`): each has its own verdict.

A test passes when the 95 % bootstrap interval of its statistic over the seeds lies wholly on the
right side of the threshold, fails when it lies wholly on the wrong side, and is inconclusive
when it straddles it. `share_of_seeds` and `every` count seeds, so they pass or fail. From the
tests to the verdict:

    too few seeds in any test           INCONCLUSIVE   whatever they say
    no test has evidence                NOT-RUN
    some pass and some fail             PARTIAL        also if others are open
    all pass                            REPRODUCED
    all fail                            NOT-REPRODUCED
    anything else                       INCONCLUSIVE   a test is open: inconclusive or not run

A claim with `parts` has evidence for each part, such as a data set or an architecture on a data
set. Every part gets a verdict of its own from the tests, as above, with `seeds` seeds in each
part. A part is met if it is REPRODUCED, not met if it is NOT-REPRODUCED or PARTIAL, and otherwise
open, also if nothing is handed in for it. From the parts to the verdict on the claim:

    no part has evidence                NOT-RUN
    at least `needed` parts are met     REPRODUCED     whatever the others say
    too many parts are not met                         `needed` is out of reach, open parts or not
      some are REPRODUCED or PARTIAL    PARTIAL
      none is                           NOT-REPRODUCED
    anything else                       INCONCLUSIVE   the open parts decide
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from harness.files import write_atomically
from harness.ledger import Claim, Criterion
from harness.statistics import Interval, bootstrap

# {measure: one value a seed}; for a claim with parts {part: {measure: one value a seed}}
Evidence = Mapping[str, Sequence[float]] | Mapping[str, Mapping[str, Sequence[float]]]


@dataclass(frozen=True)
class Outcome:
    """What one test found: "pass", "fail", "inconclusive" or "not run" (then no interval)."""

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
    values}, by part if the claim has parts.  source, profile: which notebook recorded it, and in
    which profile.  parts: the verdict on each part that was handed in; the outcomes are theirs.
    on: the data set that a claim without parts was judged on, where it was judged on several.
    """

    id: str
    verdict: str
    outcomes: tuple[Outcome, ...]
    seeds: int
    notes: tuple[str, ...] = ()
    evidence: Evidence | None = None
    source: str = ""
    profile: str = ""
    parts: Mapping[str, Verdict] = field(default_factory=dict)
    on: str = ""


# --- judging ----------------------------------------------------------------------------------


def judge(id: str, evidence: Evidence, *, claims: Mapping[str, Claim]) -> Verdict:
    """The verdict on claim `id` from {measure: one value a seed}, or {part: {measure: ...}}.

    claims: the ledger. A measure without values counts as not run. Raises KeyError for an unknown
    claim, ValueError for a measure that the claim does not have, a value that is not finite,
    evidence by part for a claim without parts or the reverse, and more parts than the claim has.
    """
    if id not in claims:
        raise KeyError(f"There is no claim {id!r} in the ledger.")
    claim = claims[id]
    for name, value in evidence.items():
        if isinstance(value, Mapping) != bool(claim.parts):
            shape = "{part: {measure: values}}" if claim.parts else "{measure: values}"
            raise ValueError(f"The evidence for claim {id} must be {shape}; {name!r} is not so.")
    if claim.parts:
        return _judge_parts(claim, evidence)
    values = {measure: _finite(id, measure, v) for measure, v in evidence.items()}
    if not claim.tests:
        seeds = min(map(len, values.values()), default=0)
        verdict, note = ("INCONCLUSIVE", "Reported; the ledger sets no threshold.")
        return Verdict(id, verdict if seeds else "NOT-RUN", (), seeds, (note,), values)
    if unknown := values.keys() - {test.measure for test in claim.tests}:
        raise ValueError(f"Claim {id} has no test of {min(unknown)!r}.")
    outcomes = tuple(outcome_of(test, values.get(test.measure, ())) for test in claim.tests)
    seeds = min((o.seeds for o in outcomes if o.seeds), default=0)
    notes = [f"Not run: {o.criterion}." for o in outcomes if o.outcome == "not run" and seeds]
    verdict = combine([outcome.outcome for outcome in outcomes])
    if 0 < seeds < claim.seeds:
        verdict = "INCONCLUSIVE"
        notes.append(f"{seeds} of the {claim.seeds} seeds that a verdict needs.")
    return Verdict(id, verdict, outcomes, seeds, tuple(notes), values)


def _judge_parts(claim: Claim, evidence: Mapping[str, Mapping[str, Sequence[float]]]) -> Verdict:
    """Judge every part as a claim of its own, and the claim by the parts' verdicts."""
    if len(evidence) > claim.parts:
        raise ValueError(f"Claim {claim.id} has {claim.parts} parts, not {len(evidence)}.")
    alone = {claim.id: replace(claim, parts=0, needed=0)}
    parts: dict[str, Verdict] = {}
    alike: dict[str, list[str]] = {}  # the parts that share a note
    for name, values in evidence.items():
        try:
            parts[name] = judge(claim.id, values, claims=alone)
        except ValueError as error:
            raise ValueError(f"Part {name!r}: {error}") from error
        for note in parts[name].notes:
            alike.setdefault(note, []).append(name)
    found = [part.verdict for part in parts.values()]
    run = len(found) - found.count("NOT-RUN")
    notes = [f"{run} of {claim.parts} parts have evidence; {found.count('REPRODUCED')} reproduced."]
    notes += [f"{', '.join(names)}: {note}" for note, names in alike.items()]
    return Verdict(
        claim.id,
        combine_parts(found, parts=claim.parts, needed=claim.needed),
        outcomes=(),
        seeds=min((part.seeds for part in parts.values() if part.seeds), default=0),
        notes=tuple(notes),
        evidence={name: part.evidence for name, part in parts.items()},
        parts=parts,
    )


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
    interval = bootstrap(values, statistic=test.statistic)
    if _right(test, interval.low, interval.high):
        verdict = "pass"
    else:
        verdict = "fail" if _wrong(test, interval.low, interval.high) else "inconclusive"
    return Outcome(str(test), verdict, seeds, interval)


def combine(outcomes: Sequence[str]) -> str:
    """The verdict that follows from the tests' outcomes; the table is at the top of this file."""
    found = set(outcomes)
    if found == {"not run"}:
        return "NOT-RUN"
    if {"pass", "fail"} <= found:
        return "PARTIAL"
    return {("pass",): "REPRODUCED", ("fail",): "NOT-REPRODUCED"}.get(tuple(found), "INCONCLUSIVE")


def combine_parts(verdicts: Sequence[str], *, parts: int, needed: int) -> str:
    """The verdict that follows from the verdicts on parts, of which there are `parts` in all.

    The table is at the top of this file.
    """
    found = Counter(verdicts)
    if found["NOT-RUN"] == len(verdicts):
        return "NOT-RUN"
    if found["REPRODUCED"] >= needed:
        return "REPRODUCED"
    if found["NOT-REPRODUCED"] + found["PARTIAL"] <= parts - needed:
        return "INCONCLUSIVE"
    return "PARTIAL" if found["REPRODUCED"] or found["PARTIAL"] else "NOT-REPRODUCED"


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


# --- keeping and collecting -------------------------------------------------------------------


def record(verdicts: Sequence[Verdict], folder: str | Path, *, source: str, profile: str) -> None:
    """Write one JSON file a claim, `folder/<id>.json`, each whole or not at all.

    source: the notebook, for instance "07_kkt_reconstruction/attack".  Raises OSError.
    """
    files = {}
    for verdict in verdicts:
        content = asdict(replace(verdict, source=source, profile=profile))
        text = json.dumps(content, indent=2, ensure_ascii=False)
        name = "-".join(filter(None, (verdict.id, re.sub(r"\W+", "_", verdict.on).strip("_"))))
        files[Path(folder) / f"{name}.json"] = f"{text}\n".encode()
    write_atomically(files)


def collect(folder: str | Path, *, claims: Mapping[str, Claim]) -> list[Verdict]:
    """A verdict for every claim of the ledger, in its order; NOT-RUN where nothing is recorded.

    The recorded evidence is judged again, so a verdict always follows the ledger as it stands; a
    note tells when that changed it. Raises ValueError naming a record that cannot be used.
    """
    found = {}
    for path in sorted(Path(folder).glob("*.json")):
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            verdict = judge(kept["id"], kept["evidence"], claims=claims)
            source, profile, before = kept["source"], kept["profile"], kept["verdict"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"The record {path} cannot be used ({error}): record it again."
            ) from error
        notes = verdict.notes
        if before != verdict.verdict:
            notes += (f"Recorded as {before}; the ledger has changed since.",)
        found[verdict.id] = replace(verdict, source=source, profile=profile, notes=notes)
    return [found.get(id) or Verdict(id, "NOT-RUN", (), 0) for id in claims]


def as_frame(verdicts: Sequence[Verdict], *, claims: Mapping[str, Claim]) -> pd.DataFrame:
    """One row a verdict, for reading: claim, paper, where, statement, verdict, evidence, notes."""
    return pd.DataFrame(
        [
            {
                "claim": verdict.id,
                "paper": claims[verdict.id].paper,
                "where": claims[verdict.id].where,
                "statement": claims[verdict.id].statement,
                "verdict": verdict.verdict,
                "evidence": _in_words(verdict),
                "seeds": verdict.seeds,
                "notes": " ".join(verdict.notes),
            }
            for verdict in verdicts
        ],
        columns=["claim", "paper", "where", "statement", "verdict", "evidence", "seeds", "notes"],
    )


def parts_frame(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """One row a part: claim, part, verdict, evidence. A claim without parts has no row."""
    rows = [
        (verdict.id, name, part.verdict, _in_words(part))
        for verdict in verdicts
        for name, part in verdict.parts.items()
    ]
    return pd.DataFrame(rows, columns=["claim", "part", "verdict", "evidence"])


def _in_words(verdict: Verdict) -> str:
    """The outcomes of the tests: `mean of gap > 0: 1.1 [1, 1.2], n = 3, pass`; by part, if any."""
    if not verdict.parts:
        return "; ".join(map(str, verdict.outcomes))
    return "; ".join(
        f"{name}: {part.verdict}" + (f" ({_in_words(part)})" if part.outcomes else "")
        for name, part in verdict.parts.items()
    )
