"""Books that tests share, and the certainty that no process outlives its test."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tiny_book import Book, built_book, built_chapters, is_alive, ran_book


@pytest.fixture
def make_book(tmp_path: Path) -> Callable[..., Book]:
    return lambda notebooks, profile="": Book(tmp_path / "checkout", notebooks, profile)


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A book of two chapters, executed once; tests only read it."""
    return ran_book(tmp_path_factory.mktemp("ran") / "checkout")


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A book of two chapters, executed and built once; tests only read it."""
    return built_book(tmp_path_factory.mktemp("built") / "checkout")


@pytest.fixture(scope="session")
def chapters(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A book of chapters 1, 3 and 7, with an appendix, built once; tests only read it."""
    return built_chapters(tmp_path_factory.mktemp("chapters") / "checkout")


@pytest.fixture
def executed_book(built: SimpleNamespace, tmp_path: Path) -> Book:
    """A copy of the executed book, to be spoilt; building it costs a few seconds."""
    root = tmp_path / "checkout"
    shutil.copytree(built.book.root, root, ignore=shutil.ignore_patterns("site-src"))
    book = Book.__new__(Book)
    book.root = root
    return book


@pytest.fixture
def ended_at_last() -> Iterator[list[int]]:
    """Process ids that a test puts here are dead when it is over, whatever it found."""
    pids: list[int] = []
    yield pids
    for pid in filter(is_alive, pids):
        os.kill(pid, 9)
