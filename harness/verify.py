"""Recompute a random sample of published runs and say which agree within tolerance."""

from __future__ import annotations

import argparse
import importlib
import inspect
import math
import random
import re
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from harness import store
from harness.equivalences import load_equivalences
from harness.loaded import file_of, is_ours
from harness.results import Result, described
from harness.stamp import stamp
from harness.sweep import run_in_threads


@dataclass(frozen=True)
class Check:
    """One published run, computed again.

    outcome: "agrees", "differs" (`details` tell where), "failed" (it could not be computed),
    "skipped" (made from somebody's own files, or too long) or "damaged" (its file cannot be trusted).
    stale: the code has changed since it was published.
    seconds: wall time of the recomputation.
    """

    path: Path
    run: str
    outcome: str
    details: tuple[str, ...] = ()
    stale: bool = False
    seconds: float = 0.0


def verify(
    folder: str | Path,
    sample: int,
    *,
    seed: int = 0,
    rtol: float = 0.01,
    max_seconds: float = 300,
) -> list[Check]:
    """Recompute `sample` runs, drawn by `seed` from all the results below `folder`.

    rtol: relative tolerance; for arrays and lists it is relative to their largest magnitude.
    Runs that took longer than max_seconds, or a GPU where there is none, are not drawn; fields
    called `seconds` or `…_seconds` are not compared. Damaged files are always reported, and one
    check counts the runs that could not be drawn.
    Raises FileNotFoundError when there is nothing to draw from.
    """
    load_equivalences(folder)
    checks, candidates, beyond = [], [], 0
    # Results stand in folders called <module>.<function>; other JSON files are none of ours.
    for path in sorted(p for p in Path(folder).rglob("*.json") if "." in p.parent.name):
        try:
            result = _in_its_place(path)
        except store.Damaged as error:
            checks.append(Check(path, path.stem, "damaged", (str(error),)))
            continue
        if files := _files(result):
            why = f"it was made from {files}, of which only the name and a hash were kept"
            checks.append(Check(path, result.label, "skipped", (why,)))
            continue
        possible = result.provenance["device_type"] == "cpu" or torch.cuda.is_available()
        if possible and result.provenance["seconds"] <= max_seconds:
            candidates.append(result)
        else:
            beyond += 1
    if not candidates and not checks:
        raise FileNotFoundError(
            f"{folder} holds no result that can be recomputed here in {max_seconds:g} seconds."
        )
    if beyond:
        why = f"taking more than {max_seconds:g} s, or a GPU where there is none: not drawn"
        runs = f"{beyond:,} run{'s' * (beyond > 1)}"
        checks.append(Check(Path(folder), runs, "skipped", (why,)))
    drawn = random.Random(seed).sample(candidates, min(sample, len(candidates)))
    return checks + [recompute(result, rtol) for result in drawn]


def _in_its_place(path: Path) -> Result:
    """The result in a file. Raises Damaged, also when the file has the name of another run."""
    content = store.load_json(path)
    function, parameters = content["function"], content["parameters"]
    if path != store.path_for(path.parent.parent, function, parameters):
        raise store.Damaged(f"{path} holds another run: {described(function, parameters)}.")
    result = store.read(path, function, parameters, "reused")
    if wrong := [
        key for key, kind in _NEEDED.items() if type(result.provenance.get(key)) not in kind
    ]:
        raise store.Damaged(f"{path} does not say its {', '.join(wrong)}.")
    return result


_NEEDED = {"device_type": (str,), "seconds": (int, float), "threads": (int,)}


def _files(result: Result) -> str:
    """The folders and files that a run was made from, as `harness.contents.named` records them."""
    texts = [value for value in result.parameters.values() if isinstance(value, str)]
    return ", ".join(text for text in texts if re.fullmatch(r"[^/]+@[0-9a-f]{12}", text))


def recompute(published: Result, rtol: float) -> Check:
    """Run the function again, under its recorded name and thread count, and compare."""
    start = time.perf_counter()
    stale = False
    try:
        function = _own_function(published.function)
        stale = stamp(function).digest != published.provenance.get("stamp")
        where = {"device": "cuda"} if published.provenance["device_type"] == "cuda" else {}
        values = run_in_threads(
            published.provenance["threads"], function, **published.parameters, **where
        )
        scalars, arrays = store.split_values(values, published.label)
    except Exception:
        error = "".join(traceback.format_exception_only(*sys.exc_info()[:2])).strip()
        outcome, details = "failed", (error,)
    else:
        left_out = published.provenance.get("left_out", {})
        compared = {name: array for name, array in arrays.items() if name not in left_out}
        details = differences(
            {**published.scalars, **published.arrays}, {**scalars, **compared}, rtol
        ) + changed(left_out, arrays, rtol)
        outcome = "differs" if details else "agrees"
    seconds = time.perf_counter() - start
    return Check(published.path, published.label, outcome, tuple(details), stale, seconds)


def _own_function(name: str) -> Callable[..., Any]:
    """The function of this project that has this name.

    A file can name any function, such as one that deletes a folder: ImportError for what does not
    stand at the top level of a module of the project.
    """
    module, _, own = name.rpartition(".")
    if is_ours(module) and file_of(module):
        function = getattr(importlib.import_module(module), own, None)
        if inspect.isfunction(function) and function.__module__ == module:
            return function
    raise ImportError(f"{name} is no function of this project, so it is not run.")


def differences(old: Mapping[str, Any], new: Mapping[str, Any], rtol: float) -> list[str]:
    """One sentence for each value that is missing, new or outside the tolerance."""
    found = []
    for name in sorted({*old, *new}):
        if name == "seconds" or name.endswith("_seconds"):
            continue
        if name not in old or name not in new:
            found.append(f"{name} is only in the {'published' if name in old else 'new'} result")
        elif not close(old[name], new[name], rtol):
            found.append(f"{name}: {_short(old[name])} published, {_short(new[name])} now")
    return found


def changed(
    left_out: Mapping[str, Any], arrays: Mapping[str, np.ndarray], rtol: float
) -> list[str]:
    """One sentence for each array that was left out of the published result and is another now.

    Of its values only a hash was kept: they count where every digit does (rtol 0).
    """
    compared = ("dtype", "shape", "sha256") if rtol == 0 else ("dtype", "shape")
    now = {name: store.fingerprint(arrays[name]) for name in left_out if name in arrays}
    return [
        f"{name}, left out of the published result, is another now"
        for name, was in left_out.items()
        if any(now.get(name, {}).get(key) != was[key] for key in compared)
    ]


def close(a: Any, b: Any, rtol: float) -> bool:
    """Whether two values agree: numbers and arrays within rtol, everything else exactly."""
    if isinstance(a, (bool, str, type(None))) or isinstance(b, (bool, str, type(None))):
        return a == b
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return math.isclose(a, b, rel_tol=rtol, abs_tol=1e-9) or (math.isnan(a) and math.isnan(b))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(close(a[key], b[key], rtol) for key in a)
    try:
        x, y = np.asarray(a), np.asarray(b)
    except ValueError:  # a list of lists of unequal lengths
        x = y = np.array("")
    if x.dtype.kind not in "biufc" or y.dtype.kind not in "biufc":
        pair = isinstance(a, (list, np.ndarray)) and isinstance(b, (list, np.ndarray))
        return pair and len(a) == len(b) and all(close(p, q, rtol) for p, q in zip(a, b))
    if x.shape != y.shape:
        return False
    finite = np.abs(x[np.isfinite(x)]).astype(float)
    scale = float(finite.max()) if finite.size else 0.0
    return bool(np.allclose(y, x, rtol=rtol, atol=rtol * scale + 1e-9, equal_nan=True))


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray):
        mean = f" with mean {value.mean():.4g}" if value.dtype.kind in "biuf" and value.size else ""
        return f"{value.dtype} {list(value.shape)}{mean}"
    return f"{value:.6g}" if isinstance(value, float) else f"{value!r:.60}"


def as_frame(checks: list[Check]) -> pd.DataFrame:
    """One row a run, for reading."""
    return pd.DataFrame(
        {
            "run": [check.run for check in checks],
            "outcome": [check.outcome for check in checks],
            "code changed": ["yes" if check.stale else "no" for check in checks],
            "seconds": [round(check.seconds, 1) for check in checks],
            "details": ["; ".join(check.details) for check in checks],
        }
    )


def main(words: list[str] | None = None) -> int:
    """`python -m harness.verify results --sample 2`; 1 unless every run agrees."""
    parser = argparse.ArgumentParser(prog="python -m harness.verify", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sample", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rtol", type=float, default=0.01)
    parser.add_argument("--max-seconds", type=float, default=300)
    chosen = parser.parse_args(words)
    try:
        checks = verify(
            chosen.folder,
            chosen.sample,
            seed=chosen.seed,
            rtol=chosen.rtol,
            max_seconds=chosen.max_seconds,
        )
    except FileNotFoundError as error:
        print(error)
        return 1
    failed = [check for check in checks if check.outcome == "failed"]
    table = as_frame(checks)
    table.loc[table["outcome"] == "failed", "details"] = "see below"
    print(table.to_string(index=False, max_colwidth=120))
    for why in dict.fromkeys(detail for check in failed for detail in check.details):
        print(f"\n{sum(why in check.details for check in failed)} failed with:\n{why}\n")
    tried = [check for check in checks if check.outcome != "skipped"]
    agreeing = sum(check.outcome == "agrees" for check in tried)
    print(f"{agreeing} of {len(tried)} runs agree within {chosen.rtol:g}.")
    return 0 if tried and agreeing == len(tried) else 1


if __name__ == "__main__":
    raise SystemExit(main())
