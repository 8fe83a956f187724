"""The pages of a book in worlds that say the opposite: the same runs with their values exchanged.

A sentence that compares should not stand in all of them.

    published     the values as they are published
    between runs  each measure of a function on a data set is handed to its runs in reversed rank
                  order: every paired difference between arms turns round, every value is plausible
    within runs   measures that are compared within a run are exchanged, those that are held
                  against a constant are mirrored in it, and what was followed over time is reversed
"""

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from inspect import getmembers, isfunction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

import harness.figures
import harness.study
from harness import page, stamp
from harness.results import Result

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tools"))
from percent import (  # noqa: E402
    cell_tags,
    checked_overrides,
    default_parameters,
    read_notebook,
    read_profile,
)

# --- values that say the opposite -------------------------------------------------------------

Results = Mapping[Path, Result]

# What describes a run rather than measures something, and what chooses the runs that are asked.
DESCRIBES = {
    "diverged", "parameters", "training_images", "test_images", "images_compared",
    "steps_per_epoch", "mask_pixels", "candidates",
}  # fmt: skip
TUNING_SEED = 0  # of the runs that only choose settings


@dataclass(frozen=True)
class Compared:
    """What a chapter compares within a run.

    pairs: measures held against each other.  constants: measures held against a number.
    columns: arrays whose columns are held against each other.
    """

    pairs: Sequence[tuple[str, str]] = ()
    constants: Mapping[str, float] = field(default_factory=dict)
    columns: frozenset[str] = frozenset()


def between_runs(results: Results, of: Compared) -> Results:
    """Each measure handed to the runs of its function and data set in reversed rank order.

    Runs with equal values stay equal. Arrays and lists are handed on whole, in the order of their
    means, among those of one shape.
    """
    pools: dict[tuple, dict[float, Any]] = defaultdict(dict)
    places = {}
    for path, result in results.items():
        for name, value in _measures(result):
            pool = (result.function, result.parameters.get("dataset"), name, np.shape(value))
            rank = float(np.mean(value))
            pools[pool].setdefault(rank, value)
            places[path, name] = pool, rank
    turned = {}
    for pool, values in pools.items():
        ranks = sorted(values)
        turned[pool] = {rank: values[other] for rank, other in zip(ranks, reversed(ranks))}
    return {
        path: _with(
            result,
            {
                name: turned[places[path, name][0]][places[path, name][1]]
                for name, _ in _measures(result)
            },
        )
        for path, result in results.items()
    }


def within_runs(results: Results, of: Compared) -> Results:
    """Each run with what is compared within it exchanged, mirrored or reversed in time."""
    return {path: _with(result, dict(_turned(result, of))) for path, result in results.items()}


def _turned(result: Result, of: Compared) -> Iterator[tuple[str, Any]]:
    other = {a: b for pair in of.pairs for a, b in (pair, pair[::-1])}
    measures = dict(_measures(result))
    for name in measures:
        value = measures[other.get(name, name)] if other.get(name, name) in measures else None
        if value is None:
            continue
        if name in of.constants:
            value = (2 * of.constants[name] - np.asarray(value)).tolist()
        elif name in of.columns:
            value = np.flip(value, axis=-1)
        elif np.ndim(value):
            value = np.flip(value, axis=0) if isinstance(value, np.ndarray) else value[::-1]
        yield name, value


def _measures(result: Result) -> Iterator[tuple[str, Any]]:
    """The numbers, lists of numbers and arrays of a run that measure something.

    Integers in an array are images, labels or steps, and a rising list of integers is steps.
    """
    if result.parameters.get("seed") == TUNING_SEED:
        return
    for name, value in result.scalars.items():
        if name in DESCRIBES or isinstance(value, (str, bool)) or value is None:
            continue
        numbers = np.asarray(value)
        steps = numbers.ndim and numbers.dtype.kind == "i" and (np.diff(numbers) > 0).all()
        if numbers.size and numbers.dtype.kind in "if" and np.isfinite(numbers).all() and not steps:
            yield name, value
    for name, value in result.arrays.items():
        if value.size and value.dtype.kind == "f" and np.isfinite(value).all():
            yield name, value


def _with(result: Result, values: Mapping[str, Any]) -> Result:
    scalars = {name: values.get(name, value) for name, value in result.scalars.items()}
    arrays = {name: values.get(name, value) for name, value in result.arrays.items()}
    return replace(result, scalars=scalars, arrays=arrays)


WORLDS: dict[str, Callable[[Results, Compared], Results]] = {
    "published": lambda results, of: results,
    "between runs": between_runs,
    "within runs": within_runs,
}

# --- a notebook in each of them ---------------------------------------------------------------


class Said(NamedTuple):
    """A text of a page: where its cell begins, by what it is said, and what."""

    line: int
    by: str
    text: str


@dataclass(frozen=True)
class Cell:
    """A code cell: its first line, its code, the names that it reads and writes."""

    line: int
    code: Any
    reads: frozenset[str]
    writes: frozenset[str]


def cells_of(notebook: Path, profile: str, **given: Any) -> list[Cell]:
    """The code cells, those of the profile's parameters after the cell of parameters."""
    read = read_notebook(notebook)
    lines = notebook.read_text(encoding="utf-8").splitlines()
    defaults = default_parameters(read, notebook.name)
    overrides = read_profile(notebook, profile) | given
    parameters = defaults | checked_overrides(defaults, overrides, notebook.name)
    cells, at = [], 0
    for cell in read.cells:
        first = cell.source.splitlines()[0]
        prefix = "" if cell.cell_type == "code" else "# "
        at = next(i for i in range(at, len(lines)) if lines[i] == (prefix + first).rstrip()) + 1
        if cell.cell_type != "code":
            continue
        source = cell.source
        if "parameters" in cell_tags(cell):
            source = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
        tree = ast.parse("\n" * (at - 1) + source)
        names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
        imported = {
            (alias.asname or alias.name).partition(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, (ast.Import, ast.ImportFrom))
            for alias in node.names
        }
        reads = frozenset(n.id for n in names if isinstance(n.ctx, ast.Load))
        writes = frozenset(n.id for n in names if isinstance(n.ctx, ast.Store)) | imported
        cells.append(Cell(at, compile(tree, str(notebook), "exec"), reads, writes))
    return cells


def pages_of(notebook: Path, of: Compared, profile: str = "laptop") -> dict[str, list[Said]]:
    """What the page says in every world, from published runs alone.

    A cell that no run reaches, such as a network that is trained on the page, is executed once.
    """
    given = {"compute": False, "results": str(ROOT / "results")}
    cells = cells_of(notebook, profile, **given)
    said: dict[str, list[Said]] = {}
    answered: dict[tuple, list[Result]] = {}
    live: dict[int, tuple[dict[str, Any], list[Said]]] = {}
    compute = harness.study.sweep

    def published(function, runs, **settings):
        found = compute(function, runs, **settings)
        answered[function.__qualname__, repr(runs)] = found
        return found

    for world, turn in WORLDS.items():
        sweep = published
        if world != "published":
            whole = {r.path: r for found in answered.values() for r in found}
            turned = turn(whole, of)

            def sweep(function, runs, **_):
                return [turned[r.path] for r in answered[function.__qualname__, repr(runs)]]

        with _recording(sweep) as (place, texts):
            namespace: dict[str, Any] = {"__name__": "__main__"}
            reached = {"study"}
            for number, cell in enumerate(cells):
                place[0], before = cell.line, len(texts)
                if reached & (cell.reads | cell.writes):
                    reached |= cell.writes
                    exec(cell.code, namespace)
                elif number in live:
                    namespace |= live[number][0]
                    texts += live[number][1]
                else:
                    exec(cell.code, namespace)
                    made = {name: namespace[name] for name in cell.writes if name in namespace}
                    live[number] = made, texts[before:]
            said[world] = texts
    return said


@contextmanager
def _recording(sweep: Callable) -> Iterator[tuple[list[int], list[Said]]]:
    """Pages that keep what they are told, without figures; ([line of the cell], what was said)."""
    place, texts = [0], []

    def keep(by: str, text: str) -> None:
        texts.append(Said(place[0], by, " ".join(text.split())))

    def show(fig, *, alt, caption, name):
        keep("alt", alt)
        keep("caption", caption)

    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(harness.study, "sweep", sweep)
        patch.setattr(page, "show", show)
        patch.setattr(page, "table", lambda frame, *, caption, **_: keep("caption", caption))
        patch.setattr(page, "answer", lambda text, **_: keep("answer", text))
        patch.setattr(page, "Markdown", str)
        patch.setattr(page, "display", lambda text, **_: keep("say", text))
        for name in ("verdicts", "status"):
            patch.setattr(page, name, lambda *_, **__: None)
        for module in [harness.figures, *_figures()]:
            for name, function in getmembers(module, isfunction):
                if not name.startswith("_") and function.__module__ == module.__name__:
                    patch.setattr(module, name, lambda *_, **__: None)
        try:
            yield place, texts
        finally:
            torch.set_num_threads(threads)
            stamp.declare({})


def _figures() -> list:
    from importlib import import_module

    return [
        import_module(f"chapters.{path.parent.name}.figures")
        for path in ROOT.glob("chapters/*/figures.py")
    ]


# --- sentences --------------------------------------------------------------------------------

COMPARES = re.compile(
    r"\b(more|less|fewer|larger|largest|smaller|smallest|higher|highest|lower|lowest|better|worse"
    r"|best|worst|most|least|above|below|beats?|exceeds?|faster|slower|later|sooner|earlier"
    r"|nearer|farther|longer|shorter|only|none|all|every|everywhere|no|nothing|never|always|than)\b",
    re.IGNORECASE,
)


def sentences(text: str) -> list[str]:
    """The sentences of a text, with # for each number."""
    plain = re.sub(r"[-+−]?\d[\d,.]*\d|[-+−]?\d", "#", text)
    return [s.strip() for s in re.split(r"(?<=[.!?:;])\s+", plain) if s.strip()]


def survivors(said: Mapping[str, Sequence[Said]]) -> list[Said]:
    """Sentences of the published page that compare and stand word for word in every world."""
    others = [
        {sentence for told in texts for sentence in sentences(told.text)}
        for world, texts in said.items()
        if world != "published"
    ]
    return [
        told._replace(text=sentence)
        for told in said["published"]
        for sentence in sentences(told.text)
        if COMPARES.search(sentence) and all(sentence in other for other in others)
    ]
