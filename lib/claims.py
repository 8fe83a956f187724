"""Judge the papers' claims by thresholds that were fixed before the runs.

The ledger `claims.yaml`, in the repository root, has one entry a claim:

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

import functools
import json
import os
import re
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

LEDGER = Path(__file__).resolve().parents[1] / "claims.yaml"
COMPARISONS = {"at_least": "≥", "at_most": "≤", "above": ">", "below": "<", "between": "in"}
STATISTICS = ("mean", "median", "share_of_seeds", "every")
KINDS = ("Q", "D", "V", "P", "N", "T", "M")
RESAMPLES = 10_000
# {measure: one value a seed}; for a claim with parts {part: {measure: one value a seed}}
Evidence = Mapping[str, Sequence[float]] | Mapping[str, Mapping[str, Sequence[float]]]


@dataclass(frozen=True)
class Criterion:
    """One test of a claim: a measure, a comparison with a threshold, a statistic over seeds."""

    measure: str
    comparison: str
    threshold: float | tuple[float, float]
    statistic: str = "mean"
    share: float | None = None

    def __str__(self) -> str:
        """The test in words: `mean of gap > 0`."""
        bound = self.threshold
        limit = f"{list(bound)}" if isinstance(bound, tuple) else f"{bound:g}"
        over = {
            "share_of_seeds": f"in {self.share or 0:.0%} of seeds, ",
            "every": "in every seed, ",
            "median": "median of ",
        }.get(self.statistic, "mean of ")
        return f"{over}{self.measure} {COMPARISONS[self.comparison]} {limit}"


@dataclass(frozen=True)
class Claim:
    """One entry of the ledger; `seeds` is the smallest number that allows a verdict.

    parts, needed: how many parts it speaks of, and how many must be reproduced; 0 without parts.
    """

    id: str
    paper: str
    where: str
    kind: str
    statement: str
    reference: str
    criterion: str
    seeds: int
    tests: tuple[Criterion, ...]
    parts: int = 0
    needed: int = 0


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval; p_value: two-sided against 0, where it was asked for."""

    estimate: float
    low: float
    high: float
    p_value: float | None = None

    def __str__(self) -> str:
        return f"{self.estimate:.3g} [{self.low:.3g}, {self.high:.3g}]"


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


# --- judging ----------------------------------------------------------------------------------


def judge(
    id: str, evidence: Evidence, *, claims: Mapping[str, Claim] | None = None
) -> Verdict:
    """The verdict on claim `id` from {measure: one value a seed}, or {part: {measure: ...}}.

    claims: the ledger, by default the one in the repository root. A measure without values
    counts as not run. Raises KeyError for an unknown claim, ValueError for a measure that the
    claim does not have, a value that is not finite, evidence by part for a claim without parts
    or the reverse, and more parts than the claim has.
    """
    claims = load() if claims is None else claims
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


# --- statistics -------------------------------------------------------------------------------


def bootstrap(values: Sequence[float], *, statistic: str = "mean") -> Interval:
    """Mean or median of the values with the 95 % percentile interval of 10,000 resamples.

    The resamples are always the same ones. Equal values give an interval of length 0.
    """
    numbers = np.asarray(values, dtype=float)
    middle = {"mean": np.mean, "median": np.median}[statistic]
    random = np.random.RandomState(0)  # its stream is frozen: one interval in every version
    picks = random.randint(0, len(numbers), (RESAMPLES, len(numbers)))
    spread = middle(numbers[picks], axis=1)
    low, high = np.quantile(spread, [0.025, 0.975])
    if np.ptp(numbers) == 0:  # rounding in the mean must not make equal seeds differ
        low = high = numbers[0]
        return Interval(float(low), float(low), float(high))
    return Interval(float(middle(numbers)), float(low), float(high))


def paired_bootstrap(a: Sequence[float], b: Sequence[float]) -> Interval:
    """Mean of a − b over seeds, where a[i] and b[i] share seed i, with interval and p-value."""
    if len(a) != len(b) or not len(a):
        raise ValueError(f"Paired samples must have one length above 0, not {len(a)} and {len(b)}.")
    gaps = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    if not np.isfinite(gaps).all():
        raise ValueError("Paired samples must be finite.")
    random = np.random.RandomState(0)
    means = gaps[random.randint(0, len(gaps), (RESAMPLES, len(gaps)))].mean(axis=1)
    tail = min((means <= 0).sum(), (means >= 0).sum())
    return replace(bootstrap(gaps), p_value=float(min(1.0, 2 * (tail + 1) / (RESAMPLES + 1))))


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm's adjusted p-values, in the order given: reject where they are below the level."""
    p = np.asarray(p_values, dtype=float)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError("p-values must be a list of numbers in [0, 1].")
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1)
    return adjusted


# --- the ledger -------------------------------------------------------------------------------


class _Strict(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """YAML in which a key cannot stand twice; the usual loaders keep the last, silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise ValueError(f"{key!r} stands twice (line {node.start_mark.line + 1} on).")
        return super().construct_mapping(node, deep)


@functools.lru_cache
def load(path: str | Path = LEDGER) -> Mapping[str, Claim]:
    """The ledger by claim id. Raises FileNotFoundError, or ValueError naming the entry at fault."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"The ledger {path.name} is not in {path.parent}.")
    try:
        entries = yaml.load(path.read_text(encoding="utf-8"), Loader=_Strict)
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{path.name} cannot be read: {error}") from error
    if not isinstance(entries, dict):
        raise ValueError(f"{path.name} must map claim ids to their entries.")
    return {id: _claim(id, entry) for id, entry in entries.items()}


_FIELDS = {"paper", "where", "kind", "statement", "reference", "criterion", "seeds", "tests"}
_OPTIONAL = {"parts", "needed"}


def _claim(id: Any, entry: Any) -> Claim:
    if not isinstance(id, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*", id):
        raise ValueError(f"{id!r} is no claim id: use letters, digits and hyphens.")
    if wrong := (set(entry) - _OPTIONAL if isinstance(entry, dict) else set()) ^ _FIELDS:
        raise ValueError(f"Claim {id} must have the fields {sorted(_FIELDS)}, and may have parts "
                         f"and needed; missing or unknown: {sorted(map(str, wrong))}.")  # fmt: skip
    for name in sorted(_FIELDS - {"seeds", "tests"}):
        if not isinstance(entry[name], str) or not entry[name].strip():
            raise ValueError(f"Claim {id}: {name} must be a text (in quotes, if YAML reads more).")
    if entry["kind"] not in KINDS:
        raise ValueError(f"Claim {id}: kind must be one of {', '.join(KINDS)}.")
    if type(entry["seeds"]) is not int or entry["seeds"] < 1:
        raise ValueError(f"Claim {id}: seeds must be a whole number above 0.")
    parts = entry.get("parts", 0)
    needed = entry.get("needed", parts)
    whole = type(parts) is int and type(needed) is int
    if _OPTIONAL & entry.keys() and not (whole and 1 <= needed <= parts):
        raise ValueError(f"Claim {id}: parts, and needed if it is there, must be whole numbers "
                         "with 1 ≤ needed ≤ parts; needed goes with parts only.")  # fmt: skip
    tests = tuple(_criterion(id, test) for test in entry["tests"] or ())
    fields = {k: entry[k] for k in _FIELDS} | {"tests": tests, "parts": parts, "needed": needed}
    return Claim(id=id, **fields)


def _criterion(id: str, test: Any) -> Criterion:
    fields = dict(test) if isinstance(test, dict) else {}
    measure, statistic = fields.pop("measure", None), fields.pop("statistic", "mean")
    share = fields.pop("share", None)
    if not isinstance(measure, str) or len(fields) != 1 or not fields.keys() <= COMPARISONS.keys():
        raise ValueError(
            f"Claim {id}: a test is a measure with exactly one of {', '.join(COMPARISONS)} "
            f"and, if wanted, statistic and share, not {test!r}."
        )
    [(comparison, threshold)] = fields.items()
    needed = 2 if comparison == "between" else 1
    numbers = threshold if isinstance(threshold, list) else [threshold]
    sound = all(type(number) in (int, float) and np.isfinite(number) for number in numbers)
    if len(numbers) != needed or not sound:
        raise ValueError(f"Claim {id}: {comparison} of {measure} cannot be {threshold!r}.")
    if statistic not in STATISTICS:
        raise ValueError(f"Claim {id}: statistic must be one of {', '.join(STATISTICS)}.")
    if (statistic == "share_of_seeds") != (share is not None) or not 0 < (share or 1) <= 1:
        raise ValueError(f"Claim {id}: share_of_seeds, and only that, needs a share in (0, 1].")
    bound = tuple(map(float, numbers)) if comparison == "between" else float(numbers[0])
    return Criterion(measure, comparison, bound, statistic, share)


# --- keeping and collecting -------------------------------------------------------------------


def record(
    verdicts: Sequence[Verdict], folder: str | Path, *, source: str, profile: str
) -> None:
    """Write one JSON file a claim, `folder/<id>.json`, each whole or not at all.

    source: the notebook, for instance "07_kkt_reconstruction/attack".  Raises OSError.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for verdict in verdicts:
        text = json.dumps(
            asdict(replace(verdict, source=source, profile=profile)), indent=2, ensure_ascii=False
        )
        temporary = folder / f".{uuid.uuid4().hex}.tmp"
        try:
            temporary.write_text(text + "\n", encoding="utf-8")
            os.replace(temporary, folder / f"{verdict.id}.json")
        finally:
            temporary.unlink(missing_ok=True)


def collect(
    folder: str | Path, *, claims: Mapping[str, Claim] | None = None
) -> list[Verdict]:
    """A verdict for every claim of the ledger, in its order; NOT-RUN where nothing is recorded.

    The recorded evidence is judged again, so a verdict always follows the ledger as it stands; a
    note tells when that changed it. Raises ValueError naming a record that cannot be used.
    """
    claims = load() if claims is None else claims
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


def table(
    verdicts: Sequence[Verdict], *, claims: Mapping[str, Claim] | None = None
) -> pd.DataFrame:
    """One row a verdict, for reading: claim, paper, where, statement, verdict, evidence, notes."""
    claims = load() if claims is None else claims
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


def parts_table(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """One row a part: claim, part, verdict, evidence. A claim without parts has no row."""
    return pd.DataFrame(
        [
            {
                "claim": verdict.id,
                "part": name,
                "verdict": part.verdict,
                "evidence": _in_words(part),
            }
            for verdict in verdicts
            for name, part in verdict.parts.items()
        ],
        columns=["claim", "part", "verdict", "evidence"],
    )


def _in_words(verdict: Verdict) -> str:
    """The outcomes of the tests: `mean of gap > 0: 1.1 [1, 1.2], n = 3, pass`; by part, if any."""
    if not verdict.parts:
        return "; ".join(map(str, verdict.outcomes))
    return "; ".join(
        f"{name}: {part.verdict}" + (f" ({_in_words(part)})" if part.outcomes else "")
        for name, part in verdict.parts.items()
    )
