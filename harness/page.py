"""Put things on a page: figures, tables, paragraphs, the state of the runs, verdicts."""

from __future__ import annotations

import base64
import inspect
import io
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import Markdown, display
from matplotlib.figure import Figure

from harness import ledger
from harness.claims import Verdict, judge, parts_frame, record
from harness.ledger import Claim
from harness.results import Result, reason
from harness.results import status as run_status
from harness.statistics import Interval
from harness.study import Study
from harness.style import make_dark, style

ANSWER_WORDS = 60
MOST_NAMED = 4  # parts of a claim that a table names one by one

# --- putting things on the page ---------------------------------------------------------------


def show(fig: Figure | None, *, alt: str, caption: str, name: str) -> None:
    """Display the figure, for light and for dark pages, and close it; None says "not run".

    alt: what one sees, for a reader who does not.  caption: what it means, may hold Markdown.
    name: lower-case words joined by hyphens, for references to the figure. The output's metadata
    carries all of it. A diagram is an SVG, a figure with photographs a PNG of twice the pixels.
    Raises ValueError when a text is empty or the name malformed.
    """
    alt, caption = _sentence(alt, "alt"), _sentence(caption, "caption")
    _require_name(name)
    if fig is None:
        return not_run("this figure", name)
    kind = "image/png" if any(ax.images for ax in fig.axes) else "image/svg+xml"
    light = _drawn(fig, kind)
    make_dark(fig)
    figure = {"alt": alt, "caption": caption, "name": name, "dark": _drawn(fig, kind)}
    _close(fig)
    display(
        {kind: light, "text/plain": alt},
        metadata={"figure": figure, kind: {"alt": alt}},
        raw=True,
    )


def _drawn(fig: Figure, kind: str) -> str:
    """The figure as text: SVG, or PNG in base64."""
    buffer = io.BytesIO()
    png = kind == "image/png"
    with style():
        fig.savefig(
            buffer,
            format="png" if png else "svg",
            dpi=260 if png else 100,
            bbox_inches="tight",
            metadata={"Software": None} if png else {"Date": None, "Creator": None},
        )
    data = buffer.getvalue()
    return base64.b64encode(data).decode() if png else data.decode()


def table(
    frame: pd.DataFrame,
    *,
    caption: str,
    name: str,
    formats: Mapping[str, str | Callable[[Any], str]] | None = None,
) -> None:
    """Display the columns of the frame (not its index) as a numbered table.

    formats: {column: format spec such as ".1%" or a function of one value}. Otherwise numbers
    have three significant digits, True is "yes", and what is missing is a dash. A frame without
    rows says "not run".
    """
    caption = _sentence(caption, "caption")
    _require_name(name)
    if frame.empty:
        return not_run("this table", name)
    formats = dict(formats or {})
    if unknown := formats.keys() - set(frame.columns):
        raise ValueError(f"The table {name!r} has no column {min(unknown)!r}.")
    columns = [[_cell(v, formats.get(column)) for v in frame[column]] for column in frame.columns]
    rules = [
        "---:" if pd.api.types.is_any_real_numeric_dtype(frame[column]) else "---"
        for column in frame.columns
    ]
    rows = [[_cell(str(column), None) for column in frame.columns], rules, *zip(*columns)]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    body = "\n".join(lines)
    display(Markdown(f"~~~{{table}} {caption}\n:name: {name}\n\n{body}\n~~~"))


def say(text: str, *, given: Interval | None = None, otherwise: str = "") -> None:
    """Display a paragraph of Markdown; its numbers come from results, through an f-string.

    given: the interval that a sentence which compares rests on, such as that of the paired
    difference over seeds. Unless it lies wholly above 0 `otherwise` is shown instead, or nothing.
    """
    if given is not None and not given.low > 0:
        text = otherwise
        if not text:
            return
    text = inspect.cleandoc(text)
    if not text:
        raise ValueError("There is nothing to say: the text is empty.")
    display(Markdown(text))


def answer(text: str) -> None:
    """Display the chapter's answer, at most 60 words, in a box of its own. Raises ValueError."""
    text = inspect.cleandoc(text)
    words = len(text.split())
    if not 0 < words <= ANSWER_WORDS:
        raise ValueError(f"The answer has {words} words; it has 1 to {ANSWER_WORDS}.")
    display(Markdown(f":::{{div}} answer\n{text}\n:::"))


def not_run(what: str, name: str = "") -> None:
    """Say that the runs of a figure, a table or a sentence are not there.

    name: of the figure or table; the text that refers to it is led here.
    """
    text = f"Not run: {what}. The end of the page says why."
    if name:
        text = f"~~~{{table}} {text}\n:name: {name}\n\n| not run |\n| --- |\n| – |\n~~~"
    display(Markdown(text))


def status(study: Study) -> None:
    """Show how many runs are there, which are not and why, and how long those here took.

    The output's metadata carries the counts and the distinct reasons, for the terminal.
    """
    results = study.results
    failed = [result for result in results if result.status == "failed"]
    facts = {
        "runs": len(results),
        "failed": len(failed),
        "reasons": list(dict.fromkeys(reason(result) for result in failed)),
    }
    text = _inert(run_status(results)) + "".join(
        f"\n\n{study.title(name)} is not here: {_inert(why)}" for name, why in study.missing.items()
    )
    display(
        {"text/markdown": text + _made(results), "text/plain": text},
        metadata={"runs": facts},
        raw=True,
    )


def _made(results: Sequence[Result]) -> str:
    """Where and when the runs were made, and their seconds."""
    known = [r.provenance for r in results if r.provenance]
    if not known:
        return ""
    days = sorted(p["finished"][:10] for p in known if "finished" in p)
    where = sorted({f"{p.get('device', 'unknown')} (threads: {p.get('threads')})" for p in known})
    commits = sorted({str(p["commit"])[:7] for p in known if p.get("commit")})
    seconds = sum(p.get("seconds", 0) for p in known)
    took = f"{seconds / 3600:.1f} hours" if seconds > 3600 else f"{seconds:,.0f} s"
    return (
        f"\n\nThe runs took {took} in all, on {'; '.join(where)}"
        + (f", from {days[0]} to {days[-1]}" if days else "")
        + (
            f", at commit {', '.join(commits[:4])}{' and others' * (len(commits) > 4)}"
            if commits
            else ""
        )
        + "."
    )


def verdicts(
    study: Study,
    evidence: ModuleType,
    *,
    name: str = "",
    names: Sequence[str] | None = None,
    **runs: Any,
) -> None:
    """Judge the claims of a chapter, show the verdicts and record them.

    evidence: a module with one function a claim, called by its id with `_` for `-`. A function
    gets those of `runs` that its parameters name, and returns {measure: one value a seed}, or
    {part: {measure: one value a seed}}; a claim without parts is then judged for each by itself.
    name: of the table, by default tab-verdicts- and the first claim's id.
    names: the claims to judge, by default all that the module has.
    """
    claims = ledger.load(study.ledger)
    found = judged(claims, evidence, names=names, **runs)
    if not found:
        return not_run("the verdicts")
    table(
        pd.DataFrame([
            {
                "claim": verdict.id,
                "statement": claims[verdict.id].statement,
                "on": _on_parts(verdict),
                "verdict": verdict.verdict,
            }
            for verdict in found
        ]),
        caption="Claims of this chapter, judged by thresholds that were written down before the "
        "runs.",
        name=name or f"tab-verdicts-{found[0].id.lower()}",
    )  # fmt: skip
    _evidence(found)
    record(
        found,
        Path("_build/verdicts") / study.folder.name,
        source=evidence.__name__.split(".")[-2],
        profile=study.folder.name,
    )


def judged(
    claims: Mapping[str, Claim],
    evidence: ModuleType,
    *,
    names: Sequence[str] | None = None,
    **runs: Any,
) -> list[Verdict]:
    """The verdicts on those claims of a module of evidence that have any."""
    found = []
    for id in claims:
        function = getattr(evidence, id.replace("-", "_"), None)
        if function is None or (names is not None and id not in names):
            continue
        wanted = inspect.signature(function).parameters
        values = function(**{name: given for name, given in runs.items() if name in wanted})
        by_set = not claims[id].parts and isinstance(next(iter(values.values()), None), Mapping)
        if by_set:
            found += [
                replace(judge(id, own, claims=claims), on=name) for name, own in values.items()
            ]
        elif values:
            found.append(judge(id, values, claims=claims))
    return found


def _on_parts(verdict: Verdict) -> str:
    """On what a verdict rests: its parts, each with its own verdict."""
    if not verdict.parts:
        return verdict.on or "–"
    if len(verdict.parts) <= MOST_NAMED:
        return "; ".join(f"{name}: {part.verdict.lower()}" for name, part in verdict.parts.items())
    counts = Counter(part.verdict.lower() for part in verdict.parts.values())
    return ", ".join(f"{count} {word}" for word, count in counts.most_common())


def _evidence(found: Sequence[Verdict]) -> None:
    """Folded away, the statistic of every test with its interval, by part if it has any."""
    parts = parts_frame(found)
    lines = [
        f"- **{r.claim}**, {_inert(r.part)}: {r.verdict}. {r.evidence}" for r in parts.itertuples()
    ]
    lines += [
        f"- **{verdict.id}**{', ' * bool(verdict.on)}{verdict.on}: "
        + ("; ".join(map(str, verdict.outcomes)) or " ".join(verdict.notes))
        for verdict in found
        if not verdict.parts
    ]
    say(
        "```{dropdown} The evidence: statistic over seeds, 95 % interval, outcome of each test\n"
        + "\n".join(lines)
        + "\n```"
    )


def _cell(value: Any, form: str | Callable[[Any], str] | None) -> str:
    """One cell of a Markdown table."""
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        text = "–"
    elif callable(form):
        text = form(value)
    elif form is not None:
        text = format(value, form)
    elif isinstance(value, (bool, np.bool_)):
        text = "yes" if value else "no"
    elif isinstance(value, (float, np.floating)):
        text = f"{value:.3g}"
    else:
        text = str(value)
    return _inert(re.sub(r"\s*\n\s*", " ", text).replace("|", "\\|"))


def _inert(text: str) -> str:
    """Text from data or from an error, in which nothing is markup: `<svg` is not a picture."""
    return re.sub(r"<(?=[A-Za-z/!])", "&lt;", text)


def _sentence(text: str, what: str) -> str:
    text = " ".join(text.split())
    if not text:
        raise ValueError(f"A figure or table needs its {what}: it is empty.")
    return text


def _require_name(name: str) -> None:
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise ValueError(f"{name!r} is no name: use lower-case words joined by hyphens.")


def _close(fig: Figure) -> None:
    """Forget the figure, also if pyplot made it, so that Jupyter does not show it again."""
    from matplotlib import pyplot

    pyplot.close(fig)
    fig.clear()
