"""Put things on a page: figures, tables, paragraphs, the state of the runs, verdicts."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import Markdown, display
from matplotlib.figure import Figure

from harness import ledger
from harness.embedding import light_and_dark
from harness.play import Round, State, quiz_html, slider_html
from harness.records import folder_of, record
from harness.results import Result, reason
from harness.results import status as run_status
from harness.statistics import Interval
from harness.study import Study
from harness.verdicts import evidence_lines, judged, overview

ANSWER_WORDS = 60

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
    kind, light, dark = light_and_dark(fig)
    figure = {"alt": alt, "caption": caption, "name": name, "dark": dark}
    display(
        {kind: light, "text/plain": alt},
        metadata={"figure": figure, kind: {"alt": alt}},
        raw=True,
    )


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


def quiz(
    rounds: Sequence[Round] | None,
    *,
    caption: str,
    name: str,
    question: str = "Which of these was never in the training set?",
    outcomes: tuple[str, str] = ("never in the training set", "in the training set"),
) -> None:
    """Display a quiz, numbered as a figure: in each round the reader looks for the stranger.

    question: asked in every round.  outcomes: what is said of the stranger, and of the others.
    None says "not run". Raises ValueError when there is no round or a text is empty.
    """
    caption = _sentence(caption, "caption")
    _require_name(name)
    if rounds is None:
        return not_run("this quiz", name)
    html = quiz_html(rounds, question=question, outcomes=outcomes)
    _show_play(html, f"A quiz of {len(rounds)} rounds. {question}", caption, name)


def slider(
    states: Sequence[State] | None, *, control: str, caption: str, name: str, start: int = 0
) -> None:
    """Display a slider, numbered as a figure: the reader steps through the states.

    control: what it changes, such as "training images".  start: the place of the first state shown.
    None says "not run". Raises ValueError for fewer than two states or labels that are alike.
    """
    caption = _sentence(caption, "caption")
    _require_name(name)
    if states is None:
        return not_run("this slider", name)
    html = slider_html(states, control=control, start=start)
    labels = ", ".join(state.label for state in states)
    _show_play(html, f"A slider. {control}: {labels}", caption, name)


def _show_play(html: str, text: str, caption: str, name: str) -> None:
    """As HTML, which the assembly of the site makes a figure of; `text` where there is no HTML."""
    play = {"caption": caption, "name": name}
    display({"text/html": html, "text/plain": text}, metadata={"play": play}, raw=True)


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


def answer(text: str, *, name: str = "answer") -> None:
    """Display an answer, at most 60 words, in a box of its own.  Raises ValueError.

    name: under which the page "What we learned" can take it over; the chapter's own is "answer".
    """
    _require_name(name)
    text = inspect.cleandoc(text)
    words = len(text.split())
    if not 0 < words <= ANSWER_WORDS:
        raise ValueError(f"The answer has {words} words; it has 1 to {ANSWER_WORDS}.")
    display(
        {"text/markdown": f":::{{div}} answer\n{text}\n:::", "text/plain": text},
        metadata={"answer": {"name": name, "text": text}},
        raw=True,
    )


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

    The output's metadata carries the counts, the distinct reasons, and what else a reader of the
    terminal should know, such as results that a full disk did not take.
    """
    results = study.results
    failed = [result for result in results if result.status == "failed"]
    facts = {
        "runs": len(results),
        "failed": len(failed),
        "reasons": list(dict.fromkeys(reason(result) for result in failed)),
        "notes": [n for result in results for n in result.notes if not n.startswith("Older")],
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
    {part: {measure: one value a seed}}.
    name: of the table, by default tab-verdicts- and the first claim's id.
    names: the claims to judge, by default all that the module has.
    """
    claims = ledger.load(study.ledger)
    found = judged(claims, evidence, names=names, profile=study.folder.name, **runs)
    if not found:
        return not_run("the verdicts")
    table(
        overview(found, claims),
        caption="Claims of this chapter, judged by thresholds that were written down before the "
        "runs. A part is named with a word of its own where its verdict is another than the "
        "whole's." + study.stood_in(found),
        name=name or f"tab-verdicts-{found[0].id.lower()}",
    )
    say(
        "```{dropdown} The evidence: mean over seeds, 95 % interval, outcome of each test\n"
        + "\n".join(map(_inert, evidence_lines(found)))
        + "\n```"
    )
    record(found, folder_of(study.folder))


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
