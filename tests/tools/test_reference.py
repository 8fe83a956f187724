"""The reference of lib and harness: everything public is there, and docstrings read as prose."""

import ast
import importlib
import inspect
import re

import pytest

import assemble
import reference
from tiny_book import REPOSITORY

PACKAGES = ("lib", "harness")


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return {package: reference.write_page(REPOSITORY, package) for package in PACKAGES}


def public(package: str) -> set[str]:
    """What Python itself finds: module.name of every public function and class."""
    found = set()
    for path in (REPOSITORY / package).glob("[!_]*.py"):
        module = importlib.import_module(f"{package}.{path.stem}")
        for name, value in vars(module).items():
            own = getattr(value, "__module__", "") == module.__name__
            is_code = inspect.isclass(value) or inspect.isfunction(inspect.unwrap(value))
            named = getattr(value, "__name__", "") == name  # an alias such as Look is none
            if own and is_code and named and not name.startswith("_"):
                found.add(f"{path.stem}.{name}")
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_everything_public_is_there(pages, package):
    shown = re.findall(r"^### `(\w+\.\w+)`$", pages[package], re.MULTILINE)
    assert len(shown) == len(set(shown)) > 80
    assert set(shown) == public(package)


@pytest.mark.parametrize("package", PACKAGES)
def test_everything_public_says_what_it_does(package):
    assert [
        f"{module.name}.{node.name}"
        for module in reference.read_modules(REPOSITORY, package)
        for node in module.entries
        if not ast.get_docstring(node)
    ] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_each_link_leads_to_one_place(pages, package):
    labels = re.findall(r"^\(([\w-]+)\)=$", pages[package], re.MULTILINE)
    assert len(labels) == len(set(labels)) and labels == [label.lower() for label in labels]
    assert set(re.findall(r"\]\(#([^)]+)\)", pages[package])) <= set(labels)


def test_nothing_leads_to_another_host(pages):
    assert not [page for page in pages.values() if re.search(r"\]\(https?:|href=\"http", page)]


def test_the_pages_are_in_the_table_of_contents():
    assert {*reference.page_names(REPOSITORY).values()} <= {*assemble.toc_files(REPOSITORY)}


SOURCE = '''
"""A module.

    x = one.first(1)

    y = x

Its text, with a formula L_KL^pert = Σ_{i≠j} cos θᵢⱼ and a list:

- one *stressed* item,
  in two lines
- another_name
"""

from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class First:
    """What travels together; `first` makes it."""

    images: list  # [n, c, h, w], and
    # more of it
    rest: int = 0
    notes: dict = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How many [n] there are."""
        return 0

    def __call__(self, x: int) -> int:
        """Twice."""

    def silent(self): ...


def first(images, /, weight: float = 1e-3, *, n_held_out: int, names: str = "x") -> list:
    """Makes n of | them | with <tags>, {braces}, 2 * 3 $ and [0, 1] -> [n, d].

    images: [n, ...], n_held_out: how many. See `two.other`, `First` and `unknown`.

    Args:
        weight: in [0, 1], and
            further.
        n_held_out, names: as above.

    Returns:
        what is wanted.

    Raises:
        ValueError: when not.
    """


@contextmanager
def opened(path: str):
    """While it lasts."""


def _hidden(): ...
'''


@pytest.fixture
def page(tmp_path) -> str:
    """The page of a package of two modules."""
    package = tmp_path / "lib"
    package.mkdir()
    (package / "__init__.py").write_text('"""A package."""')
    (package / "one.py").write_text(SOURCE)
    (package / "two.py").write_text('"""Two."""\ndef other():\n    """Another; see `lib.one`."""')
    (package / "none.py").write_text('"""Nothing public."""')
    return reference.write_page(tmp_path, "lib")


def test_docstrings_become_prose(page):
    assert "L<sub>KL</sub><sup>pert</sup> = Σ<sub>i≠j</sub> cos θᵢⱼ and a list:" in page
    assert "- one *stressed* item, in two lines\n- `another_name`" in page
    assert "```python\nx = one.first(1)\n\ny = x\n```" in page
    assert r"Makes n of \| them \| with \<tags\>, \{braces\}, 2 \* 3 \$ and \[0, 1\] → " in page
    assert "`images`: `[n, ...]`, `n_held_out`: how many." in page
    assert "- `weight`: in \\[0, 1\\], and further.\n- `n_held_out`, `names`: as above." in page
    assert "*Returns* what is wanted." in page and "*Raises* ValueError: when not." in page


def test_names_that_have_an_entry_are_links(page):
    links = "See [`two.other`](#lib-two-other), [`First`](#lib-one-first-class) and `unknown`."
    assert links in page and "see [`lib.one`](#lib-one)." in page
    assert "_hidden" not in page and "lib.none" not in page and "silent" not in page


def test_signatures_are_as_written(page):
    assert "    /,\n    weight: float = 1e-3,\n    *,\n    n_held_out: int,\n" in page
    assert "class First(images: list, rest: int = 0, notes: dict = ...)" in page
    assert "with opened(path: str)\n" in page


def test_fields_and_methods_say_what_their_lines_say(page):
    assert "- `images`: `[n, c, h, w]`, and more of it" in page
    assert "- `.size -> int`: How many `[n]` there are." in page
    assert "- called as `(x: int) -> int`: Twice." in page


def test_a_book_without_a_library_has_no_reference(tmp_path):
    assert reference.page_names(tmp_path) == {}
    (tmp_path / "book").mkdir()
    reference.write_pages(tmp_path, tmp_path)
    assert not list((tmp_path / "book").iterdir())


def test_sources_are_there_to_be_read(tmp_path):
    (tmp_path / "book").mkdir()
    reference.write_pages(REPOSITORY, tmp_path)
    for package in PACKAGES:
        text = (tmp_path / "book" / f"reference-{package}.md").read_text()
        named = re.findall(r'href="\.\./source/([^"]+)"', text)
        assert len(named) > 15
        assert all((tmp_path / "_extra" / "source" / name).is_file() for name in named)
