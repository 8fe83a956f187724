"""A whole book in a path with blanks and umlauts: killed, interrupted, made twice at once."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import fault_runs
import psutil
import pytest
from bs4 import BeautifulSoup
from fault_tools import IMPORTS, calls, loose, wait_until
from PIL import Image
from tiny_book import REPOSITORY, Book, is_alive, notebook
from toy_sweep import go, statuses

PLACE = "Große Bücher & mehr/mein Buch"
GIVEN = {"log": ["log"], "flag": ["flag"], "at": [2, 4]}
# a class and a data set that are called by markup that acts
CLASS, FOLDER = "<img src=x onerror=alert(1)>", "<svg onload=alert(2)>"
CELLS = f"""
import fault_runs
from harness.sweep import sweep
# %%
grid = [{{"a": a, **{GIVEN}}} for a in range(1, 6)]
found = sweep(fault_runs.waits, grid, folder=results, progress=False)
# %%
print(sum(result["square"] for result in found))
# %%
import pandas as pd
from matplotlib.figure import Figure
from harness import page
from lib import data
title, images = data.title("own/{FOLDER}"), data.load("own/{FOLDER}")
table = pd.DataFrame({{"class": images.classes, "set": title}})
page.table(table, caption=f"Classes of {{title}}.", name="tab-x")
# %%
fig = Figure()
fig.subplots().set_title(images.classes[0])
page.show(fig, alt=title, caption=f"A picture of {{title}}.", name="fig-x")
""".strip().split("\n# %%\n")


def make_book(book: Book) -> subprocess.Popen:
    """`make book` in a session of its own, as a terminal starts it."""
    own = {"PYTHONPATH": IMPORTS, "WWR_CACHE": str(book.root / "cache")}
    return subprocess.Popen(
        ["make", "-f", str(REPOSITORY / "Makefile"), "-o", ".venv/.installed",
         f"BIN={Path(sys.executable).parent}", "book"],
        cwd=book.root, env=os.environ | own, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def fault(book: Book, a: int, strike) -> SimpleNamespace:
    """`make book` until run `a` is under way, then `strike(make, kernel)`; what is left of it."""
    make, flag = make_book(book), book.root / f"flag.{a}"
    try:
        assert wait_until(flag.exists, 90), "the run was never reached"
        started = [make.pid, *(p.pid for p in psutil.Process(make.pid).children(recursive=True))]
        strike(make.pid, int(flag.read_text()))
        said = "".join(make.communicate(timeout=60))
        left = [pid for pid in started if not wait_until(lambda p=pid: not is_alive(p), 10)]
    finally:
        if make.poll() is None:
            os.killpg(make.pid, signal.SIGTERM)  # its tools then end what they have started
    grid = [{"a": a, **GIVEN} for a in range(1, 6)]
    found = go(fault_runs.waits, grid, book.root / "_build" / "x", compute=False)
    return SimpleNamespace(said=said, status=make.returncode, left=left, found=statuses(found),
                           published=book.executed.exists())  # fmt: skip


@pytest.fixture(scope="module")
def story(tmp_path_factory) -> SimpleNamespace:
    """One book: its kernel is killed, then Ctrl-C, then two `make book` at once."""
    root = tmp_path_factory.mktemp("odd") / PLACE
    root.parent.mkdir()
    book = Book(root, {"01_sweep": notebook(*CELLS, parameters='results = "_build/x"')})
    for split in ("train", "test"):
        (root / "own" / FOLDER / split / CLASS).mkdir(parents=True)
        Image.new("L", (8, 8)).save(root / "own" / FOLDER / split / CLASS / "größe 1.png")
    killed = fault(book, 2, lambda make, kernel: os.kill(kernel, signal.SIGKILL))
    interrupted = fault(book, 4, lambda make, kernel: os.killpg(make, signal.SIGINT))
    (book.executed.parent / "quick-running-999999999").mkdir()  # of a run that was itself killed
    (book.site.parent / "quick-running-999999999" / "source").mkdir(parents=True)
    made = [make_book(book) for _ in range(2)]
    said = ["".join(make.communicate(timeout=240)) for make in made]
    return SimpleNamespace(book=book, killed=killed, interrupted=interrupted, said=said,
                           made=[make.returncode for make in made])  # fmt: skip


def test_a_killed_kernel_is_named_with_its_cell(story):
    assert story.killed.status == 2 and "Traceback" not in story.killed.said
    assert "01_sweep.py, code cell 3 (grid = [{" in story.killed.said
    assert "DeadKernelError: Kernel died; was it killed for want of memory?" in story.killed.said
    assert story.killed.left == [] and not story.killed.published
    assert story.killed.found == ["reused"] + ["missing"] * 4


def test_an_interrupt_says_so_and_leaves_no_process(story):
    assert story.interrupted.status not in (0, None) and story.interrupted.left == []
    assert "execute.py: ended by signal 2" in story.interrupted.said
    assert "Traceback" not in story.interrupted.said and not story.interrupted.published
    assert story.interrupted.found == ["reused"] * 3 + ["missing"] * 2


def test_two_books_made_at_once_both_end_well(story):
    assert story.made == [0, 0], story.said
    assert all("Traceback" not in said for said in story.said)
    folders = {name: story.book.root / "_build" / name for name in ("executed", "site")}
    assert {p.name for p in folders["executed"].iterdir()} == {"quick", "quick-failed"}
    assert [p.name for p in folders["site"].iterdir()] == ["quick"]


def test_what_was_finished_is_not_computed_again(story):
    log = calls(story.book.root / "log")
    assert [log.count(a) for a in (1, 2, 3)] == [1, 1, 1] and set(log) == {1, 2, 3, 4, 5}
    assert loose(story.book.root) == []
    page = (story.book.site / "notebooks" / "01_sweep.html").read_text()
    assert f"{1 + 4 + 9 + 16 + 25}\n" in page and "Große Bücher" not in page


def test_names_with_markup_are_shown_and_do_nothing(story):
    page = (story.book.site / "notebooks" / "01_sweep.html").read_text()
    article = BeautifulSoup(page, "html.parser").select_one("article")
    [cell] = [td for td in article.select("td") if "onerror" in td.text]
    assert cell.text == CLASS and "‹svg onload=alert(2)›" in article.select_one("figcaption").text
    assert [tag for tag in article.find_all() if any(k.startswith("on") for k in tag.attrs)] == []
    drawn = [path.read_text() for path in story.book.site.rglob("*.svg")]
    assert drawn and not any("<img" in picture for picture in drawn)
