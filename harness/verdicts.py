"""From the evidence of a chapter to its verdicts, and to the rows and lines that show them."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

import pandas as pd

from harness.claims import Verdict, in_words, judge
from harness.ledger import Claim
from harness.results import Result, Runs

MOST_NAMED = 4  # parts of a claim that a table names one by one


def judged(
    claims: Mapping[str, Claim],
    evidence: ModuleType,
    *,
    names: Sequence[str] | None = None,
    profile: str = "",
    **runs: Any,
) -> list[Verdict]:
    """The verdicts on those claims of a module of evidence that have any; see `page.verdicts`."""
    found = []
    for id in claims:
        function = getattr(evidence, id.replace("-", "_"), None)
        if function is None or (names is not None and id not in names):
            continue
        wanted = inspect.signature(function).parameters
        given = {name: value for name, value in runs.items() if name in wanted}
        if values := function(**given):
            every = (result for value in given.values() for result in _results(value))
            results = {result.label: result for result in every}.values()
            sizes = {r.parameters["n"] for r in results if "n" in r.parameters}
            verdict = judge(id, values, claims=claims)
            found.append(
                replace(
                    verdict,
                    source=claims[id].chapter,
                    profile=profile,
                    runs=len(results),
                    sizes=tuple(sorted(sizes)),
                )
            )
    return found


def overview(found: Sequence[Verdict], claims: Mapping[str, Claim]) -> pd.DataFrame:
    """One row a claim: its statement, by what it was judged, the verdict and its parts."""
    return pd.DataFrame(
        [
            {
                "claim": verdict.id,
                "statement": claims[verdict.id].statement,
                "judged by": _criterion(claims[verdict.id]),
                "verdict": verdict.verdict,
                "on": _on_parts(verdict),
            }
            for verdict in found
        ]
    )


def _results(given: Any) -> Sequence[Result]:
    """The results in what a function of evidence gets: runs, or a mapping of runs."""
    if isinstance(given, Runs):
        return list(given)
    if isinstance(given, Mapping):
        return [result for value in given.values() for result in _results(value)]
    return []


def _criterion(claim: Claim) -> str:
    """By what a claim was judged, and if it is not the papers' row, why."""
    if not claim.row:
        return claim.criterion
    return f"{claim.criterion} **Not counted as {claim.row}:** {claim.differs}"


def _on_parts(verdict: Verdict) -> str:
    """The scope of a verdict, and each part whose verdict is another."""
    if not verdict.parts:
        return "–"
    others = {n: p.verdict for n, p in verdict.parts.items() if p.verdict != verdict.verdict}
    if len(others) <= MOST_NAMED:
        told = "; ".join(f"{name}: {word.lower()}" for name, word in others.items())
    else:
        counts = Counter(others.values())
        told = ", ".join(f"{count} {word.lower()}" for word, count in counts.most_common())
    names = ", ".join(verdict.parts) if len(verdict.parts) <= MOST_NAMED else ""
    return ". ".join(filter(None, [f"{verdict.scope} parts", names, told]))


def evidence_lines(found: Sequence[Verdict]) -> list[str]:
    """A line of Markdown a claim, or a part: the verdict, and every test with its interval."""
    lines = []
    for verdict in found:
        for name, part in (verdict.parts or {"": verdict}).items():
            told = in_words(part) or " ".join(part.notes) or "no threshold"
            label = f"- **{verdict.id}**" + (f", {name}" if name else "")
            lines.append(f"{label}: {part.verdict}. {told}")
    return lines
