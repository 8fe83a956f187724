"""A chapter that is started as a copy is complete at once, and whole or not there at all."""

import ast
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

import new_chapter
from tiny_book import Book, notebook

TEXT = (
    notebook(
        "from chapters.ink_lines import figures, runs\nprint(runs.drawn(n))",
        title="Do lines of ink last?",
    )
    + """
# %% [markdown]
# $$x = 1$$ (eq-ink)
#
# See {numref}`fig-ink`, {numref}`fig-ink-pale`, {eq}`eq-ink`, {eq}`eq-elsewhere`, and
# {doc}`01_ink_lines-appendix`. The verdicts: {numref}`tab-verdicts-k01`.

# %%
class page:
    show = verdicts = staticmethod(lambda *values, **named: None)

study = evidence = None
page.show(None, name="fig-ink")
page.verdicts(
    study, evidence, drawn=runs.drawn(1)
)
"""
)
FILES = {
    "chapters/ink_lines/__init__.py": "",
    "chapters/ink_lines/runs.py": "def drawn(n):\n    return 2 * n\n",
    "chapters/ink_lines/figures.py": "SAYS = 'see {numref}`fig-ink`'\n",
    "chapters/ink_lines/profiles.yaml": "quick: {n: 3}\npaper:\n",
    "tests/chapters/test_ink_lines.py": (
        "from chapters.ink_lines import runs\n\n"
        'NAME = "ink_lines.drawn"\n\n\ndef test_drawn():\n    assert runs.drawn(2) == 4\n'
    ),
    "tests/chapters/test_ink_lines_page.py": "NAME = 'page'\n",
    "tests/chapters/test_ink_lines_of_blood.py": "",
    "chapters/ink_lines_of_blood/profiles.yaml": "quick:\n",
    "pyproject.toml": '[tool.pytest.ini_options]\npythonpath = ["."]\n',
}


@pytest.fixture
def book(make_book: Callable[..., Book]) -> Book:
    book = make_book({"01_ink_lines": TEXT, "09_ink_pale": notebook()})
    for name, text in FILES.items():
        path = book.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return book


def start(book: Book, *words: str) -> subprocess.CompletedProcess:
    command = book.command("new_chapter.py", *words)
    return subprocess.run(command, capture_output=True, text=True, cwd=book.root.parent)


def everything(book: Book) -> dict[str, str]:
    paths = [path for path in book.root.rglob("*") if "__pycache__" not in path.parts]
    return {
        path.relative_to(book.root).as_posix(): path.read_text(errors="replace")
        for path in paths
        if path.is_file()
    }


def test_the_files_of_a_chapter_are_made_and_named(book):
    before = everything(book)
    result = start(book, "my_question", "01_ink_lines")
    assert result.returncode == 0, result.stderr
    after = everything(book)
    touched = {name for name in after if after[name] != before.get(name)}
    assert touched == {
        "notebooks/10_my_question.py",
        *(
            f"chapters/my_question/{name}"
            for name in ("__init__.py", "runs.py", "figures.py", "profiles.yaml")
        ),
        "tests/chapters/test_my_question.py",
        "tests/chapters/test_my_question_page.py",
        "_toc.yml",
    }
    *made, last = result.stdout.splitlines()
    assert {*made} == touched and last.endswith("tools/execute.py notebooks/10_my_question.py")
    assert after["_toc.yml"].endswith(
        "  - file: notebooks/09_ink_pale\n  - file: notebooks/10_my_question\n"
    )


def test_the_copy_calls_its_own_modules_and_nothing_of_the_source_s(book):
    assert start(book, "my_question", "notebooks/01_ink_lines.py").returncode == 0
    made = {name: text for name, text in everything(book).items() if "my_question" in name}
    assert "from chapters.my_question import figures, runs" in made["notebooks/10_my_question.py"]
    assert 'NAME = "my_question.drawn"' in made["tests/chapters/test_my_question.py"]
    assert not [name for name, text in made.items() if "ink_lines" in text]
    assert "# # My question\n" in made["notebooks/10_my_question.py"]


def test_labels_that_the_copy_gives_are_its_own_and_others_stay(book):
    assert start(book, "my_question", "01_ink_lines").returncode == 0
    text = everything(book)["notebooks/10_my_question.py"]
    for expected in (
        "(eq-ink-my-question)",
        "{numref}`fig-ink-my-question`, {numref}`fig-ink-pale`, {eq}`eq-ink-my-question`",
        "{eq}`eq-elsewhere`",
        "{doc}`10_my_question-appendix`",
        "{numref}`tab-verdicts-my-question`",
        'study, evidence, name="tab-verdicts-my-question", drawn=',
        'name="fig-ink-my-question"',
    ):
        assert expected in text
    figures = (book.root / "chapters" / "my_question" / "figures.py").read_text()
    assert figures == "SAYS = 'see {numref}`fig-ink-my-question`'\n"


def test_a_copy_of_a_copy_names_its_verdicts_once(book):
    assert start(book, "my_question", "01_ink_lines").returncode == 0
    assert start(book, "another", "10_my_question").returncode == 0
    text = everything(book)["notebooks/11_another.py"]
    assert text.count('name="tab-verdicts-another"') == text.count('name="tab-') == 1
    assert 'name="fig-ink-another"' in text and "my" not in text


def test_the_copy_executes_is_tested_and_stands_in_the_book(book):
    assert start(book, "my_question", "01_ink_lines").returncode == 0
    result = book.execute(str(book.root / "notebooks" / "10_my_question.py"))
    assert result.returncode == 0, result.stderr
    chapter = nbformat.read(book.executed / "10_my_question.ipynb", as_version=4)
    assert any(
        output.get("text") == "6\n" for cell in chapter.cells for output in cell.get("outputs", [])
    )
    tests = [sys.executable, "-m", "pytest", "-q", "tests/chapters/test_my_question.py"]
    assert subprocess.run(tests, cwd=book.root, capture_output=True).returncode == 0
    assert "notebooks/10_my_question" in (book.root / "_toc.yml").read_text()


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("My-Question", "01_ink_lines", "lower-case words joined by _"),
        ("../x", "01_ink_lines", "lower-case words joined by _"),
        ("", "01_ink_lines", "lower-case words joined by _"),
        ("class", "01_ink_lines", "lower-case words joined by _"),
        ("ink_lines", "01_ink_lines", "is taken by chapters/ink_lines"),
        ("shared", "01_ink_lines", "is taken by chapters/shared.py"),
        ("tensors", "01_ink_lines", "is taken by tests/lib/test_tensors.py"),
        ("ink", "01_ink_lines", r"is taken by notebooks/0\d_ink_"),
        ("my_question", "02_absent", r"no such notebook \(known: 01_ink_lines, 09_ink_pale\)"),
        ("my_question", "08_homeless", "has no folder in chapters/"),
    ],
)
def test_a_request_that_cannot_be_met_makes_nothing(book, name, source, message):
    (book.root / "chapters" / "shared.py").touch()
    (book.root / "tests" / "lib").mkdir()
    (book.root / "tests" / "lib" / "test_tensors.py").touch()
    if source == "08_homeless":
        (book.root / "notebooks" / "08_homeless.py").write_text(notebook())
    before = everything(book)
    with pytest.raises(new_chapter.NotebookError, match=message):
        new_chapter.new_chapter(book.root, name, book.root / "notebooks" / f"{source}.py")
    assert everything(book) == before


def test_a_refusal_is_one_line(book):
    result = start(book, "ink_lines", "01_ink_lines")
    assert result.returncode == 2 and result.stderr.count("\n") == 1


def test_a_full_disk_leaves_nothing_half_made(book, monkeypatch):
    files = new_chapter.new_chapter(book.root, "my_question", Path(book.sources()[0]))
    before = everything(book)

    def full(*_) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        new_chapter.write(files)
    assert everything(book) == before
    assert not (book.root / "chapters" / "my_question").exists()


def test_files_of_the_copy_are_python(book):
    for path, text in new_chapter.new_chapter(
        book.root, "my_question", Path(book.sources()[0])
    ).items():
        if path.suffix == ".py":
            ast.parse(text)
