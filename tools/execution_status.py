"""The table of how each chapter was executed: its runs, their hardware and days, and what is missing.

A line `{execution-status}` in a page of book/ is replaced by it. Everything comes from the metadata
of the executed notebooks (`tools/execute.py` writes it), where the runs' own records are summed up.
"""

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

from nbformat import NotebookNode

PLACEHOLDER = re.compile(r"^\{execution-status\}[ \t]*$", re.MULTILINE)
HEAD = (
    "chapter", "profile", "runs there", "missing", "failed", "older than the code",
    "computing time", "hardware", "runs made", "page executed",
)  # fmt: skip
NOTHING = "–"


def filled(text: str, records: Mapping[str, Mapping[str, Any]], chapters: Sequence[str]) -> str:
    """The text with the table in the place of its placeholder.

    records: stem of an executed notebook -> its provenance.  chapters: the stems of all.
    """
    return PLACEHOLDER.sub(lambda _: table(records, chapters), text)


def records_of(notebooks: Mapping[str, NotebookNode], key: str) -> dict[str, Mapping[str, Any]]:
    return {stem: notebook.metadata[key] for stem, notebook in notebooks.items()}


def table(records: Mapping[str, Mapping[str, Any]], chapters: Sequence[str]) -> str:
    """A MyST table with one row a chapter."""
    rows = [HEAD, *(row(stem, records.get(stem)) for stem in chapters)]
    lines = [f"{'*' if not i else ' '} - {cell}" for cells in rows for i, cell in enumerate(cells)]
    caption = "How each chapter was executed, and what its runs took, one after the other."
    options = [":header-rows: 1", ":name: tab-execution-status"]
    return "\n".join([f"```{{list-table}} {caption}", *options, "", *lines, "```"])


def row(stem: str, record: Mapping[str, Any] | None) -> tuple[str, ...]:
    chapter = f"[](../notebooks/{stem})"
    if record is None:
        return (chapter, "not executed", *[NOTHING] * (len(HEAD) - 2))
    runs = record.get("seen", {}).get("runs")
    when = record.get("executed", NOTHING)
    if runs is None:
        return (chapter, inert(record["profile"]), "none", *[NOTHING] * 6, when)
    there = runs["all"] - runs["missing"] - runs["failed"]
    return (
        chapter,
        inert(record["profile"]),
        f"{there:,} of {runs['all']:,}",
        *(f"{runs[word]:,}" for word in ("missing", "failed", "stale")),
        took(runs["seconds"]),
        "; ".join(map(inert, runs["devices"])) or NOTHING,
        days(runs["days"]),
        when,
    )


def took(seconds: float) -> str:
    """Seconds, minutes or hours, whichever is read at a glance."""
    if seconds < 120:
        return f"{seconds:,.0f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


def days(first_and_last: Sequence[str]) -> str:
    """One day, or the first and the last."""
    return " to ".join(dict.fromkeys(first_and_last)) or NOTHING


def inert(text: str) -> str:
    """Text of a machine or a profile, in which nothing is markup."""
    return re.sub(r"([\\`*_\[\]{}$|])", r"\\\1", html.escape(" ".join(str(text).split())))
