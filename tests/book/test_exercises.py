"""Exercises: two a chapter, commands that exist, and solutions that run and print what they say."""

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest
import torch

import percent

REPOSITORY = Path(__file__).resolve().parents[2]
TEXT = (REPOSITORY / "book" / "exercises.md").read_text(encoding="utf-8")
PAPERS = 9  # chapters of the papers have numbers below; from 10 on they are a reader's own
SECTIONS = re.split(r"^## Chapter (\d+): .+\n", TEXT, flags=re.MULTILINE)[1:]
CHAPTERS = {int(number): text for number, text in zip(SECTIONS[::2], SECTIONS[1::2])}
NOTEBOOKS = {int(path.stem[:2]): path for path in percent.list_notebooks(REPOSITORY / "notebooks")}
ONE_LINE = TEXT.replace("\\\n", "")
COMMANDS = re.findall(r"^\S+python (tools/execute\.py .+)$", ONE_LINE, re.MULTILINE)
CODE = re.findall(
    r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```)?", TEXT, re.DOTALL | re.MULTILINE
)


def test_each_chapter_has_two():
    assert list(CHAPTERS) == [number for number in NOTEBOOKS if number < PAPERS]
    for number, text in CHAPTERS.items():
        assert f"](../notebooks/{NOTEBOOKS[number].stem})" in text
        assert re.findall(r"^### (\d+\.\d+) ", text, re.MULTILINE) == [f"{number}.1", f"{number}.2"]
        assert len(re.findall(r"^:::\{dropdown\} Solution$", text, re.MULTILINE)) == 2
        assert len(re.findall(r"^\S+ tools/execute\.py ", text, re.MULTILINE)) == 1


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.split()[1][10:12])
def test_a_command_changes_parameters_that_there_are(command):
    _, name, *options = shlex.split(command)
    source = REPOSITORY / name
    defaults = percent.default_parameters(percent.read_notebook(source), source.name)
    profile = percent.read_profile(source, options[options.index("--profile") + 1])
    places = [i for i, word in enumerate(options) if word == "-p"]
    given = {options[i + 1]: percent.parse_yaml(options[i + 2], "the command") for i in places}
    assert given and percent.checked_overrides(defaults, given, source.name)
    assert [key for key, value in given.items() if {**defaults, **profile}[key] == value] == []
    assert options[options.index("--output") + 1] == "mine"


@pytest.mark.parametrize("code, said", CODE, ids=[str(i) for i in range(len(CODE))])
def test_a_solution_prints_what_the_page_says(code, said):
    printed = io.StringIO()
    with torch.random.fork_rng(), contextlib.redirect_stdout(printed):
        exec(compile(code, "exercises.md", "exec"), {})
    assert said and printed.getvalue() == said


def test_every_chapter_has_code():
    assert len(CODE) >= len(CHAPTERS) == len(COMMANDS)
    assert not [line for code, _ in CODE for line in code.splitlines() if len(line) > 100]
