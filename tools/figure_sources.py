"""What stands below each figure: the cell that drew it, the runs that it reads, and their data.

Which runs a figure reads follows from its cell: the names in it, and what these were made from in
cells before, up to names that hold runs (`harness.seen` noted them when the notebook was executed).
The data are the runs' own values as a CSV file, one row a run, and their arrays as an NPZ file,
`<row>/<array>`, where they are not too large. A file that has changed since the notebook was
executed is left out, and how many is said.
"""

import ast
import csv
import html
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from nbformat import NotebookNode

from execution_status import days, took

MOST_ARRAYS = 2**19  # bytes of an NPZ file; more is left to the folder of results
HIDING = {"hide-input", "remove-input", "hide-cell", "remove-cell"}
MADE = ("seconds", "device", "threads", "commit", "finished")  # of a run's provenance, in the CSV


@dataclass
class Runs:
    """The runs of a figure whose files are as they were: what they hold, and where they lie."""

    kept: list[dict[str, Any]] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    changed: int = 0


# --- which runs ------------------------------------------------------------------------------------


def names_in(node: ast.AST) -> set[str]:
    """The names that code reads; of `asked["planted"]` the entry, not the whole.

    Not those that a comprehension or a lambda binds for itself.
    """
    found: set[str] = set()
    own: set[str] = set()
    for part in ast.walk(node):
        if isinstance(part, ast.comprehension):
            own |= {name.id for name in ast.walk(part.target) if isinstance(name, ast.Name)}
        elif isinstance(part, ast.arg):
            own.add(part.arg)

    def visit(part: ast.AST) -> None:
        if (
            isinstance(part, ast.Subscript)
            and isinstance(part.value, ast.Name)
            and isinstance(part.slice, ast.Constant)
        ):
            found.add(f"{part.value.id}[{part.slice.value!r}]")
            return
        if isinstance(part, ast.Name):
            found.add(part.id)
        for child in ast.iter_child_nodes(part):
            visit(child)

    visit(node)
    return found - own


def assigned(tree: ast.AST) -> Iterable[tuple[set[str], set[str]]]:
    """(names that a statement binds, names that it reads), in order."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.NamedExpr)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            bound = {
                name.id
                for target in targets
                for name in ast.walk(target)
                if isinstance(name, ast.Name)
            }
            yield bound, names_in(node.value) if node.value else set()
        elif isinstance(node, ast.For):
            yield names_in(node.target), names_in(node.iter)


def parsed(source: str) -> ast.AST:
    """The cell's tree; an empty one for a cell that is no plain Python, such as a magic."""
    try:
        return ast.parse(source)
    except SyntaxError:
        return ast.Module([], [])


def runs_read(notebook: NotebookNode, index: int, held: Mapping[str, Any]) -> list[str]:
    """The names in `held` that the cell at `index` rests on, in the order of `held`."""
    made_from: dict[str, set[str]] = {}
    for cell in notebook.cells[: index + 1]:
        if cell.cell_type == "code":
            for bound, read in assigned(parsed(cell.source)):
                for name in bound:
                    made_from[name] = made_from.get(name, set()) | read
    waiting, seen, found = names_in(parsed(notebook.cells[index].source)), set(), set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        entries = {key for key in held if key == name or key.startswith(f"{name}[")}
        if entries:
            found |= entries
        else:
            waiting |= made_from.get(name, set()) | {name.partition("[")[0]}
    return [name for name in held if name in found]


def read_runs(seen: Mapping[str, Any], names: Sequence[str], folder: Path) -> Runs:
    """The results behind these names, each once, as they were when the notebook was executed."""
    places = dict.fromkeys(place for name in names for place in seen["names"][name]["files"])
    runs = Runs()
    for place in places:
        name, finished = seen["files"][place]
        try:
            kept = json.loads((folder / name).read_text(encoding="utf-8"))
            same = str(kept["provenance"].get("finished", "")) == finished
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            same = False
        if same:
            runs.kept.append(kept)
            runs.paths.append(folder / name)
        else:
            runs.changed += 1
    return runs


# --- their data ------------------------------------------------------------------------------------


def as_csv(runs: Runs) -> str:
    """One row a run: its function, parameters, scalars and how it was made."""
    rows = []
    for row, kept in enumerate(runs.kept):
        made = {key: kept["provenance"].get(key) for key in MADE}
        values = {**kept["parameters"], **kept["scalars"]}
        # a run may measure a time of its own, called seconds
        made = {f"run {key}" if key in values else key: value for key, value in made.items()}
        rows.append({"row": row, "function": kept["function"], **values, **made})
    out = io.StringIO()
    writer = csv.DictWriter(out, list(dict.fromkeys(k for row in rows for k in row)), restval="")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: plain(value) for key, value in row.items()})
    return out.getvalue()


def plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, (list, dict)) else value


def as_npz(runs: Runs) -> bytes | None:
    """The runs' arrays, `<row>/<array>`; None where there are none, or they are too large."""
    arrays: dict[str, np.ndarray] = {}
    size = 0
    for row, (kept, path) in enumerate(zip(runs.kept, runs.paths, strict=True)):
        if not kept.get("arrays"):
            continue
        file = path.with_suffix(".npz")
        size += file.stat().st_size if file.is_file() else 0
        if size > MOST_ARRAYS or not file.is_file():
            return None
        with np.load(file, allow_pickle=False) as stored:
            arrays |= {f"{row}/{name}": stored[name] for name in stored.files}
    if not arrays:
        return None
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


# --- what is shown ---------------------------------------------------------------------------------


class Sources:
    """Builds the blocks of all figures of a site, and writes their data into one folder.

    target: the folder.  address: its place as seen from the pages of chapters.
    """

    def __init__(self, root: Path, target: Path, address: str) -> None:
        self.root, self.target, self.address = root, target, address
        self._written: dict[tuple[Path, ...], list[tuple[str, int]]] = {}

    def blocks(self, notebook: NotebookNode, record: Mapping[str, Any]) -> dict[str, str]:
        """Figure's name -> HTML, for every figure and every thing to play with of a notebook."""
        source = (self.root / record["source"]).read_text(encoding="utf-8")
        found, count = {}, 0
        for index, cell in enumerate(notebook.cells):
            count += cell.cell_type == "code"
            for name in shown_by(cell):
                hidden = HIDING & set(cell.metadata.get("tags", []))
                where = self._cell(cell.source, source, record["source"], count, bool(hidden))
                found[name] = self._block(name, where, self._runs(notebook, index, record))
        return found

    def _cell(self, code: str, source: str, path: str, count: int, hidden: bool) -> str:
        """Where the cell stands, and its code if the page does not show it."""
        place = source.find(code)
        line = f", line {source.count(chr(10), 0, place) + 1}" if place >= 0 else ""
        link = f'<a href="../source/{html.escape(path)}"><code>{html.escape(path)}</code></a>'
        shown = f'<pre tabindex="0"><code>{html.escape(code)}</code></pre>'
        said = f"Drawn by code cell {count} of {link}{line}"
        return f"<p>{said}:</p>{shown}" if hidden else f"<p>{said}.</p>"

    def _runs(
        self, notebook: NotebookNode, index: int, record: Mapping[str, Any]
    ) -> tuple[Runs, int] | None:
        """(the runs that a cell rests on, how many are not there); None where it rests on none."""
        seen = record.get("seen")
        names = runs_read(notebook, index, seen["names"]) if seen else []
        if not names:
            return None
        folder = self.root / str(record["parameters"].get("results", ""))
        absent = sum(seen["names"][name]["absent"] for name in names)
        return read_runs(seen, names, folder), absent

    def _block(self, name: str, where: str, found: tuple[Runs, int] | None) -> str:
        head = '<details class="figure-source"><summary>Source, runs and data</summary>'
        if found is None:
            return f"{head}{where}<p>It rests on no stored run.</p></details>"
        runs, absent = found
        rows = described(runs, absent)
        if links := self._data(name, runs):
            rows["Data"] = ", ".join(links)
        body = "".join(f"<dt>{term}</dt><dd>{value}</dd>" for term, value in rows.items())
        return f"{head}{where}<dl>{body}</dl></details>"

    def _data(self, name: str, runs: Runs) -> list[str]:
        """Links to the files; figures that read the same runs share them."""
        if not runs.kept:
            return []
        key = tuple(runs.paths)
        if key not in self._written:
            self.target.mkdir(parents=True, exist_ok=True)
            contents = {f"{name}.csv": as_csv(runs).encode(), f"{name}.npz": as_npz(runs)}
            self._written[key] = [
                (file, len(content)) for file, content in contents.items() if content is not None
            ]
            for file, content in contents.items():
                if content is not None:
                    (self.target / file).write_bytes(content)
        links = [
            f'<a href="{self.address}/{file}" download>{file.rpartition(".")[2].upper()}</a> '
            f"({max(1, size // 1024)} KB)"
            for file, size in self._written[key]
        ]
        if len(links) < 2 and any(kept.get("arrays") for kept in runs.kept):
            folders = dict.fromkeys(path.parent.name for path in runs.paths)
            names = ", ".join(f"<code>{html.escape(name)}</code>" for name in folders)
            links.append(f"arrays, too large for one file here: the folder of results, {names}")
        return links


def shown_by(cell: NotebookNode) -> list[str]:
    """The names of what a cell shows with a number: its figure, or things to play with."""
    figure = cell.metadata.get("mystnb", {}).get("figure", {})
    plays = [output.get("metadata", {}).get("play") for output in cell.get("outputs", [])]
    return [*([figure["name"]] if figure else []), *(play["name"] for play in plays if play)]


def described(runs: Runs, absent: int) -> dict[str, str]:
    """Term -> HTML: how many runs, seeds, commits, hardware, time."""
    made = [kept["provenance"] for kept in runs.kept]
    functions = dict.fromkeys(kept["function"].rpartition(".")[2] for kept in runs.kept)
    seeds = sorted({p["seed"] for p in made if isinstance(p.get("seed"), int)})
    commits = sorted({str(p["commit"])[:10] for p in made if p.get("commit")})
    devices = sorted({f"{p.get('device')}, threads: {p.get('threads')}" for p in made})
    when = sorted(str(p["finished"])[:10] for p in made if p.get("finished"))
    seconds = sum(p.get("seconds") or 0 for p in made)
    count = f"{len(made):,} of {', '.join(f'<code>{html.escape(f)}</code>' for f in functions)}"
    count += f", {absent:,} not there" if absent else ""
    count += f", {runs.changed:,} changed since" if runs.changed else ""
    rows = {
        "Runs": count,
        "Seeds": ", ".join(map(str, seeds)),
        "Commits": ", ".join(f"<code>{html.escape(c)}</code>" for c in commits),
        "Hardware": html.escape("; ".join(devices)),
        "Computing time": f'<span class="wall-time">{took(seconds)}</span>',
        "Made": days([when[0], when[-1]] if when else []),
    }
    return {term: value for term, value in rows.items() if value} if made else {"Runs": count}
