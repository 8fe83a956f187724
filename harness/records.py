"""Verdicts that chapters leave behind, and the whole ledger with them: what a scorecard shows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from harness.claims import Verdict, judge
from harness.files import write_atomically
from harness.ledger import Claim


def folder_of(results: str | Path) -> Path:
    """Where verdicts on these results are kept."""
    return Path("_build/verdicts") / Path(results).name


def record(verdicts: Sequence[Verdict], folder: str | Path) -> None:
    """Write one JSON file a claim, `folder/<id>.json`, each whole or not at all.  Raises OSError."""
    write_atomically(
        {
            Path(folder) / f"{verdict.id}.json": (
                json.dumps(asdict(verdict), indent=2, ensure_ascii=False) + "\n"
            ).encode()
            for verdict in verdicts
        }
    )


def collect(folder: str | Path, *, claims: Mapping[str, Claim]) -> list[Verdict]:
    """A verdict for every claim of the ledger, in its order; NOT-RUN where nothing is recorded.

    The recorded evidence is judged again, so a verdict always follows the ledger as it stands; a
    note tells when that changed it. Raises ValueError naming a record that cannot be used.
    """
    found = {}
    for path in sorted(Path(folder).glob("*.json")):
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            verdict = judge(kept["id"], kept["evidence"], claims=claims)
            known = {name: kept[name] for name in ("source", "profile", "runs")}
            sizes, before = tuple(kept["sizes"]), kept["verdict"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"The record {path} cannot be used ({error}): record it again, or remove it."
            ) from error
        notes = verdict.notes
        if before != verdict.verdict:
            notes += (f"Recorded as {before}; the ledger has changed since.",)
        found[verdict.id] = replace(verdict, **known, sizes=sizes, notes=notes)
    return [found.get(id) or Verdict(id, "NOT-RUN", (), 0) for id in claims]
