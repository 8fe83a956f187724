"""A tiny book whose chapters make runs on the real harness, by functions of the book's own."""

import json
import os
from pathlib import Path

from tiny_book import Book, notebook, tagged

PARAMETERS = (
    "seeds = [0, 1]\nsteps = 1\nresults = '_build/results/quick'\n"
    "compute = True\nexecutor = 'serial'\ndevice = 'cpu'"
)
RUNS = '''\
import pathlib
import time

import numpy as np

HERE = pathlib.Path(__file__).parent


def squared(seed, steps):
    """Notes that it was called; that of seed 11 does not end while there is a file `hold`."""
    with open(HERE / "calls", "a") as file:
        file.write(f"{seed}\\n")
    while seed == 11 and (HERE / "hold").exists():
        time.sleep(0.05)
    return {"square": (seed + steps) ** 2, "x": np.full((2, 2), float(seed))}
'''
SETUP = """\
import sys
sys.path.insert(0, ".")
from harness.stamp import watch
watch("paper_runs")
import paper_runs
from harness import page
from harness.study import Study
study = Study(results, compute=compute, executor=executor, device=device)"""
ASK = "squares = study(paper_runs.squared, seed=seeds, steps=steps)"


def chapter(title: str, *cells: str, parameters: str = PARAMETERS) -> str:
    """A chapter with a study of `squared`, and further cells."""
    parts = [notebook(*cells, parameters=parameters, title=title)]
    parts += [tagged(SETUP, "setup"), tagged(ASK, "setup"), tagged("page.status(study)", "setup")]
    return "".join(parts)


LAST = notebook("print('reads')", parameters='results = "_build/results/quick"', title="Last")
LAST = LAST.replace("# jupyter:\n", "# jupyter:\n#   execute: after_others\n", 1)


def paper_book(root: Path, notebooks: dict[str, str], profile: dict | None = None) -> Book:
    """A book with the profiles `quick` and `paper`, and the module of its runs."""
    book = Book(root, notebooks)
    (root / "paper_runs.py").write_text(RUNS)
    os.utime(root / "paper_runs.py", (0, 0))  # older than every process that loads it
    for stem in notebooks:
        book.profiles(stem).write_text(json.dumps({"quick": {}, "paper": profile or {}}))
    return book


def calls(book: Book) -> list[str]:
    """The seeds that were computed, in order."""
    path = book.root / "calls"
    return path.read_text().split() if path.exists() else []
