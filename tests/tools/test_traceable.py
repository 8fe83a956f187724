"""Where numbers come from: the sources below figures, and the page of execution status."""

import csv
import io
import json
import shutil
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
from bs4 import BeautifulSoup

import execution_status
import figure_sources
from paper_book import chapter, paper_book
from tiny_book import figure, tagged

USES = "values = [run['square'] for run in squares.where(seed=[0, 1, 2])]\n"
CHAPTER = "".join([
    chapter("One").replace("seeds = [0, 1]", "seeds = [0, 1, 2]"),
    tagged("few = {'first': squares.where(seed=0)}\nfirst = few['first']", "setup"),
    tagged(USES + figure("fig-all"), "remove-input"),
    tagged("number = [run['square'] for run in few['first']]\n", "setup"),
    tagged("print(number)\n" + figure("fig-first"), "remove-input"),
    "\n# %%\n" + figure("fig-plain") + "\n",
])  # fmt: skip


@pytest.fixture(scope="module")
def traced(tmp_path_factory) -> SimpleNamespace:
    """A book of a chapter with three runs, two figures of runs and one of none, and a status page."""
    book = paper_book(tmp_path_factory.mktemp("traced") / "checkout", {"01_one": CHAPTER})
    book.page("status", "# Status\n\n{execution-status}\n\nSee {numref}`tab-execution-status`.\n")
    toc = book.root / "_toc.yml"
    toc.write_text(toc.read_text() + "  - file: book/status\n")
    executed = book.execute(*book.sources())
    assert executed.returncode == 0, executed.stderr
    built = book.build()
    assert built.returncode == 0, built.stderr
    return SimpleNamespace(book=book, built=built)


def block(traced, name) -> BeautifulSoup:
    text = (traced.book.site / "notebooks" / "01_one.html").read_text()
    page = BeautifulSoup(text, "html.parser")
    return page.select_one(f"figure#{name} + details.figure-source")


def terms(details) -> dict[str, str]:
    return {
        term.text: value.text
        for term, value in zip(details.select("dt"), details.select("dd"), strict=True)
    }


def test_a_figure_names_the_cell_that_drew_it_and_shows_it_when_it_is_hidden(traced):
    shown = block(traced, "fig-all")
    source = (traced.book.root / "notebooks" / "01_one.py").read_text()
    line = source[: source.index(USES)].count("\n") + 1
    assert f"Drawn by code cell 6 of notebooks/01_one.py, line {line}:" in shown.text
    assert shown.select_one("pre code").text.startswith(USES)
    address = traced.book.site / "notebooks" / shown.select_one("p a")["href"]
    assert address.read_text() == source
    assert block(traced, "fig-plain").select("pre") == []  # the page shows this one


def test_a_figure_names_its_runs_seeds_hardware_and_time(traced):
    found = terms(block(traced, "fig-all"))
    assert found["Runs"] == "3 of squared" and found["Seeds"] == "0, 1, 2"
    assert "threads: 1" in found["Hardware"] and found["Computing time"].endswith(" s")
    assert found["Made"].startswith("20")
    assert terms(block(traced, "fig-first"))["Seeds"] == "0"
    assert block(traced, "fig-plain").text.endswith("It rests on no stored run.")


def test_the_data_of_a_figure_are_those_of_its_runs(traced):
    links = block(traced, "fig-all").select("dd a")
    assert [link.text for link in links] == ["CSV", "NPZ"]
    table, arrays = (traced.book.site / "notebooks" / link["href"] for link in links)
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    assert [(row["seed"], row["square"]) for row in rows] == [("0", "1"), ("1", "4"), ("2", "9")]
    assert all(row["device"] and float(row["seconds"]) >= 0 for row in rows)
    with np.load(arrays, allow_pickle=False) as found:
        assert sorted(found) == ["0/x", "1/x", "2/x"]
        assert found["2/x"].tolist() == [[2.0, 2.0], [2.0, 2.0]]


def test_a_result_that_has_changed_since_is_left_out_and_counted(traced, tmp_path):
    book = traced.book
    notebook = nbformat.read(book.executed / "01_one.ipynb", as_version=4)
    seen = notebook.metadata["book"]["seen"]
    shutil.copytree(book.root / "_build/results/quick", tmp_path / "results")
    path = tmp_path / "results" / seen["files"][1][0]
    kept = json.loads(path.read_text())
    kept["provenance"]["finished"] = "2020-01-01T00:00:00+00:00"
    path.write_text(json.dumps(kept))
    (tmp_path / "results" / seen["files"][2][0]).unlink()
    runs = figure_sources.read_runs(seen, ["squares"], tmp_path / "results")
    assert len(runs.kept) == 1 and runs.changed == 2
    assert figure_sources.described(runs, 1)["Runs"].endswith(", 1 not there, 2 changed since")


def test_the_status_page_has_one_row_a_chapter(traced):
    text = (traced.book.site / "book" / "status.html").read_text()
    rows = BeautifulSoup(text, "html.parser").select("table#tab-execution-status tbody tr")
    assert len(rows) == 1
    cells = [cell.text.strip() for cell in rows[0].select("td")]
    assert cells[1:6] == ["quick", "3 of 3", "0", "0", "0"] and cells[6].endswith(" s")
    record = nbformat.read(traced.book.executed / "01_one.ipynb", as_version=4).metadata["book"]
    assert cells[9] == record["executed"] and cells[7] == record["seen"]["runs"]["devices"][0]
    assert rows[0].select_one("a")["href"].endswith("notebooks/01_one.html")


# What a figure rests on ---------------------------------------------------------------------------


def cells(*sources: str) -> nbformat.NotebookNode:
    code = [nbformat.v4.new_code_cell(source) for source in sources]
    return nbformat.v4.new_notebook(cells=code)


HELD = dict.fromkeys(["a", "b", "asked['x']", "asked['y']"])


@pytest.mark.parametrize(
    "sources, expected",
    [
        (["draw(a)"], ["a"]),
        (["t = table(a)", "u = t + b", "draw(u)"], ["a", "b"]),
        (["draw(asked['x'])"], ["asked['x']"]),
        (["draw(asked)"], ["asked['x']", "asked['y']"]),
        (["draw(other['x'])"], []),
        (["other = {'x': a}", "draw(other['x'])"], ["a"]),
        (["a = b.where(n=1)", "draw(a)"], ["a"]),  # narrowed: its own runs, not all of b
        (["for run in b:\n    t = run['x']", "draw(t)"], ["b"]),
        (["t = [run for run in a]", "draw([run for run in b])"], ["b"]),  # another run
        (["%magic\n", "draw(b)"], ["b"]),
        (["draw(nothing)", "t = a"], []),
    ],
)
def test_what_a_cell_rests_on_is_followed_to_names_that_hold_runs(sources, expected):
    last = len(sources) - 1 - (sources[-1] == "t = a")
    assert figure_sources.runs_read(cells(*sources), last, HELD) == expected


def test_arrays_beyond_the_limit_are_left_to_the_results(tmp_path, monkeypatch):
    np.savez(tmp_path / "run.npz", x=np.zeros(10))
    kept = {"arrays": {"x": {}}, "parameters": {}, "scalars": {}, "provenance": {}}
    runs = figure_sources.Runs([kept], [tmp_path / "run.json"])
    assert figure_sources.as_npz(runs) is not None
    monkeypatch.setattr(figure_sources, "MOST_ARRAYS", 1)
    assert figure_sources.as_npz(runs) is None
    runs.kept[0]["function"] = "chapters.kind.runs.attack"
    links = figure_sources.Sources(tmp_path, tmp_path / "kind.data", "..")._data("fig-x", runs)
    assert 'href="../fig-x.csv"' in links[0] and "the folder of results, <code>" in links[1]


# The table ----------------------------------------------------------------------------------------

RUNS = {"all": 9, "missing": 2, "failed": 1, "stale": 3, "seconds": 7300.0,
        "devices": ["<b>|CPU"], "days": ["2026-01-01", "2026-02-01"]}  # fmt: skip


def test_a_row_counts_what_is_there_and_shows_no_markup():
    record = {"profile": "laptop", "executed": "2026-03-01", "seen": {"runs": RUNS}}
    found = execution_status.row("07_x", record)
    assert found == (
        "[](../notebooks/07_x)", "laptop", "6 of 9", "2", "1", "3", "2.0 h", "&lt;b&gt;\\|CPU",
        "2026-01-01 to 2026-02-01", "2026-03-01",
    )  # fmt: skip


def test_chapters_without_runs_and_those_not_executed_have_rows_too():
    table = execution_status.table({"09_y": {"profile": "quick"}}, ["07_x", "09_y"])
    assert table.count("* - [](../notebooks/") == 2
    assert "  - not executed" in table and "  - none" in table


@pytest.mark.parametrize(
    "seconds, text", [(3.2, "3 s"), (600, "10 min"), (7199, "120 min"), (90_000, "25.0 h")]
)
def test_times_are_read_at_a_glance(seconds, text):
    assert execution_status.took(seconds) == text
