"""The pages of a book in worlds that say the opposite: the same runs with their values exchanged.

A sentence that compares should not stand in all of them.

    published     the values as they are published
    between runs  each measure of a function on a data set is handed to its runs in reversed rank
                  order: every paired difference between arms turns round, every value is plausible
    within runs   measures that are compared within a run are handed round in reversed rank order
    mirrored      measures that are held against a constant are mirrored in it, and what was
                  followed over time runs backwards
"""

import ast
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial, wraps
from importlib import import_module
from importlib.util import find_spec
from inspect import getmembers, getsource, isfunction, unwrap
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from percent import (
    cell_tags,
    chapter_folder,
    checked_overrides,
    default_parameters,
    read_notebook,
    read_profile,
)

import harness.figures
import harness.study
from chapters import shared
from harness import page, stamp
from harness.results import Result

ROOT = Path(__file__).resolve().parents[2]

# --- values that say the opposite -------------------------------------------------------------

Results = Mapping[Path, Result]

# What describes a run rather than measures something, and what chooses the runs that are asked.
FIXED = {
    "diverged", "parameters", "training_images", "test_images", "images_compared",
    "steps_per_epoch", "mask_pixels", "candidates",
}  # fmt: skip
TUNING_SEED = 0  # of the runs that only choose settings


@dataclass(frozen=True)
class Compared:
    """What a chapter compares within a run.

    groups: measures held against each other.  constants: measures held against a number.
    columns: arrays whose columns are held against each other.
    """

    groups: Sequence[Sequence[str]] = ()
    constants: Mapping[str, float] = field(default_factory=dict)
    columns: Sequence[str] = ()


def between_runs(results: Results, of: Compared) -> Results:
    """Each measure handed to the runs of its function and data set in reversed rank order.

    Arrays and lists are handed on whole, by their means, among those of one shape.
    """
    pools: dict[tuple, list[tuple[Path, Any]]] = defaultdict(list)
    for path, result in results.items():
        for name, value in _measures(result).items():
            dataset = result.parameters.get("dataset")
            pools[result.function, dataset, name, np.shape(value)].append((path, value))
    handed: dict[Path, dict[str, Any]] = defaultdict(dict)
    for (*_, name, _), pool in pools.items():
        for (path, _), value in zip(pool, _reversed_ranks([value for _, value in pool])):
            handed[path][name] = value
    return {path: _with(result, handed[path]) for path, result in results.items()}


def within_runs(results: Results, of: Compared) -> Results:
    """Each run with the measures of a group, and the columns of an array, in reversed order."""
    turned = {}
    for path, result in results.items():
        measures = _measures(result)
        new = {name: np.flip(measures[name], -1) for name in of.columns if name in measures}
        for group in of.groups:
            here = [name for name in group if name in measures]
            new |= zip(here, _reversed_ranks([measures[name] for name in here]))
        turned[path] = _with(result, new)
    return turned


def mirrored(results: Results, of: Compared) -> Results:
    """Each run on the other side of the constants, and backwards in time."""
    turned = {}
    for path, result in results.items():
        new = {}
        for name, value in _measures(result).items():
            if name in of.constants:
                other = 2 * of.constants[name] - np.asarray(value)
                new[name] = other if name in result.arrays else other.tolist()
            elif np.ndim(value):
                new[name] = value[::-1]
        turned[path] = _with(result, new)
    return turned


def _reversed_ranks(values: Sequence[Any]) -> list[Any]:
    """The values with the highest exchanged for the lowest; equal ones stay equal."""
    known = {float(np.mean(value)): value for value in values}
    ranks = sorted(known)
    other = dict(zip(ranks, reversed(ranks)))
    return [known[other[float(np.mean(value))]] for value in values]


def _measures(result: Result) -> dict[str, Any]:
    """The numbers, lists of numbers and arrays of a run that measure something.

    Not integers in an array, which are images, labels or steps, nor a rising list of integers.
    """
    if result.parameters.get("seed") == TUNING_SEED:
        return {}
    found = {}
    for name, value in {**result.scalars, **result.arrays}.items():
        numbers = np.asarray(value)
        whole = numbers.dtype.kind == "i"
        steps = whole and numbers.ndim and (name in result.arrays or (np.diff(numbers) > 0).all())
        measures = numbers.size and numbers.dtype.kind in "if" and np.isfinite(numbers).all()
        if measures and not steps and name not in FIXED:
            found[name] = value
    return found


def _with(result: Result, values: Mapping[str, Any]) -> Result:
    scalars = {name: values.get(name, value) for name, value in result.scalars.items()}
    arrays = {name: values.get(name, value) for name, value in result.arrays.items()}
    return replace(result, scalars=scalars, arrays=arrays)


WORLDS: dict[str, Callable[[Results, Compared], Results]] = {
    "published": lambda results, of: results,
    "between runs": between_runs,
    "within runs": within_runs,
    "mirrored": mirrored,
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

    @classmethod
    def of(cls, source: str, line: int = 1, where: str = "a notebook") -> "Cell":
        tree = ast.parse("\n" * (line - 1) + source)
        names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
        imported = {
            (alias.asname or alias.name).partition(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, (ast.Import, ast.ImportFrom))
            for alias in node.names
        }
        reads = frozenset(n.id for n in names if isinstance(n.ctx, ast.Load))
        writes = frozenset(n.id for n in names if isinstance(n.ctx, ast.Store)) | imported
        return cls(line, compile(tree, where, "exec"), reads, writes)


def cells_of(notebook: Path, profile: str, **given: Any) -> list[Cell]:
    """The code cells; that of the parameters has the values of the profile and those given."""
    read = read_notebook(notebook)
    lines = notebook.read_text(encoding="utf-8").splitlines()
    defaults = default_parameters(read, notebook.name)
    overrides = read_profile(notebook, profile) | given
    parameters = defaults | checked_overrides(defaults, overrides, notebook.name)
    cells, line = [], 0
    for cell in read.cells:
        first = cell.source.splitlines()[0]
        shown = (first if cell.cell_type == "code" else f"# {first}").rstrip()
        line = lines.index(shown, line) + 1
        if cell.cell_type == "code":
            source = cell.source
            if "parameters" in cell_tags(cell):
                source = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
            cells.append(Cell.of(source, line, str(notebook)))
    return cells


def pages_of(notebook: Path, of: Compared, profile: str = "laptop") -> dict[str, list[Said]]:
    """What the page of a notebook says in every world, from published runs alone."""
    cells = cells_of(notebook, profile, compute=False, results=str(ROOT / "results"))
    figures = import_module(f"chapters.{chapter_folder(notebook).name}.figures")
    return in_every_world(cells, of, figures)


def in_every_world(
    cells: Sequence[Cell], of: Compared, figures: ModuleType
) -> dict[str, list[Said]]:
    """What the cells say in every world.

    A cell that no run reaches, such as a network that is trained on the page, is executed once.
    """
    said: dict[str, list[Said]] = {}
    answered: dict[tuple[Callable, str], list[Result]] = {}
    live: dict[int, tuple[dict[str, Any], list[Said]]] = {}
    read = harness.study.sweep

    def published(function, runs, **settings):
        found = read(function, runs, **settings)
        answered[function, repr(runs)] = found
        return found

    for world, turn in WORLDS.items():
        sweep = published
        if said:
            found = {result.path: result for runs in answered.values() for result in runs}
            sweep = partial(_turned, answered, turn(found, of))
        with _recording(sweep, figures) as (place, texts):
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


def _turned(
    answered: Mapping[tuple[Callable, str], Sequence[Result]], turned: Results, function, runs, **_
) -> list[Result]:
    """A sweep in another world; KeyError if it asks for other runs than the published page."""
    return [turned[result.path] for result in answered[function, repr(runs)]]


# What a page computes before the reader's eyes, shortened: its sentences are the same.
SHORT = {
    "lib.train.fit": {"steps": 20},
    "lib.inversion.invert": {"steps": 21},
    "lib.margin.fit_margin": {"epochs": 60},
    "lib.reconstruction.eliminated_attack": {"iterations": 4},
}


@contextmanager
def _recording(sweep: Callable, figures: ModuleType) -> Iterator[tuple[list[int], list[Said]]]:
    """Pages that keep what they are told, without figures; ([line of the cell], what was said)."""
    place, texts = [0], []

    def keep(by: str, text: str) -> None:
        if text:
            texts.append(Said(place[0], by, " ".join(text.split())))

    def show(fig, *, alt, caption, name):
        keep("alt", alt)
        keep("caption", caption)

    def slider(states, *, caption, **_):
        keep("caption", caption)
        for state in states or ():
            keep("say", state.sentence)
            keep("alt", state.alt)

    chapter = figures.__name__.rpartition(".")[0]
    if chapter and find_spec(f"{chapter}.plays"):
        import_module(f"{chapter}.plays")  # with the figures that a state cannot be without

    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(harness.study, "sweep", sweep)
        patch.setattr(page, "show", show)
        patch.setattr(page, "table", lambda frame, *, caption, **_: keep("caption", caption))
        patch.setattr(page, "slider", slider)
        patch.setattr(page, "quiz", lambda _, *, caption, **__: keep("caption", caption))
        patch.setattr(page, "answer", lambda text, **_: keep("answer", text))
        patch.setattr(page, "Markdown", str)
        patch.setattr(page, "display", lambda text, **_: keep("say", text))
        for name in ("verdicts", "status"):
            patch.setattr(page, name, lambda *_, **__: None)
        for module in (harness.figures, figures):
            for name, function in getmembers(module, isfunction):
                own = not name.startswith("_") and function.__module__ == module.__name__
                if own and "finding=" not in getsource(unwrap(function)):
                    patch.setattr(module, name, lambda *_, **__: None)
        if hasattr(figures, "key"):
            patch.setattr(figures, "key", lambda *_, finding="": keep("title", finding))
        for where, most in SHORT.items():
            module, _, name = where.rpartition(".")
            function = getattr(import_module(module), name)
            patch.setattr(where, _shortened(function, most))
        try:
            yield place, texts
        finally:
            torch.set_num_threads(threads)
            stamp.declare({})
            shared.subject.cache_clear()  # trained for too few steps for anybody else


def _shortened(function: Callable, most: Mapping[str, int]) -> Callable:
    """The function with a limit on some of its keyword arguments."""

    @wraps(function)
    def short(*args, **kwargs):
        fewer = {name: min(kwargs[name], limit) for name, limit in most.items() if name in kwargs}
        return function(*args, **{**kwargs, **fewer})

    return short


# --- sentences --------------------------------------------------------------------------------

COMPARES = re.compile(
    r"\b(more|less|fewer|larger|largest|smaller|smallest|higher|highest|lower|lowest|better|worse"
    r"|best|worst|most|mostly|least|above|below|beats?|exceeds?|faster|slower|later|sooner|earlier"
    r"|nearer|farther|longer|shorter|wider|narrower|stronger|weaker|brighter|darker|noisier|easier"
    r"|harder|rises?|rising|falls?|falling|drops?|turns?|grows?|shrinks?|differs?|nearly|hardly|only"
    r"|none|all|every|everywhere|no|nothing|nobody|never|always|than)\b",
    re.IGNORECASE,
)
# Where something stands on the page.
PLACE = re.compile(r"^(above|below)\b|\((above|below)\b|\b(above|below)[,:;)]", re.IGNORECASE)
# A count such as "3 of 4" says itself what holds where, and stays a number.
NUMBER = re.compile(r"\d+ of \d+\b(?! %)|[-+−]?\d[\d,.]*\d|[-+−]?\d")
END = re.compile(r"(?<=[.!?;])\s+|(?<=[.!?;][*)])\s+|(?<=[.!?;]\*\*)\s+")


def sentences(text: str) -> list[str]:
    """The clauses of a text, with # for each number but a count."""
    plain = NUMBER.sub(lambda found: found[0] if " of " in found[0] else "#", text)
    return [clause.strip() for clause in END.split(plain) if clause.strip()]


def compares(sentence: str, names: Collection[str] = ()) -> bool:
    """Whether a clause compares; names: words in it that do not count.

    "0 of 4" says that nothing was found to be so.
    """
    if re.search(r"\b0 of \d", sentence):
        return False
    for name in names:
        sentence = re.sub(rf"{re.escape(name)}(?!\w)", "", sentence, flags=re.IGNORECASE)
    return bool(COMPARES.search(PLACE.sub("", sentence)))


def survivors(said: Mapping[str, Sequence[Said]], names: Collection[str] = ()) -> list[Said]:
    """Clauses of the published page that compare and stand word for word in every world."""
    others = [
        {sentence for told in texts for sentence in sentences(told.text)}
        for world, texts in said.items()
        if world != "published"
    ]
    return [
        told._replace(text=sentence)
        for told in said["published"]
        for sentence in sentences(told.text)
        if compares(sentence, names) and all(sentence in other for other in others)
    ]
