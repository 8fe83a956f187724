"""What the pages of several chapters do with their results."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from lib import claims, data, plots
from lib.results import Result, frame, status
from lib.sweep import sweep


def unavailable(datasets: Sequence[str]) -> dict[str, str]:
    """{data set: why it cannot be had} for those that are neither here nor to be downloaded."""
    reasons = {}
    for name in datasets:
        try:
            data.load(name)
        except OSError as error:
            reasons[name] = str(error).splitlines()[0]
    return reasons


def say_status(results: Sequence[Result], not_here: Mapping[str, str]) -> None:
    """Show how many runs were read, computed or are missing, and which data sets are not here."""
    plots.say(
        status(results)
        + "".join(f"\n\n{data.title(name)} is not here: {why}" for name, why in not_here.items())
    )


def tidy(results: Sequence[Result]) -> pd.DataFrame:
    """The results' parameters and scalars, one row a run, with the title of the data set."""
    table = frame(results)
    if len(table):
        table["data set"] = table["dataset"].map(data.title)
    return table


def say_evidence(verdicts: Sequence[claims.Verdict]) -> None:
    """Show, folded away, the statistic of every test with its interval, by part if it has any."""
    parts = claims.parts_table(verdicts)
    whole = claims.table([verdict for verdict in verdicts if not verdict.parts])
    lines = [f"- **{r.claim}**, {r.part}: {r.verdict}. {r.evidence}" for r in parts.itertuples()]
    lines += [f"- **{r.claim}**: {r.evidence or r.notes}" for r in whole.itertuples()]
    plots.say(
        "```{dropdown} The evidence: statistic over seeds, 95 % interval, outcome of each test\n"
        + "\n".join(lines)
        + "\n```"
    )


def sweep_groups(
    function: Callable, groups: Mapping[str, Sequence[Mapping[str, Any]]], **settings: Any
) -> dict[str, list[Result]]:
    """One sweep over the runs of all groups, so that workers are never idle; results by group.

    A run that several groups have is made once.  settings: as for `sweep`.
    """
    results = iter(sweep(function, [run for runs in groups.values() for run in runs], **settings))
    return {name: [next(results) for _ in runs] for name, runs in groups.items()}
