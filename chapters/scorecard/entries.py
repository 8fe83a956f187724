"""The entry of every claim, folded: what was claimed, found and not done.

HTML but for one line of Markdown in each, which the build turns into links to chapter and figure.
"""

from collections.abc import Sequence

from chapters.scorecard.matrix import badge, text
from chapters.scorecard.reading import DECIDED, LOOKS, PAPERS, Line, chapter_number, grouped
from harness.claims import Outcome, Verdict
from harness.ledger import Claim
from harness.statistics import over_seeds


def entries(shown: Sequence[Line], there: set[str]) -> str:
    """The entries of all claims, by paper; there: the chapters that can be linked to."""
    blocks = []
    for paper, group in grouped(shown).items():
        title = f"{text(paper.topic)} <small>{text(paper.authors)}</small>"
        blocks.append(f'<h3 class="papers-entries">{title}</h3>')
        blocks += [entry(line, there) for line in group]
    return "\n\n".join(blocks)


def entry(line: Line, there: set[str]) -> str:
    """One entry; its anchor is the claim's id."""
    claim = line.claim
    facts = "".join(f"<dt>{term}</dt><dd>{value}</dd>" for term, value in described(line).items())
    kind = " variant" if claim.row else ""
    uncounted = "" if line.counted else " <em>not counted</em>"
    summary = f"{badge(line.verdict.verdict)} <strong>{text(claim.id)}</strong>{uncounted} "
    return "\n".join(
        [
            f'<details class="claim{kind}" id="{text(claim.id)}">',
            f"<summary>{summary}{text(claim.statement)}</summary>",
            f"<dl>{facts}</dl>",
            *effects(line.verdict, claim),
            "",
            where_shown(line, there),
            "",
            "</details>",
        ]
    )


def described(line: Line) -> dict[str, str]:
    """What is known of a claim and its verdict, without what is not: {term: HTML}."""
    claim, verdict = line.claim, line.verdict
    paper = f"{PAPERS[claim.paper].authors}, " if claim.paper in PAPERS else ""
    printed = "" if claim.reference == "none" else f" Printed there: {claim.reference}."
    kept = {True: "every decisive test stays so", False: "not every decisive test stays so"}
    holm = kept[line.kept] if line.kept is not None and verdict.verdict in DECIDED else ""
    made = {
        "": f"{verdict.runs:,} runs" if verdict.runs else "",
        "seeds: ": verdict.seeds or "",
        "training images: ": ", ".join(f"{size:,}" for size in verdict.sizes),
        "folder of results: ": verdict.profile,
    }
    runs = "; ".join(f"{what}{value}" for what, value in made.items() if value)
    found = {
        "Varies": f'<a href="#{text(claim.row)}">{text(claim.row)}</a>' if claim.row else "",
        "Differs": text(claim.differs),
        "Where": text(f"{paper}{claim.where}.{printed}"),
        "Criterion": text(claim.criterion),
        "Verdict": text(LOOKS[verdict.verdict].words + _scope(verdict)),
        "Runs": text(runs),
        "Run here": text("; ".join(line.stand_ins)),
        "Holm": text(f"{holm} when all of the paper are corrected together") if holm else "",
        "Caveat": text(claim.caveat),
        "Notes": text(" ".join(verdict.notes)),
        "It takes": text(claim.missing) if verdict.verdict == "NOT-RUN" else "",
    }
    return {term: value for term, value in found.items() if value}


def _scope(verdict: Verdict) -> str:
    return f", judged on {verdict.scope} parts" if verdict.scope else ""


def effects(verdict: Verdict, claim: Claim) -> list[str]:
    """A table of the effect in every test and part, as lines of HTML; none without evidence."""
    rows = [
        (name, *row)
        for name, part in (verdict.parts or {"": verdict}).items()
        for row in _tested(part, claim)
    ]
    if not rows:
        return []
    by_part = bool(verdict.parts)
    head = [*["on"] * by_part, "test", "mean [95 % interval]", "seeds", "outcome"]
    lines = [row if by_part else row[1:] for row in rows]
    cells = "".join(
        f"<tr>{''.join(f'<td>{text(value)}</td>' for value in line)}</tr>" for line in lines
    )
    heads = "".join(f'<th scope="col">{text(name)}</th>' for name in head)
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{cells}</tbody></table>"
    return [f'<div class="effects">{table}</div>']


def _tested(verdict: Verdict, claim: Claim) -> list[tuple[str, str, str, str]]:
    """(test, effect, seeds, outcome) of each test with evidence, or of each reported measure."""
    if claim.tests:
        return [
            (_plain(outcome.criterion), effect(outcome), str(outcome.seeds), outcome.outcome)
            for outcome in verdict.outcomes
            if outcome.interval
        ]
    return [
        (_plain(measure), str(over_seeds(values)), str(len(values)), "reported")
        for measure, values in (verdict.evidence or {}).items()
        if values
    ]


def effect(outcome: Outcome) -> str:
    """The mean with its interval, or the share of seeds where these are counted."""
    if not outcome.interval:
        return "–"
    counts = outcome.criterion.startswith("in ")
    return f"{outcome.interval.estimate:.0%} of seeds" if counts else str(outcome.interval)


def _plain(measure: str) -> str:
    return measure.replace("_", " ")


def where_shown(line: Line, there: set[str]) -> str:
    """A line of Markdown that leads to the chapter and to the figure."""
    chapter, figure = line.claim.chapter, line.claim.figure
    if chapter not in there:
        return f"Chapter {chapter_number(chapter)} is not written yet."
    shown = f", {{numref}}`{figure}`" if figure else ""
    return f"Chapter {chapter_number(chapter)}, [](./{chapter}){shown}."
