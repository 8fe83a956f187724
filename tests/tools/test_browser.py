"""The built pages in a real browser; skipped where there is none."""

import sys
import time
from pathlib import Path

import psutil
import pytest

import browser
from browser import find_browser, look_at, observe

BROWSER = find_browser()
needs_browser = pytest.mark.skipif(BROWSER is None, reason="needs chromium")

# What the tests want to know beyond what the build checks; appended to the probe's own look.
EXTRA = """
  page.querySelector("a.full-size")?.click();
  found.formulas = page.querySelectorAll("mjx-container").length;
  found.errors = page.querySelectorAll("mjx-merror").length;
  found.enlarged = page.querySelectorAll("dialog.full-size-view[open] img").length;
  found.loaded = frame.contentWindow.performance.getEntriesByType("resource").map((entry) => entry.name);
  frame.remove();
"""
PAGES = [
    "book/index.html",
    "book/gallery.html",
    "notebooks/03_third.html",
    "notebooks/07_seventh.html",
]


@pytest.fixture(scope="module")
def found(chapters) -> dict:
    """What the browser saw on each page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(browser, "PROBE", browser.PROBE.replace("\n  frame.remove();\n", EXTRA))
        seen = observe(chapters.book.site, PAGES, BROWSER, 120)
    assert seen and [look.get("failed") for look in seen.values()] == [None] * len(PAGES)
    return {page: seen[f"/{page}"] for page in PAGES}


@needs_browser
@pytest.mark.parametrize("page", PAGES)
def test_a_page_loads_nothing_from_elsewhere(found, page):
    assert len(found[page]["loaded"]) > 10
    allowed = ("http://127.0.0.1:", "data:")
    assert [name for name in found[page]["loaded"] if not name.startswith(allowed)] == []


@needs_browser
def test_formulas_are_drawn(found):
    assert [(found[page]["formulas"], found[page]["errors"]) for page in PAGES[:3]] == [
        (2, 0),
        (0, 0),
        (1, 0),
    ]


@needs_browser
def test_a_click_enlarges_a_figure(found):
    assert [found[page]["enlarged"] for page in PAGES] == [0, 0, 1, 1]


@needs_browser
def test_a_page_with_wide_content_and_an_answer_is_accepted(chapters):
    began = time.monotonic()
    assert look_at(chapters.book.site) == ([], "")
    assert time.monotonic() - began < 60


# What is refused -------------------------------------------------------------------------------

ARTICLE = """\
<!doctype html><style>* {{ margin: 0 }} p, .answer, h1 {{ line-height: 20px }} {style}</style>
<article class="bd-article"><h1>Title</h1><p>Question?</p>
<div class="cell"><div class="answer">Yes.</div></div>
<div class="cell"><img src="p.svg" alt="x" width="300" height="200"></div>{body}</article>"""
SMALL = '<svg xmlns="http://www.w3.org/2000/svg" width="300" height="200"/>'
CAPTION = "<figure><figcaption>A caption of many words</figcaption></figure>"
WIDE_TABLE = '<div style="overflow-x: auto">{}<table><caption>A short caption</caption><tr>'
CELLS = '<td style="min-width: 300px">x</td>' * 3 + "</tr></table></div>"


@needs_browser
@pytest.mark.parametrize(
    "style, body, problems",
    [
        ("", "", []),
        (".answer { height: 760px }", "", ["400 x 800 pixels ends before the key figure, which ends at 1000", "1400 x 900 pixels ends before the key figure"]),
        ("p { height: 1000px }", "", ["ends before the question", "ends before the answer", "ends before the key"] * 2),
        ("p { display: none }", "", ["has no question"] * 2),
        ("img { display: none }", "", ["has no key figure"] * 2),
        ("", '<p style="width: 500px">Wide words</p>', ["p (Wide words) is wider than a page of 400 pixels"]),
        ("", '<div style="overflow: auto"><p style="width: 500px">Wide words</p></div>', []),
        ("figcaption { white-space: nowrap; overflow: hidden; width: 80px }", CAPTION, ["the caption figcaption (A caption of many words) is cut"]),
        ("figcaption { width: 80px }", CAPTION, []),
        ("", WIDE_TABLE.format("") + CELLS, ["the caption caption (A short caption) is cut"]),
        ("caption { text-align: left }", WIDE_TABLE.format("") + CELLS, []),
        ("", "<details><summary>x</summary><p style='width: 500px'>Folded</p></details>", ["p (Folded) is wider"]),
    ],
)  # fmt: skip
def test_each_fault_of_a_drawn_page_is_found(tmp_path, style, body, problems):
    (tmp_path / "a page.html").write_text(ARTICLE.format(style=style, body=body))
    (tmp_path / "p.svg").write_text(SMALL)
    found, note = look_at(tmp_path)
    assert note == "" and len(found) == len(problems), found
    for problem, line in zip(problems, found):
        assert line.startswith("a page.html: ") and problem in line


@needs_browser
def test_a_key_figure_that_was_not_run_is_excused(tmp_path):
    page = ARTICLE.format(style="", body="")
    page = page[: page.index("<img")] + "<p><em>Not run: the figure.</em></p></div></article>"
    (tmp_path / "index.html").write_text(page)
    assert look_at(tmp_path) == ([], "")


def test_without_a_browser_a_line_says_what_was_not_checked(tmp_path, monkeypatch):
    monkeypatch.setattr(browser, "NAMES", ())
    problems, note = look_at(tmp_path)
    assert problems == [] and note.startswith("not checked: ") and "no browser was found" in note


@pytest.mark.parametrize("ends", [True, False])
def test_a_browser_that_does_not_answer_is_ended_with_its_children(tmp_path, ends):
    script = tmp_path / "browser"
    pids = tmp_path / "pids"
    wait = "" if ends else "sleep 600"
    script.write_text(f"#!/bin/sh\nsleep 600 &\necho $$ $! > {pids}\n{wait}\n")
    script.chmod(0o755)
    problems, note = look_at(tmp_path, browser=str(script), timeout=2)
    assert problems == [] and "did not answer in 2 s or ended early" in note
    time.sleep(0.2)
    left = [int(pid) for pid in pids.read_text().split() if psutil.pid_exists(int(pid))]
    assert [pid for pid in left if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE] == []


def page_in_charge(site: Path) -> str:
    return f"""
import sys; sys.path.insert(0, {str(Path(browser.__file__).parent)!r})
from pathlib import Path
import browser
browser.PROBE = "<body>{{}}<img src='/-wait'></body>"
browser.look_at(Path({str(site)!r}), timeout=300)
"""


@needs_browser
def test_a_browser_does_not_outlive_a_killed_build(tmp_path, ended_at_last):
    (tmp_path / "index.html").write_text("x")
    build = psutil.Popen([sys.executable, "-c", page_in_charge(tmp_path)])
    children: list[psutil.Process] = []
    for _ in range(200):
        children = build.children(recursive=True)
        if len(children) > 3:
            break
        time.sleep(0.1)
    ended_at_last.extend(child.pid for child in children)
    time.sleep(3)
    build.kill()
    build.wait()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert alive == []
