"""Toy runs that can be imported, a ledger, and what a page displays."""

import importlib
import os
import sys
import textwrap
from pathlib import Path

import pytest
from toy_sweep import RUNS

from harness import ledger, page
from harness.stamp import watch


def written(path, text):
    """Write the file as if it were there long before any process that loads it."""
    path.write_text(text)
    os.utime(path, (0, 0))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """An importable module of runs, as the chapters hold them."""
    folder = tmp_path_factory.mktemp("runs")
    written(folder / "toy_runs.py", RUNS)
    sys.path.insert(0, str(folder))
    watch("toy_runs")
    yield importlib.import_module("toy_runs")
    sys.path.remove(str(folder))
    del sys.modules["toy_runs"]


@pytest.fixture
def edited(runs):
    """Edits the toy runs and loads them anew in this process, as a fresh one would."""
    source = Path(runs.__file__)

    def edit(old, new):
        assert old in RUNS
        source.write_text(RUNS.replace(old, new))
        del sys.modules["toy_runs"]
        return importlib.import_module("toy_runs")

    yield edit
    written(source, RUNS)
    sys.modules["toy_runs"] = runs


@pytest.fixture
def load(tmp_path):
    """Writes a ledger of one file and reads it."""

    def write(text):
        path = tmp_path / "claims" / "000.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        ledger.load.cache_clear()
        return ledger.load(path.parent)

    return write


@pytest.fixture
def shown(monkeypatch) -> list:
    """What is displayed, as (data or Markdown text, metadata)."""
    found: list = []

    def display(thing, **settings):
        found.append((getattr(thing, "data", thing), settings.get("metadata")))

    monkeypatch.setattr(page, "display", display)
    return found
