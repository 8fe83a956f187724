"""Chapter 9: from the verdicts that chapters recorded to counts, lines of a matrix, sentences."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from chapters.shared import STAND_INS
from harness.claims import VERDICTS, Verdict, combine_parts, survives
from harness.ledger import Claim
from lib.sets import KNOWN


class Paper(NamedTuple):
    """What the papers' rows are grouped by."""

    topic: str
    authors: str


PAPERS = {
    "000": Paper("Shortcuts", "Suhail & Sethi 2025"),
    "001": Paper("Network inversion", "Suhail et al. 2024"),
    "002": Paper("Training-like data", "Suhail & Sethi 2024"),
    "003": Paper("Starting points", "Runkel et al. 2024"),
    "004": Paper("Training images", "Haim et al. 2022"),
}
OWN = Paper("This book", "our own, not counted")


class Look(NamedTuple):
    """How a verdict is shown: a letter, words, and a name for style sheets."""

    letter: str
    words: str
    style: str


LOOKS = {  # in the order in which they are shown and sorted
    "REPRODUCED": Look("R", "reproduced", "reproduced"),
    "PARTIAL": Look("P", "partly", "partly"),
    "INCONCLUSIVE": Look("I", "inconclusive", "inconclusive"),
    "UNINFORMATIVE": Look("U", "uninformative", "uninformative"),
    "NOT-REPRODUCED": Look("N", "not reproduced", "not-reproduced"),
    "REPORTED": Look("r", "reported", "reported"),
    "NOT-RUN": Look("–", "not run", "not-run"),
}
assert {*LOOKS} == {*VERDICTS}
JUDGED = ("REPRODUCED", "PARTIAL", "INCONCLUSIVE", "UNINFORMATIVE", "NOT-REPRODUCED")
DECIDED = ("REPRODUCED", "PARTIAL", "NOT-REPRODUCED")
WHOLE = "as a whole"  # the column of claims that are not judged by data set


class Cell(NamedTuple):
    """The verdict on a claim in one column, and what it is made of."""

    verdict: str
    note: str


@dataclass(frozen=True)
class Line:
    """One claim with all that is shown of it; cells: by column, without those that do not apply.

    kept: whether its decisive tests stay so after Holm's correction; None without any.
    """

    claim: Claim
    verdict: Verdict
    cells: Mapping[str, Cell]
    kept: bool | None = None

    @property
    def counted(self) -> bool:
        return is_row(self.claim)

    @property
    def stand_ins(self) -> list[str]:
        """The data sets that were run in place of others: "own in place of other"."""
        sets = {column_of(part) for part in self.verdict.parts}
        return [f"{own} in place of {of}" for own, of in STAND_INS.items() if own in sets]


# --- the ledger's rows --------------------------------------------------------------------------


def is_row(claim: Claim) -> bool:
    """Whether it is a row of the papers' claims: neither a variant nor one of the book's own."""
    return claim.paper in PAPERS and re.fullmatch(r"[A-Z][0-9]{2}", claim.id) is not None


def column_of(part: str) -> str:
    """The data set that a part belongs to, "MLP, MNIST" -> "MNIST", or else `WHOLE`."""
    last = part.rpartition(", ")[2]
    return last if last in {known.title for known in KNOWN.values()} else WHOLE


def columns(found: Sequence[Verdict]) -> list[str]:
    """The data sets that occur, in the order in which chapters have them, and `WHOLE`."""
    seen = dict.fromkeys(column_of(part) for verdict in found for part in verdict.parts)
    return [*(name for name in seen if name != WHOLE), WHOLE]


def lines(found: Sequence[Verdict], claims: Mapping[str, Claim]) -> list[Line]:
    """One line a claim, in the order of the ledger, each variant directly below its row."""
    names = columns(found)
    kept = survives(found, claims=claims)
    made = [
        Line(claims[v.id], v, cells(v, claims[v.id], names), kept.get(v.id))
        for v in found
    ]  # fmt: skip
    below: dict[str, list[Line]] = {}
    for line in made:
        below.setdefault(line.claim.row, []).append(line)
    return [each for line in below.get("", []) for each in (line, *below.get(line.claim.id, []))]


def grouped(shown: Sequence[Line]) -> dict[Paper, list[Line]]:
    """The lines of every paper, and of this book."""
    papers = {
        **PAPERS,
        **{line.claim.paper: OWN for line in shown if line.claim.paper not in PAPERS},
    }
    groups = {paper: [] for paper in papers.values()}
    for line in shown:
        groups[papers[line.claim.paper]].append(line)
    return {paper: group for paper, group in groups.items() if group}


def cells(verdict: Verdict, claim: Claim, names: Sequence[str]) -> dict[str, Cell]:
    """The verdict by data set, or as a whole; parts in one column are combined.

    A claim by data set has every data set: where there is no part of it, it was not run.
    """
    parts: dict[str, list[str]] = {}
    for name, part in verdict.parts.items():
        parts.setdefault(column_of(name), []).append(part.verdict)
    if not parts:
        parts[WHOLE] = [verdict.verdict]
    if verdict.parts and WHOLE not in parts or verdict.verdict == "NOT-RUN" and claim.parts:
        by_set = {name: parts.get(name, []) for name in names if name != WHOLE}
        parts = by_set or parts
    return {
        name: Cell(combine_parts(each, parts=len(each), needed=len(each)), told(each))
        for name, each in parts.items()
    }


def told(verdicts: Sequence[str]) -> str:
    """The verdicts on parts in words: "2 reproduced, 1 inconclusive"."""
    counts = Counter(verdicts)
    if len(verdicts) < 2:
        return LOOKS[verdicts[0] if verdicts else "NOT-RUN"].words
    return ", ".join(f"{counts[v]} {look.words}" for v, look in LOOKS.items() if counts[v])


# --- counts -------------------------------------------------------------------------------------


def counts(shown: Sequence[Line]) -> pd.DataFrame:
    """How many rows of each paper have which verdict: papers as index, verdicts as columns."""
    rows = [line for line in shown if line.counted]
    made = {
        paper.topic: Counter(line.verdict.verdict for line in rows if line.claim.paper == key)
        for key, paper in PAPERS.items()
    }
    table = pd.DataFrame.from_dict(made, orient="index", columns=list(LOOKS))
    return table.fillna(0).astype(int)


def count_table(shown: Sequence[Line]) -> pd.DataFrame:
    """`counts` with letters as columns, the numbers of claims and the sums."""
    table = counts(shown)
    table.loc["all five"] = table.sum()
    table.columns = [look.letter for look in LOOKS.values()]
    table.insert(0, "claims", table.sum(axis=1))
    return table.rename_axis("paper").reset_index()


def silent(shown: Sequence[Line]) -> list[str]:
    """Chapters that judge claims, and of which nothing is recorded."""
    heard = {line.verdict.source for line in shown}
    return sorted({line.claim.chapter for line in shown} - heard)


def written(folder: str | Path = "notebooks") -> set[str]:
    """The chapters that there are."""
    return {path.stem for path in Path(folder).glob("*.py")}


# --- sentences ----------------------------------------------------------------------------------


def finding(table: pd.DataFrame) -> str:
    """What the figure shows, as its title."""
    judged, all_ = table[list(JUDGED)].sum().sum(), table.sum().sum()
    return f"{judged} of {all_} claims judged, {table['REPRODUCED'].sum()} reproduced"


def spoken(table: pd.DataFrame) -> str:
    """The figure for those who do not see it."""
    bars = [
        f"{paper}: {', '.join(f'{n} {LOOKS[verdict].words}' for verdict, n in row.items() if n)}"
        for paper, row in table.iterrows()
    ]
    return f"A bar a paper, divided by verdict. {'; '.join(bars)}."


def answer(shown: Sequence[Line], there: set[str]) -> str:
    """The chapter's answer: the counts of verdicts, and why claims were not run."""
    sums = counts(shown).sum()
    judged = sums[list(JUDGED)].sum()
    absent = [line for line in shown if line.counted and line.claim.chapter not in there]
    later = sum(line.verdict.verdict == "NOT-RUN" for line in absent)
    nulls = sums["UNINFORMATIVE"]
    return (
        f"Of the papers' {sums.sum()} claims {judged} could be judged: "
        f"**{sums['REPRODUCED']} reproduced, {sums['PARTIAL']} partly, "
        f"{sums['NOT-REPRODUCED']} not**; in {sums['INCONCLUSIVE']} an interval straddles its "
        "threshold"
        + (f", in {nulls} a null passes, too" if nulls else "")
        + f". Reported without one: {sums['REPORTED']}. Not run: {sums['NOT-RUN']}"
        + (f", {later} of them in chapters yet to be written" if later else "")
        + f". Variants, not counted: {variants(shown)}."
    )


def variants(shown: Sequence[Line]) -> int:
    """How many entries vary a row and were judged or reported."""
    return sum(bool(line.claim.row) and line.verdict.verdict != "NOT-RUN" for line in shown)


def who_is_silent(shown: Sequence[Line], there: set[str]) -> str:
    """Which chapters recorded nothing, and why, as far as can be told."""
    unheard = silent(shown)
    failed = [f"[](./{stem})" for stem in unheard if stem in there]
    absent = [chapter_number(stem) for stem in unheard if stem not in there]
    told = []
    if failed:
        told.append(f"Nothing was recorded by {', '.join(failed)}: not executed, or it failed.")
    if absent:
        told.append(f"Not written yet: chapter{'s' * (len(absent) > 1)} {', '.join(absent)}.")
    return " ".join(told) or "Every chapter recorded its verdicts."


def chapter_number(stem: str) -> str:
    """07_kkt_reconstruction -> 7"""
    return stem.partition("_")[0].lstrip("0") or stem


def corrected(shown: Sequence[Line]) -> str:
    """How many decided claims keep their tests when all of a paper are corrected together."""
    decided = [
        line
        for line in shown
        if line.counted and line.kept is not None and line.verdict.verdict in DECIDED
    ]
    lost = [line.claim.id for line in decided if not line.kept]
    text = (
        f"{len(decided)} claims are decided, one way or the other, by intervals; in "
        f"{len(decided) - len(lost)} of them every decisive test stays so after the correction"
    )
    return text + (f", in {', '.join(link(id) for id in lost)} not every one." if lost else ".")


def link(id: str) -> str:
    """To the entry of a claim; as HTML, as Markdown links only to what it made itself."""
    return f'<a href="#{id}">{id}</a>'
