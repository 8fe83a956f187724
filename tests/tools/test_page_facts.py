"""Links that open a notebook, citing, reading time, notes on links, previews, and the workflows."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from bs4 import BeautifulSoup
from ruamel.yaml import YAML

import executed_branch
import page_extras
import page_facts
from execute import RECORD
from page_facts import Repository
from percent import NotebookError
from tiny_book import REPOSITORY, Book, figure, notebook, tagged

HERE = Repository("someone", "a.book")
ENTRY = "@misc{haim2022, author={Haim, Niv}, title={Reconstructing <x>}, year={2022}}"
CHAPTER = "".join([
    notebook(title="First"),
    tagged("See {cite:t}`haim2022` and {numref}`fig-plain`.", markdown=True),
    tagged(figure("fig-one"), "remove-input"),
    tagged(figure("fig-plain").replace("Pixels, $n = 2$.", "Two plain pixels."), "remove-input"),
    tagged("## More", "appendix", markdown=True),
])  # fmt: skip


def named(config: str, url: str) -> str:
    changed = config.replace('url: ""', f'url: "{url}"')
    assert changed != config
    return changed


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> SimpleNamespace:
    """A book whose configuration names a repository, with a citation file and a bibliography."""
    book = Book(tmp_path_factory.mktemp("facts") / "checkout", {"01_first": CHAPTER})
    (book.root / "book" / "references.bib").write_text(ENTRY)
    book.page("bibliography", "# Bibliography\n\n```{bibliography}\n```\n")
    toc = book.root / "_toc.yml"
    toc.write_text(toc.read_text() + "  - file: book/bibliography\n")
    config = book.root / "_config.yml"
    config.write_text(named(config.read_text(), "https://github.com/someone/a.book"))
    shutil.copy(REPOSITORY / "CITATION.cff", book.root)
    executed = book.execute(*book.sources())
    assert executed.returncode == 0, executed.stderr
    result = book.build()
    assert result.returncode == 0, result.stderr
    return SimpleNamespace(book=book)


def page(built, name: str) -> BeautifulSoup:
    return BeautifulSoup((built.book.site / name).read_text(), "html.parser")


# Links --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["01_first", "01_first-appendix"])
def test_links_open_the_executed_notebook_of_the_chapter(built, name):
    line = page(built, f"notebooks/{name}.html").select_one("h1 + p.page-facts")
    assert {link.text: link["href"] for link in line.select("a")} == {
        "Colab": "https://colab.research.google.com/github/someone/a.book/blob/executed/notebooks/01_first.ipynb",
        "Binder": "https://mybinder.org/v2/gh/someone/a.book/executed?labpath=notebooks/01_first.ipynb",
        "file": "https://raw.githubusercontent.com/someone/a.book/executed/notebooks/01_first.ipynb",
    }
    assert line.text.startswith("1 minute to read · ")


@pytest.mark.parametrize(
    "url, found",
    [
        ("https://github.com/someone/a.book", HERE),
        ("https://github.com/someone/a.book.git", HERE),
        ("https://github.com/someone/a.book/", HERE),
        ("https://example.org/someone/a.book", None),
        ("https://github.com/someone", None),
        ("", None),
        (None, None),
    ],
)
def test_only_a_repository_on_github_is_led_to(monkeypatch, url, found):
    monkeypatch.delenv("BOOK_REPOSITORY", raising=False)
    assert page_facts.repository({"repository": {"url": url}}) == found


def test_the_configuration_wins_over_the_workflow_s_own_repository(monkeypatch):
    monkeypatch.setenv("BOOK_REPOSITORY", "https://github.com/other/fork")
    assert page_facts.repository({}) == Repository("other", "fork")
    named_there = {"repository": {"url": "https://github.com/someone/a.book"}}
    assert page_facts.repository(named_there) == HERE


def test_without_a_repository_nothing_leads_anywhere(monkeypatch):
    monkeypatch.delenv("BOOK_REPOSITORY", raising=False)
    found = page_facts.facts(REPOSITORY, {"01_first": "First"}, ["01_first"], "-appendix")
    assert found["launch"] == {"notebooks/01_first": "", "notebooks/01_first-appendix": ""}
    assert "http" not in json.dumps(found)


def test_pages_has_the_address_of_the_repository_or_of_its_owner():
    assert HERE.pages == "https://someone.github.io/a.book/"
    assert Repository("Someone", "someone.github.io").pages == "https://someone.github.io/"


# The branch of executed notebooks -----------------------------------------------------------------


@pytest.fixture
def committed(built) -> Path:
    """The book's folder as a git repository with one commit."""
    root = built.book.root
    if not (root / ".git").exists():
        (root / ".gitignore").write_text("_build/\n")
        for words in (["init", "-q"], ["add", "-A"]):
            subprocess.run(["git", *words], cwd=root, check=True)
        who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run(["git", *who, "commit", "-qm", "x"], cwd=root, check=True)
    return root


def test_the_branch_holds_the_repository_and_notebooks_that_find_it(committed, tmp_path):
    assert executed_branch.gather(committed, "quick", tmp_path / "b") == ["01_first"]
    assert (tmp_path / "b" / "_config.yml").is_file() and not (tmp_path / "b" / "_build").exists()
    found = nbformat.read(tmp_path / "b" / "notebooks" / "01_first.ipynb", as_version=4)
    nbformat.validate(found)
    code = [cell.source for cell in found.cells if cell.cell_type == "code"]
    assert "--branch executed https://github.com/someone/a.book.git a.book" in code[0]
    assert code[1].startswith("n = 5") and RECORD in found.metadata


@pytest.mark.parametrize("start", ["notebooks", "."])
def test_the_first_cell_finds_the_repository_around_the_notebook(tmp_path, monkeypatch, start):
    (tmp_path / "lib").mkdir()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / start)
    monkeypatch.setattr("sys.path", [])
    cell = executed_branch.with_start(nbformat.v4.new_notebook(), HERE).cells[0]
    exec(cell.source, {})
    assert Path.cwd() == tmp_path


def test_a_branch_without_a_repository_or_an_executed_chapter_is_refused(committed, tmp_path):
    with pytest.raises(NotebookError, match="01_first was not executed with the profile laptop"):
        executed_branch.gather(committed, "laptop", tmp_path / "b")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(NotebookError, match="names no repository on GitHub"):
        executed_branch.gather(empty, "quick", tmp_path / "b")
    assert not (tmp_path / "b").exists()


# Citing, reading, previews ------------------------------------------------------------------------


def test_every_page_can_be_cited(built):
    chapter = page(built, "notebooks/01_first.html").select_one("details.cite pre").text
    assert chapter.startswith("@incollection{first,\n  author = {{The authors of What the Weights")
    assert "booktitle = {{What the Weights Remember: a reproducible-paper book}}" in chapter
    assert "url = {https://github.com/someone/a.book}" in chapter and "year = {2026}" in chapter
    book = page(built, "book/index.html").select_one("details.cite pre").text
    assert book.startswith("@book{what-the-weights-remember-a,") and "booktitle" not in book


def test_an_entry_is_read_back_by_a_parser_of_bibtex():
    from pybtex.database import parse_string

    people = [{"family-names": "Muster", "given-names": "Eva"}, {"name": "The {Group} and Co"}]
    cff = {"title": "A book", "authors": people, "date-released": "2025-03-01", "doi": "10.1/2"}
    text = page_facts.bibtex(cff, year="2026", where=HERE, chapter="A chapter")
    [(key, entry)] = parse_string(text, "bibtex").entries.items()
    assert key == "a-chapter" and entry.type == "incollection"
    assert entry.fields["year"] == "2025" and entry.fields["doi"] == "10.1/2"
    names = [str(person) for person in entry.persons["author"]]
    assert names == ["Muster, Eva", "{The Group and Co}"]


def test_licence_and_repository_stand_at_the_end(built):
    end = page(built, "notebooks/01_first.html").select_one("div.page-end > p")
    assert end.text == "Licence of text and code: MIT · source repository"
    assert end.select_one("a")["href"] == HERE.url


def test_reading_time_counts_prose_alone():
    words = "word " * 660
    assert page_extras.minutes(f"<p>{words}</p>") == 3
    for tag in ("pre", "table", "details", "script"):
        assert page_extras.minutes(f"<{tag} class='x'>{words}</{tag}><p>word</p>") == 1
    assert page_extras.minutes(r"<span>\(" + words + r"\)</span>") == 1


def test_links_to_the_bibliography_and_to_figures_tell_what_is_there(built):
    links = page(built, "notebooks/01_first.html").select("a.reference.internal[data-note]")
    notes = {link.text: link["data-note"] for link in links}
    assert notes["2022"] == "Niv Haim. Reconstructing <x>. 2022."
    assert notes["Figure 1.2"] == "Figure 1.2 Two plain pixels."
    assert all(link["aria-description"] == link["data-note"] for link in links)
    assert not [link for link in links if link.get("title")]


def test_a_note_can_hold_no_markup():
    link = '<a class="reference internal" href="#fig-x"><span>Figure</span></a>'
    found = BeautifulSoup(page_extras.add_notes(link, {"fig-x": '"><b>x</b>'}), "html.parser")
    assert found.a["data-note"] == '"><b>x</b>' and found.b is None


def test_a_page_shared_elsewhere_has_a_title_words_and_a_picture(built):
    tags = page(built, "notebooks/01_first.html").select("meta[property]")
    found = {tag["property"]: tag["content"] for tag in tags}
    assert (
        found["og:title"].endswith("First") and found["og:site_name"] == "What the Weights Remember"
    )
    assert found["og:image"] == "https://someone.github.io/a.book/_static/social-preview.png"
    assert found["og:url"] == "https://someone.github.io/a.book/notebooks/01_first.html"
    assert (built.book.site / "_static" / "social-preview.png").is_file()


def test_the_picture_has_the_size_that_previews_have():
    from PIL import Image

    with Image.open(REPOSITORY / "book" / "_static" / page_facts.PICTURE) as picture:
        assert picture.size == (1200, 630)


def test_a_page_on_paper_leaves_out_what_cannot_be_clicked():
    style = (REPOSITORY / "book" / "_static" / "extras.css").read_text()
    printed = style[style.index("@media print") :]
    for name in (".page-facts", "details.cite", "details.figure-source", ".headerlink"):
        assert name in printed.partition("display: none")[0]


# Workflows ----------------------------------------------------------------------------------------

WORKFLOWS = {
    path.stem: YAML(typ="safe").load(path)
    for path in sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))
}


def steps(name: str) -> list[dict]:
    return [step for job in WORKFLOWS[name]["jobs"].values() for step in job["steps"]]


def commands(name: str) -> str:
    return "\n".join(step["run"] for step in steps(name) if "run" in step)


def test_there_is_a_workflow_for_tests_previews_and_publishing():
    assert set(WORKFLOWS) == {"tests", "preview", "publish"}
    triggers = {name: set(flow["on"]) for name, flow in WORKFLOWS.items()}
    assert triggers["tests"] == {"push", "pull_request"}
    assert triggers["preview"] == {"pull_request"} and "pull_request" not in triggers["publish"]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_calls_targets_and_files_that_there_are(name):
    makefile = (REPOSITORY / "Makefile").read_text()
    known = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE)) | {".venv/.installed"}
    asked = set(re.findall(r"\bmake (\S+)", commands(name)))
    assert asked and asked <= known
    files = re.findall(r"(?<![\w/])tests/[\w/.]+", commands(name))
    assert all((REPOSITORY / file).exists() for file in files)
    assert all(("run" in step) != ("uses" in step) for step in steps(name))


def test_workflows_do_what_they_are_for():
    assert "make test" in commands("tests") and "make book" in commands("preview")
    uploaded = [
        step["with"]["path"] for step in steps("preview") if "upload" in step.get("uses", "")
    ]
    assert uploaded[0] == "_build/site/quick"
    publish = commands("publish")
    assert publish.index("make published") < publish.index("make executed")
    assert "cd _build/branch" in publish and f"{page_facts.BRANCH}\n" in f"{publish}\n"
    pages = [step for step in steps("publish") if "upload-pages" in step.get("uses", "")]
    assert pages[0]["with"]["path"] == "_build/site/laptop"


def test_only_what_publishes_may_write():
    for name, flow in WORKFLOWS.items():
        assert flow["permissions"] == {"contents": "read"}
        granted = {job: given.get("permissions", {}) for job, given in flow["jobs"].items()}
        if name != "publish":
            assert not any(granted.values())
    assert WORKFLOWS["publish"]["jobs"]["book"]["permissions"] == {"contents": "write"}
    deploy = WORKFLOWS["publish"]["jobs"]["deploy"]["permissions"]
    assert deploy == {"pages": "write", "id-token": "write"}


def test_python_versions_are_those_that_the_project_takes():
    versions = WORKFLOWS["tests"]["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert versions == ["3.11", "3.12", "3.13"]
    assert 'requires-python = ">=3.11,<3.14"' in (REPOSITORY / "pyproject.toml").read_text()


@pytest.mark.parametrize("name", WORKFLOWS)
def test_the_shell_can_read_every_step(name, tmp_path):
    text = re.sub(r"\$\{\{.*?\}\}", "x", commands(name))
    (tmp_path / "steps.sh").write_text(text)
    assert subprocess.run(["bash", "-n", str(tmp_path / "steps.sh")]).returncode == 0
