"""Every figure of every chapter, also one that was added today: without runs there is none."""

import importlib
import inspect
import typing
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.results import Runs

CHAPTERS = Path(__file__).resolve().parents[2] / "chapters"


def figures_of_runs() -> Iterator[tuple[str, Callable, list[str]]]:
    """(name, function, its parameters) for each that needs nothing but groups of runs."""
    for path in sorted(CHAPTERS.glob("*/figures.py")):
        module = importlib.import_module(f"chapters.{path.parent.name}.figures")
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if name.startswith("_") or inspect.unwrap(function).__module__ != module.__name__:
                continue
            needed = [
                parameter.name
                for parameter in inspect.signature(function).parameters.values()
                if parameter.default is parameter.empty
            ]
            hints = typing.get_type_hints(inspect.unwrap(function))
            if all(hints.get(parameter) is Runs for parameter in needed):
                yield f"{path.parent.name}.{name}", function, needed


@pytest.mark.parametrize(
    ("function", "needed"), [pytest.param(*rest, id=name) for name, *rest in figures_of_runs()]
)
def test_a_figure_without_runs_is_none(function, needed):
    assert function(**{name: Runs([]) for name in needed}) is None
