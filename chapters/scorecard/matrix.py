"""The matrix of claims and data sets as HTML in which nothing acts.

Every text goes through `text`, so that what stands in the ledger or in a record is never markup.
Without the script that sorts it the table is complete and in the order of the papers.
"""

import html
from collections.abc import Sequence

from chapters.scorecard.reading import LOOKS, OWN, WHOLE, Cell, Line, Paper, grouped

RANKS = {verdict: rank for rank, verdict in enumerate(LOOKS)}
EMPTY = len(RANKS)  # sorted last


def text(words: object) -> str:
    """Escaped for HTML, on one line: a blank line would end the block of HTML in Markdown."""
    return html.escape(" ".join(str(words).split()))


def matrix(shown: Sequence[Line], columns: Sequence[str]) -> str:
    """All claims by data set, grouped by paper; every cell leads to the entry of its claim."""
    names = ["claim", *columns, "verdict"]
    head = "".join(f'<th scope="col"><span>{text(name)}</span></th>' for name in names)
    bodies = [_body(paper, group, columns) for paper, group in grouped(shown).items()]
    return "\n".join(
        [
            '<div class="scorecard">',
            f"<p>{key()}</p>",
            '<table class="scorecard">',
            f"<thead><tr>{head}</tr></thead>",
            *bodies,
            "</table>",
            "</div>",
        ]
    )


def key() -> str:
    """What the letters mean."""
    return " ".join(
        f'<span class="key">{badge(verdict)} {text(look.words)}</span>'
        for verdict, look in LOOKS.items()
    )


def badge(verdict: str) -> str:
    look = LOOKS[verdict]
    return f'<span class="verdict {look.style}">{look.letter}</span>'


def _body(paper: Paper, group: Sequence[Line], columns: Sequence[str]) -> str:
    number = sum(line.counted for line in group)
    size = "" if paper == OWN else f", {number} claim{'s' * (number != 1)}"
    title = f"{text(paper.topic)} <small>{text(paper.authors + size)}</small>"
    wide = len(columns) + 2
    rows = [_row(line, columns) for line in group]
    head = f'<tr class="paper"><th scope="rowgroup" colspan="{wide}">{title}</th></tr>'
    return "\n".join(["<tbody>", head, *rows, "</tbody>"])


def _row(line: Line, columns: Sequence[str]) -> str:
    claim, verdict = line.claim, line.verdict.verdict
    kind = ' class="variant"' if claim.row else ""
    said = f"<em>Not counted.</em> {text(claim.differs)}" if claim.row else text(claim.statement)
    head = f'<th scope="row">{_link(claim.id, "id", text(claim.id))}<small>{said}</small></th>'
    look = LOOKS[verdict]
    words = f'{look.letter}<span class="words"> {text(look.words)}</span>'
    title = f"{look.words}{f' on {line.verdict.scope} parts' if line.verdict.scope else ''}"
    overall = _link(claim.id, f"verdict {look.style}", words, title)
    return (
        f"<tr{kind}>{head}"
        + "".join(_cell(claim.id, name, line.cells.get(name)) for name in columns)
        + f'<td data-rank="{RANKS[verdict]}">{overall}</td></tr>'
    )


def _cell(id: str, column: str, cell: Cell | None) -> str:
    """A cell with its letter, or an empty one where a column does not apply."""
    if cell is None:
        return f'<td data-rank="{EMPTY}"></td>'
    look = LOOKS[cell.verdict]
    title = cell.note if column == WHOLE else f"{column}: {cell.note}"
    link = _link(id, f"verdict {look.style}", look.letter, title)
    return f'<td data-rank="{RANKS[cell.verdict]}">{link}</td>'


def _link(id: str, kind: str, inner: str, title: str = "") -> str:
    told = f' title="{text(title)}"' if title else ""
    return f'<a class="{kind}" href="#{text(id)}"{told}>{inner}</a>'
