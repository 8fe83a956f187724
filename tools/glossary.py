"""The terms that chapters explain on the spot: measures that the page on notation defines in words.

Only terms that mean one thing everywhere are taken: names with a capital letter, or hyphenated ones.
Their meaning is the second cell of their row, if it can be read by itself, without formulas.
"""

import re
from typing import NamedTuple

TABLE = re.compile(r"^```\{list-table\}.*?^```", re.MULTILINE | re.DOTALL)
ROW = re.compile(r"^\* - (?P<term>.+)\n  - (?P<meaning>(?:.+\n?(?!  - |\* - ))+)", re.MULTILINE)


class Term(NamedTuple):
    """A term, what it means in plain words, and the name of the table that has it."""

    term: str
    meaning: str
    table: str


def terms(text: str) -> list[Term]:
    """The terms in the tables of a MyST page, in order."""
    found = []
    for table in TABLE.findall(text):
        name = re.search(r"^:name: (\S+)$", table, re.MULTILINE)
        for row in ROW.finditer(table):
            term, meaning = row["term"].strip(), plain(row["meaning"])
            if name and is_name(term) and meaning and not meaning.startswith("the same"):
                found.append(Term(term, meaning, name[1]))
    return found


def is_name(term: str) -> bool:
    """Whether a term is a name of its own rather than a common word or a symbol."""
    return bool(re.fullmatch(r"[\w -]+", term)) and bool(re.search(r"[A-Z]|\w-\w", term))


def plain(meaning: str) -> str:
    """Without references and citations; nothing where it holds a formula or code."""
    text = re.sub(r"\s*\{cite(?::\w)?\}`[^`]*`", "", meaning)
    text = re.sub(r"\s*\((?:00\d)[^)]*\)", "", text)
    return "" if re.search(r"[$`{]", text) else " ".join(text.split())
