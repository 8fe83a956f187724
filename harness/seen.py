"""What the names of a notebook hold of runs, for the pages that tell where numbers come from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from harness.results import Result, Runs
from harness.study import Study


def seen(names: Mapping[str, Any]) -> dict[str, Any]:
    """What a kernel that has executed a notebook knows of its runs; {} without any study.

    names: the notebook's own. "files": [file below the folder of results, when it was finished]
    of every run of its studies that is there.  "runs": `facts` of all of them.  "names": for each
    name that holds runs, the places of their files in "files", and how many are not there; the
    entry "planted" of a mapping `asked` is called `asked['planted']`.
    """
    studies = [value for value in names.values() if isinstance(value, Study)]
    results = {result.path: result for study in studies for result in study.results}
    if not results:
        return {}
    here = [result for result in results.values() if result.status not in ("missing", "failed")]
    places = {result.path: place for place, result in enumerate(here)}
    held = {}
    for name, runs in _named_runs(names):
        held[name] = {
            "files": [places[result.path] for result in runs if result.path in places],
            "absent": len(runs.absent),
        }
    files = [[_file(result), str(result.provenance.get("finished", ""))] for result in here]
    return {"files": files, "runs": facts(results.values()), "names": held}


def facts(results: Iterable[Result]) -> dict[str, Any]:
    """How many runs are there, stale, missing, failed; their seconds in all, hardware and days."""
    results = list(results)
    counts = Counter(result.status for result in results)
    made = [result.provenance for result in results if result.provenance]
    days = sorted(p["finished"][:10] for p in made if p.get("finished"))
    return {
        "all": len(results),
        "missing": counts["missing"],
        "failed": counts["failed"],
        "stale": counts["stale"],
        "seconds": round(sum(p.get("seconds") or 0 for p in made), 1),
        "devices": sorted({str(p.get("device", "unknown")) for p in made}),
        "days": [days[0], days[-1]] if days else [],
    }


def _named_runs(names: Mapping[str, Any]) -> Iterable[tuple[str, Runs]]:
    for name, value in names.items():
        if name.startswith("_"):
            continue
        if isinstance(value, Runs):
            yield name, value
        elif isinstance(value, Mapping):
            for key, held in value.items():
                if isinstance(held, Runs):
                    yield f"{name}[{key!r}]", held


def _file(result: Result) -> str:
    """chapter.function/run.json: where below the folder of results."""
    return f"{result.path.parent.name}/{result.path.name}"
