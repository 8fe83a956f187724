"""The ledger of claims: what a paper says, and the threshold that was fixed before the runs."""

from __future__ import annotations

import functools
import re
import reprlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

COMPARISONS = {"at_least": "≥", "at_most": "≤", "above": ">", "below": "<", "between": "in"}
STATISTICS = ("mean", "share_of_seeds", "every")
_SHORT = reprlib.Repr()  # a few lines of YAML can stand for gigabytes of text
_SHORT.maxlevel = 2
KINDS = ("Q", "D", "V", "P", "N", "T", "M")


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
        }.get(self.statistic, "mean of ")
        return f"{over}{self.measure} {COMPARISONS[self.comparison]} {limit}"


@dataclass(frozen=True)
class Claim:
    """One entry of the ledger; `seeds` is the smallest number that allows a verdict.

    parts, needed: how many parts it speaks of, and how many must be reproduced; 0 without parts.
    chapter: the notebook that judges it, or will.  figure, caveat: the figure that shows it, and
    what a reader of the verdict must know.  missing: what it takes, where nothing was run.
    row, differs: for an entry that varies a row of the papers' claims, which, and in what.
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
    chapter: str = ""
    figure: str = ""
    caveat: str = ""
    missing: str = ""
    row: str = ""
    differs: str = ""


# --- the ledger -------------------------------------------------------------------------------


@functools.lru_cache
def load(folder: str | Path) -> Mapping[str, Claim]:
    """The claims of every `*.yaml` in a folder, by id, in the order of the files.

    Raises FileNotFoundError, or ValueError naming the file and the entry at fault.
    """
    files = sorted(Path(folder).glob("*.yaml"))
    if not files:
        raise FileNotFoundError(f"There is no ledger of claims in {folder}.")
    found: dict[str, Claim] = {}
    for path in files:
        try:
            entries = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
        except RecursionError:
            raise ValueError(f"{path.name} cannot be read: it is nested too deeply.") from None
        except (YAMLError, ValueError) as error:  # also for a key that stands twice
            raise ValueError(f"{path.name} cannot be read: {error}") from error
        if not isinstance(entries, dict):
            raise ValueError(f"{path.name} must map claim ids to their entries.")
        for id, entry in entries.items():
            if id in found:
                raise ValueError(f"Claim {id} stands in {path.name} and in a file before it.")
            found[id] = _claim(id, entry)
    for claim in found.values():
        if claim.row and (claim.row not in found or found[claim.row].row):
            raise ValueError(f"Claim {claim.id} varies {claim.row}, which is no row of the ledger.")
    return found


_TEXTS = {"paper", "where", "kind", "statement", "reference", "criterion", "chapter"}
_FIELDS = {*_TEXTS, "seeds", "tests"}
_OPTIONAL_TEXTS = {"figure", "caveat", "missing", "row", "differs"}
_OPTIONAL = {"parts", "needed", *_OPTIONAL_TEXTS}


def _claim(id: Any, entry: Any) -> Claim:
    if not isinstance(id, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*", id):
        raise ValueError(f"{_SHORT.repr(id)} is no claim id: use letters, digits and hyphens.")
    if wrong := (set(entry) - _OPTIONAL if isinstance(entry, dict) else set()) ^ _FIELDS:
        raise ValueError(f"Claim {id} must have the fields {sorted(_FIELDS)}, and may have "
                         f"{sorted(_OPTIONAL)}; missing or unknown: "
                         f"{sorted(map(str, wrong))}.")  # fmt: skip
    for name in sorted(_TEXTS | _OPTIONAL_TEXTS & entry.keys()):
        if not isinstance(entry[name], str) or not entry[name].strip():
            raise ValueError(f"Claim {id}: {name} must be a text (in quotes, if YAML reads more).")
    if entry["kind"] not in KINDS:
        raise ValueError(f"Claim {id}: kind must be one of {', '.join(KINDS)}.")
    if type(entry["seeds"]) is not int or entry["seeds"] < 1:
        raise ValueError(f"Claim {id}: seeds must be a whole number above 0.")
    parts = entry.get("parts", 0)
    needed = entry.get("needed", parts)
    whole = type(parts) is int and type(needed) is int
    if {"parts", "needed"} & entry.keys() and not (whole and 1 <= needed <= parts):
        raise ValueError(f"Claim {id}: parts, and needed if it is there, must be whole numbers "
                         "with 1 ≤ needed ≤ parts; needed goes with parts only.")  # fmt: skip
    if not isinstance(entry["tests"], list):
        raise ValueError(f"Claim {id}: tests must be a list; [] if the claim is only reported.")
    tests = tuple(_criterion(id, test) for test in entry["tests"])
    if ("row" in entry) != ("differs" in entry) or entry.get("row") == id:
        raise ValueError(f"Claim {id}: an entry that varies another names it as row, and says in "
                         "what it differs.")  # fmt: skip
    fields = {k: entry[k] for k in {*_FIELDS, *_OPTIONAL_TEXTS} & entry.keys()}
    return Claim(id=id, **{**fields, "tests": tests, "parts": parts, "needed": needed})


def _criterion(id: str, test: Any) -> Criterion:
    fields = dict(test) if isinstance(test, dict) else {}
    measure, statistic = fields.pop("measure", None), fields.pop("statistic", "mean")
    share = fields.pop("share", None)
    if not isinstance(measure, str) or len(fields) != 1 or not fields.keys() <= COMPARISONS.keys():
        raise ValueError(
            f"Claim {id}: a test is a measure with exactly one of {', '.join(COMPARISONS)} "
            f"and, if wanted, statistic and share, not {_SHORT.repr(test)}."
        )
    [(comparison, threshold)] = fields.items()
    needed = 2 if comparison == "between" else 1
    numbers = threshold if isinstance(threshold, list) else [threshold]
    sound = all(type(n) in (int, float) and abs(n) <= sys.float_info.max for n in numbers)
    if len(numbers) != needed or not sound or (needed == 2 and numbers[0] > numbers[1]):
        given = _SHORT.repr(threshold)
        raise ValueError(f"Claim {id}: {comparison} of {measure} cannot be {given}.")
    if statistic not in STATISTICS:
        raise ValueError(f"Claim {id}: statistic must be one of {', '.join(STATISTICS)}.")
    given = "share" in test
    sensible = type(share) in (int, float) and 0 < share <= 1
    if given != (statistic == "share_of_seeds") or (given and not sensible):
        raise ValueError(f"Claim {id}: share_of_seeds, and only that, needs a share in (0, 1].")
    bound = tuple(map(float, numbers)) if comparison == "between" else float(numbers[0])
    return Criterion(measure, comparison, bound, statistic, share)
