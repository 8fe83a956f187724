"""Assembling, building strictly, checking, publishing."""

import json
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from bs4 import BeautifulSoup

import assemble
import execute
from assemble import SiteError
from check import check_site
from tiny_book import Book, built_book, figure, is_alive, notebook


def page(book: Book, name: str) -> BeautifulSoup:
    return BeautifulSoup((book.site / name).read_text(), "html.parser")


# The page ------------------------------------------------------------------------


def test_the_index_to_open_is_named(built):
    index = built.built.stdout.removeprefix("open ").strip()
    assert Path(index).is_file() and index == str(built.book.site / "index.html")


def test_figures_are_numbered_captioned_described_and_lead_to_full_size(built):
    shown = page(built.book, "notebooks/02_second.html").select_one("figure#fig-second")
    assert shown.select_one(".caption-number").text.strip() == "Figure 2.1"
    assert shown.select_one(".caption-text").text.startswith("Pixels,") and shown.select_one(
        "figcaption .math"
    )
    picture = shown.select_one("a.full-size > img")
    assert picture["alt"] == "Two orange pixels." and picture.parent["href"] == picture["src"]


def test_the_parameters_cell_shows_the_values_used_once(built):
    inputs = [
        cell.text.strip()
        for cell in page(built.book, "notebooks/01_first.html").select("div.cell_input")
    ]
    shown = [text for text in inputs if text.startswith("n = ")]
    assert shown == [
        'n = 3  # how many\nscale = 2.0\nseeds = [0, 1]\ncompute = True\nexecutor = "serial"'
    ]
    assert not [text for text in inputs if "Parameters" in text]


def test_stderr_is_removed_and_reported(built):
    assert (
        "01_first, code cell 2 (import sys, tempfile) wrote to stderr: careful"
        in built.built.stderr
    )
    written = [
        path for path in built.book.site.rglob("*") if path.suffix in (".html", ".ipynb", ".js")
    ]
    assert len(written) > 10 and not [
        path for path in written if "secret.py" in path.read_text(errors="replace")
    ]


def test_each_chapter_says_how_it_was_made(built):
    block = page(built.book, "notebooks/01_first.html").select_one("details.provenance")
    rows = dict(
        zip(
            [term.text for term in block.select("dt")], [value.text for value in block.select("dd")]
        )
    )
    assert list(rows) == [
        "Source",
        "Profile",
        "Parameters",
        "Commit",
        "Software",
        "Device",
        "Wall time",
    ]
    assert "n = 3" in rows["Parameters"] and re.fullmatch(r"\d+\.\d s", rows["Wall time"])
    source = built.book.site / "notebooks" / block.select_one("a")["href"]
    assert source.read_text() == (built.book.root / "notebooks" / "01_first.py").read_text()


def test_the_gallery_leads_to_every_figure(built):
    links = [
        link["href"]
        for link in page(built.book, "book/gallery.html").select(".sd-card a.sd-stretched-link")
    ]
    assert links == [
        "../notebooks/01_first.html#fig-first",
        "../notebooks/02_second.html#fig-second",
    ]


def test_no_button_leads_to_a_host_or_a_missing_file(built):
    chapter = page(built.book, "notebooks/01_first.html")
    links = [link["href"] for link in chapter.select(".bd-header-article a")]
    assert links == ["../_sources/notebooks/01_first.ipynb"]
    assert not re.search(r"colab|binder|github", str(chapter), flags=re.IGNORECASE)


def test_mathematics_comes_from_the_site_itself(built):
    scripts = [
        script["src"] for script in page(built.book, "book/index.html").select("script[src]")
    ]
    assert "../_static/mathjax/tex-chtml.js" in scripts
    fonts = built.book.site / "_static" / "mathjax" / "output" / "chtml" / "fonts"
    assert (
        list(fonts.rglob("*.woff"))
        and not (built.book.site / "_static" / "mathjax" / "tex-svg.js").exists()
    )


def contents(site: Path) -> dict[str, bytes]:
    """Every file of a site, with the recorded wall times blanked out."""
    found = {
        path.relative_to(site).as_posix(): path.read_bytes()
        for path in sorted(site.rglob("*"))
        if path.is_file()
    }
    for name, content in found.items():
        if name.endswith(".html"):
            found[name] = re.sub(rb'(<span class="wall-time">)[\d.]+ s', rb"\1", content)
        if name.endswith(".ipynb"):
            found[name] = re.sub(rb'("seconds": )[\d.]+', rb"\1", content)
    return found


def test_two_builds_from_clean_differ_only_in_their_times(built, tmp_path):
    first, second = (
        contents(built.book.site),
        contents(built_book(tmp_path / "elsewhere").book.site),
    )
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


# The reader's order ---------------------------------------------------------------


def texts(elements) -> list[str]:
    return [" ".join(element.text.replace("#", "").split()) for element in elements]


def test_set_up_stands_at_the_end_of_the_page_in_order(chapters):
    seventh = page(chapters.book, "notebooks/07_seventh.html")
    assert texts(seventh.select("article h2")) == ["7.1. Story", "7.2. How this page was made"]
    moved = seventh.select_one("#how-this-page-was-made").select("div.cell_input")
    assert [text.split()[0] for text in texts(moved)] == ["n", "print('set", "print('all"]
    summary = seventh.select_one("details.provenance summary")
    assert summary.text == "The page: source, parameters, software, time"


def test_the_first_things_after_the_question_are_the_answer_and_the_key_figure(chapters):
    cells = page(chapters.book, "notebooks/07_seventh.html").select("article div.cell")
    assert cells[0].select_one("div.answer").text.strip() == "Yes, for small networks."
    assert cells[1].select_one("figure#fig-key") and not cells[0].select(".cell_input, details")


def test_appendix_cells_have_a_page_of_their_own_with_links_both_ways(chapters):
    story = page(chapters.book, "notebooks/07_seventh.html").select_one("article")
    other = page(chapters.book, "notebooks/07_seventh-appendix.html").select_one("article")
    assert texts(other.select("h1")) == ["7.3. Appendix: The seventh"]
    assert story.select("#fig-more, #more") == [] and other.select_one("#fig-more")
    assert {
        "07_seventh-appendix.html",
        "07_seventh-appendix.html#fig-more",
        "07_seventh-appendix.html#equation-more",
    } <= {link["href"] for link in story.select("a.reference")}
    assert {"07_seventh.html", "07_seventh.html#fig-key"} <= {
        link["href"] for link in other.select("a.reference")
    }


def test_the_notebook_to_download_has_the_order_that_executes(chapters):
    links = page(chapters.book, "notebooks/07_seventh-appendix.html").select(".bd-header-article a")
    assert [link["href"] for link in links] == ["../_sources/notebooks/07_seventh.ipynb"]
    whole = nbformat.read(
        chapters.book.site / "_sources" / "notebooks" / "07_seventh.ipynb", as_version=4
    )
    source = [text.split("\n") for text in (cell.source for cell in whole.cells)]
    assert [lines[0] for lines in source[:3]] == [
        "# The seventh",
        "n = 5  # how many",
        "print('set up')",
    ]
    assert source[-1] == ["print('all runs are there')"] and "dark" not in str(
        whole.cells[4].outputs[0].metadata
    )


def test_a_page_without_set_up_keeps_its_parameters_and_has_no_appendix(chapters):
    first = page(chapters.book, "notebooks/01_first.html")
    assert first.select_one("article div.cell").text.strip().startswith("n = 5")
    assert not (chapters.book.site / "notebooks" / "01_first-appendix.html").exists()


def test_chapters_have_the_numbers_of_their_files(chapters):
    sidebar = page(chapters.book, "notebooks/03_third.html").select(".bd-links a.internal")
    assert [text for text in texts(sidebar) if text[0].isdigit()][-4:] == [
        "1. A chapter",
        "3. A chapter",
        "7. The seventh",
        "7.3. Appendix: The seventh",
    ]
    numbers = [
        texts(page(chapters.book, f"notebooks/{name}.html").select(".caption-number"))
        for name in ("03_third", "07_seventh", "07_seventh-appendix")
    ]
    assert numbers == [["Figure 3.1"], ["Figure 7.1", "Table 7.1"], ["Figure 7.2"]]


def test_a_figure_has_a_light_and_a_dark_picture(chapters):
    shown = page(chapters.book, "notebooks/07_seventh.html").select_one("figure#fig-key")
    pictures = shown.select("a.full-size > img")
    assert [picture["class"] for picture in pictures] == [["only-light"], ["only-dark"]]
    assert [picture["alt"] for picture in pictures] == ["A line.", "A line."]
    assert [picture["style"] for picture in pictures] == ["width: 619px;"] * 2
    assert all(picture.parent["href"] == picture["src"] for picture in pictures)
    folder = chapters.book.site / "notebooks"
    light, dark = [(folder / picture["src"]).read_text() for picture in pictures]
    assert "#222222" in light and "#e8e8e8" in dark
    cards = page(chapters.book, "book/gallery.html").select("#gallery .sd-card")
    assert [len(card.select("img.only-light, img.only-dark")) for card in cards] == [0, 2, 2]


@pytest.mark.parametrize(
    "suffix, content, width",
    [
        ("svg", b'<?xml?><svg height="1pt" width="144pt">', 238),
        ("svg", b'<svg width="900pt">', 620),
        ("svg", b"<svg>", None),
        (
            "png",
            b"0123456789abcdef"
            + (520).to_bytes(4, "big")
            + b"....pHYs"
            + (10236).to_bytes(4, "big"),
            238,
        ),
        ("png", b"0123456789abcdef", None),
    ],
)
def test_a_picture_is_as_wide_as_its_inches_say(suffix, content, width):
    assert assemble.shown_width(suffix, content) == width


def test_an_appendix_needs_a_title():
    cell = nbformat.v4.new_code_cell("1", metadata={"tags": ["appendix"]})
    with pytest.raises(SiteError, match="01_first: has no title"):
        assemble.arrange(nbformat.v4.new_notebook(cells=[cell]), "01_first")


# What is refused -------------------------------------------------------------------


def load(book: Book) -> dict[str, nbformat.NotebookNode]:
    return assemble.load_executed(book.root, book.executed, "quick")


def rewrite(book: Book, change) -> None:
    """Apply `change` to the first chapter's executed notebook."""
    path = book.executed / "01_first.ipynb"
    chapter = nbformat.read(path, as_version=4)
    change(chapter)
    nbformat.write(chapter, path)


def test_an_untouched_set_is_accepted(executed_book):
    assert list(load(executed_book)) == ["01_first", "02_second"]


def test_a_missing_notebook_is_refused(executed_book):
    (executed_book.executed / "01_first.ipynb").unlink()
    with pytest.raises(SiteError, match="01_first.py: was never executed with profile quick"):
        load(executed_book)


def test_it_is_said_how_to_build_with_the_chapters_that_are_there(executed_book):
    (executed_book.executed / "01_first.ipynb").unlink()
    with pytest.raises(SiteError, match="--only builds the site with the 1 that are there"):
        load(executed_book)
    assert list(
        assemble.load_executed(executed_book.root, executed_book.executed, "quick", only=True)
    ) == ["02_second"]


@pytest.mark.parametrize("change, message", [
    (lambda folder: None, "is not there"),
    (lambda folder: folder.touch(), "is a file, not a folder"),
    (lambda folder: folder.mkdir(), "holds none of the chapters"),
])  # fmt: skip
def test_a_folder_without_executed_notebooks_is_refused(executed_book, tmp_path, change, message):
    mine = tmp_path / "mine"
    change(mine)
    with pytest.raises(SiteError, match=rf"{message}(.|\n)*--profile quick --output mine"):
        assemble.load_executed(executed_book.root, mine, "quick", only=True)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_a_file_that_is_no_notebook_is_refused(executed_book, text):
    (executed_book.executed / "01_first.ipynb").write_text(text)
    with pytest.raises(SiteError, match="01_first.py: (is no notebook|was not executed by)"):
        load(executed_book)


def test_only_builds_with_a_stand_in_for_what_is_missing(executed_book):
    (executed_book.executed / "01_first.ipynb").unlink()
    executed_book.page("index", "# Start\n\n[](../notebooks/01_first), {numref}`fig-first`.\n")
    result = executed_book.build("--only")
    assert result.returncode == 0, result.stderr
    assert (
        "This chapter is not part of this build"
        in page(executed_book, "notebooks/01_first.html").text
    )


def test_a_stale_notebook_is_refused(executed_book):
    source = executed_book.root / "notebooks" / "01_first.py"
    source.write_text(source.read_text().replace("# First", "# Primus"))
    with pytest.raises(SiteError, match="01_first.py: has changed since it was executed"):
        load(executed_book)


@pytest.mark.parametrize("profile", ["01_first: {n: 4, scale: 2}", "01_first: {n: 3}"])
def test_other_parameters_in_the_profile_make_it_stale(executed_book, profile):
    executed_book.profile("quick", profile)
    with pytest.raises(SiteError, match="01_first.py: was executed with other parameters"):
        load(executed_book)


def never_ran(chapter) -> None:
    chapter.cells[-1].execution_count = None


def raised(chapter) -> None:
    chapter.cells[-1].outputs = [
        nbformat.v4.new_output("error", ename="ValueError", evalue="", traceback=[])
    ]


@pytest.mark.parametrize("spoil", [never_ran, raised])
def test_a_partly_executed_notebook_is_refused(executed_book, spoil):
    rewrite(executed_book, spoil)
    with pytest.raises(SiteError, match="01_first.py: is only partly executed, see code cell 4"):
        load(executed_book)


def test_a_notebook_of_unknown_origin_is_refused(executed_book):
    rewrite(executed_book, lambda chapter: chapter.metadata.pop("book"))
    with pytest.raises(SiteError, match="nothing says what it was made from"):
        load(executed_book)


def test_a_changed_library_is_shown_on_the_page(built):
    record = load(built.book)["01_first"].metadata["book"]
    assert "has changed since" in assemble.provenance_block(record, "another hash")
    assert "has changed since" not in assemble.provenance_block(record, record["library_sha256"])


def with_output(*outputs: dict) -> nbformat.NotebookNode:
    made = [
        nbformat.v4.new_output("display_data", data={"image/png": ""}, metadata=metadata)
        for metadata in outputs
    ]
    return nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("draw()", execution_count=1, outputs=made)]
    )


FIGURE = {"figure": {"alt": "a", "caption": "c", "name": "fig-n"}}


@pytest.mark.parametrize(
    "outputs, message",
    [
        ([{}], "without alt text, a caption, a name"),
        ([{"figure": {**FIGURE["figure"], "alt": "  "}}], "without alt text;"),
        ([FIGURE, FIGURE], "shows 2 figures"),
    ],
)
def test_a_figure_without_its_words_is_refused_by_cell(outputs, message):
    with pytest.raises(SiteError, match=rf"01_first, code cell 1 \(draw\(\)\) .*{message}"):
        assemble.place_figures(with_output(*outputs), "01_first")


def test_a_figure_name_may_be_used_once(make_book):
    book = make_book(
        {"01_first": notebook(figure("fig-same")), "02_second": notebook(figure("fig-same"))}
    )
    assert book.execute(*book.sources()).returncode == 0
    result = book.build()
    assert (
        result.returncode == 1 and "02_second: a second figure is named fig-same" in result.stderr
    )


@pytest.mark.parametrize(
    "source, values, expected",
    [
        ("n = 1  # é", {"n": 2}, "n = 2  # é"),
        ('s = "é"; n = 1  # two', {"s": "é", "n": 2}, 's = "é"; n = 2  # two'),
        (
            "seeds = [\n    0,\n    1,\n]  # list\nn: int = 5",
            {"seeds": [3], "n": 6},
            "seeds = [3]  # list\nn: int = 6",
        ),
    ],
)
def test_used_values_are_written_into_the_parameters_cell(source, values, expected):
    assert assemble.with_values(source, values, "chapter") == expected


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda book: book.page("extra", "# Extra"),
            "book/extra exists but _toc.yml does not list it",
        ),
        (
            lambda book: book.write_notebook("03_third", notebook()),
            "notebooks/03_third exists but _toc.yml does not list it",
        ),
        (
            lambda book: (book.root / "notebooks" / "02_second.py").unlink(),
            "_toc.yml lists notebooks/02_second, which does not exist",
        ),
    ],
)
def test_toc_and_folders_must_agree(executed_book, change, message):
    change(executed_book)
    with pytest.raises(SiteError, match=message):
        assemble.check_toc(executed_book.root)


def test_a_broken_cross_reference_fails_and_leaves_the_older_site(executed_book):
    before = contents(executed_book.site)
    executed_book.page("index", "# Start\n\nSee {numref}`fig-absent`.\n")
    result = executed_book.build()
    assert (
        result.returncode == 1
        and "fig-absent" in result.stderr
        and "no site was published" in result.stderr
    )
    assert contents(executed_book.site) == before


# Builds that meet or end early ---------------------------------------------------


def start_build(book: Book) -> subprocess.Popen:
    return subprocess.Popen(
        book.command("site.py", "--profile", "quick"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_ended_build_leaves_the_older_site_and_no_process(executed_book, ended_at_last, number):
    before = contents(executed_book.site)
    build = start_build(executed_book)
    child = None
    for _ in range(600):
        child = next(iter(psutil.Process(build.pid).children()), None)
        if child:
            break
        time.sleep(0.05)
    ended_at_last.append(child.pid)
    time.sleep(1)
    build.send_signal(number)
    said = build.communicate(timeout=30)[1]
    if number != signal.SIGKILL:
        assert build.returncode == 128 + number
        assert said.splitlines()[-1] == f"site.py: ended by signal {number}; no site was published"
        assert [path.name for path in executed_book.site.parent.iterdir()] == ["quick"]
    assert "Traceback" not in said and contents(executed_book.site) == before
    psutil.wait_procs([child], timeout=10)
    assert not is_alive(child.pid)


@pytest.mark.parametrize("text, full", [
    ("OSError: [Errno 28] No space left on device: 'a.js' -> 'b.js'", True),
    ("[Errno 122] Disk quota exceeded", True),
    ("[Errno 13] Permission denied: 'a.js'", False),
])  # fmt: skip
def test_a_full_disk_is_known_by_what_sphinx_says_of_it(text, full):
    assert execute.is_full(SiteError(f"1 warning\n{text}\nRuntimeError: ")) == full


def test_a_build_that_cannot_write_says_so(executed_book):
    shutil.rmtree(executed_book.site.parent)
    executed_book.site.parent.touch()
    result = executed_book.build()
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert str(executed_book.site.parent) in result.stderr


# The check of the finished site ----------------------------------------------------


@pytest.mark.parametrize(
    "body, problem",
    [
        (
            '<script src="https://cdn.example/x.js"></script>',
            "loads https://cdn.example/x.js from outside",
        ),
        (
            '<link rel="stylesheet" href="//cdn.example/x.css">',
            "loads //cdn.example/x.css from outside",
        ),
        (
            '<img alt="x" src="http://cdn.example/x.png">',
            "loads http://cdn.example/x.png from outside",
        ),
        (
            '<p style="background: url(https://cdn.example/x.png)">',
            "loads https://cdn.example/x.png from outside",
        ),
        ('<img src="a.png">', "the picture a.png has no alt text"),
        ('<a href="absent.html">x</a>', "the link absent.html leads to a file that does not exist"),
        ('<a href="#absent">x</a>', "the link #absent leads to no place"),
        ('<a href="other.html#absent">x</a>', "the link other.html#absent leads to no place"),
        ("<pre>Traceback (most recent call last)</pre>", "shows a Python traceback"),
        ("<p>```{table} Some words</p>", "shows a fence that was not understood: ```{table} Some"),
        ("<p>~~~{table} Words</p>", "shows a fence that was not understood: ~~~{table} Words"),
        ("<p>Words.\n:::</p>", "shows a fence that was not understood: :::"),
        (
            "<p><code>{table} Of x\n:name: t\n</code></p>",
            "shows a fence that was not understood: {table} Of x",
        ),
        (
            "<p>As {cite}`haim2022` says</p>",
            "shows a role that was not understood: {cite}`haim2022`",
        ),
        ("<p>See {numref}<code>fig-a</code></p>", "shows a role that was not understood: {numref}"),
        ('<div class="cell_output"><script>x</script></div>', "a notebook's output holds <script>"),
        ('<div class="cell_output"><p><svg onload="x"></svg></p></div>', "holds <svg onload=...>"),
        ('<div class="cell_output"><a href=" java\nscript:x">x</a></div>', "holds <a href= java"),
        (
            '<div class="cell_output"><img alt="x" src="a.png" onerror="x"></div>',
            "holds <img onerror=...>",
        ),
    ],
)
def test_each_fault_of_a_page_is_found(tmp_path, body, problem):
    small_site(tmp_path, body)
    assert any(problem in found for found in check_site(tmp_path, tmp_path / "root"))


def small_site(folder: Path, body: str) -> None:
    (folder / "index.html").write_text(f"<html><body>{body}</body></html>")
    (folder / "other.html").write_text('<p id="here">x</p>')
    (folder / "a.png").touch()
    (folder / "searchindex.js").touch()


def test_a_good_page_passes(tmp_path):
    small_site(
        tmp_path,
        '<a href="https://example.org">x</a><a href="other.html#here">y</a><img alt="z" src="a.png">',
    )
    assert check_site(tmp_path, tmp_path / "root") == []


def test_markup_in_code_and_the_themes_own_scripts_are_no_faults(tmp_path):
    code = "<pre>:::\n```{table}\n{cite}`x`</pre><p><code>{cite}`x`</code> <code>{n}</code></p>"
    small_site(tmp_path, code + '<button onclick="x()">x</button><script>":::"</script>')
    assert check_site(tmp_path, tmp_path / "root") == []


TITLE = (
    '<article class="bd-article"><h1><span class="section-number">{}. </span>Title</h1></article>'
)
CAPTION = '<article class="bd-article"><span class="caption-number">Figure {}.1 </span></article>'


@pytest.mark.parametrize("body", [TITLE, CAPTION])
def test_a_number_that_is_not_that_of_the_file_is_found(tmp_path, body):
    small_site(tmp_path, "")
    (tmp_path / "notebooks").mkdir()
    chapter = tmp_path / "notebooks" / "07_last.html"
    chapter.write_text(body.format(7))
    assert check_site(tmp_path, tmp_path / "root") == []
    chapter.write_text(body.format(5))
    (found,) = check_site(tmp_path, tmp_path / "root")
    assert found.startswith("notebooks/07_last.html: ") and found.endswith(
        "but the file is chapter 7"
    )


@pytest.mark.parametrize("name", ["index.html", "searchindex.js", "notebook.ipynb"])
def test_machine_paths_are_found(tmp_path, name):
    small_site(tmp_path, "")
    (tmp_path / name).write_text(f"see {tmp_path / 'root'}/lib")
    assert any(
        found.startswith(f"{name}: holds the machine path")
        for found in check_site(tmp_path, tmp_path / "root")
    )


def test_requests_in_style_sheets_are_found(tmp_path):
    small_site(tmp_path, "")
    (tmp_path / "x.css").write_text('@import "https://cdn.example/y.css";')
    assert check_site(tmp_path, tmp_path / "root") == [
        "x.css: loads https://cdn.example/y.css from outside"
    ]


def test_the_record_travels_with_the_downloadable_notebook(built):
    downloaded = json.loads(
        (built.book.site / "_sources" / "notebooks" / "01_first.ipynb").read_text()
    )
    assert downloaded["metadata"]["book"]["parameters"]["n"] == 3
