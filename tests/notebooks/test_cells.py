"""Every chapter can be read: it opens with its title, and the code it shows comes in short cells."""

import pytest

import percent
from lib.claims import LEDGER

NOTEBOOKS = percent.list_notebooks(LEDGER.parent / "notebooks")
MOST_LINES = 25


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def cells(request) -> list:
    return percent.read_notebook(request.param).cells


def test_a_chapter_opens_with_its_title_and_why_it_is_there(cells):
    assert cells[0].cell_type == "markdown"
    title, *rest = cells[0].source.splitlines()
    assert title.startswith("# ") and any(line.strip() for line in rest)


def test_cells_that_show_their_code_are_short(cells):
    long = [
        f"{len(cell.source.splitlines())} lines: {cell.source.splitlines()[0]}"
        for cell in cells
        if cell.cell_type == "code"
        and "hide-input" not in percent.cell_tags(cell)
        and len(cell.source.splitlines()) > MOST_LINES
    ]
    assert not long, f"split them, or tag what only draws or prints with hide-input: {long}"


def test_a_chapter_does_not_reach_around_the_library(cells):
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    lines = [line.strip() for source in code for line in source.splitlines()]
    assert not [line for line in lines if line.startswith(("!", "%")) or "sys.path" in line]
    assert not [line for line in lines if line.startswith("from ") and line.endswith("import *")]


def test_a_cell_that_shows_a_figure_shows_nothing_else(cells):
    """The page takes the figure's name from its cell, so it can stand for one output only."""
    shown = [
        cell.source.splitlines()[0]
        for cell in cells
        if cell.cell_type == "code"
        and (figures := cell.source.count("plots.show("))
        and figures + cell.source.count("plots.say(") + cell.source.count("plots.table(") > 1
    ]
    assert not shown
