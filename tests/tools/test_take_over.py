"""Answers and figures of chapters on prose pages: one source, and no name that nobody gives."""

import nbformat
import pytest
from bs4 import BeautifulSoup

from harness import page
from take_over import take_over
from tiny_book import Book, drawing, notebook, tagged

ANSWER = "Yes, *for small* networks."


def answer(text: str, name: str = "answer") -> str:
    """A cell that shows an answer the way the harness does."""
    box = {"text/markdown": f":::{{div}} answer\n{text}\n:::", "text/plain": text}
    metadata = {"answer": {"name": name, "text": text}}
    return f"from IPython.display import display\ndisplay({box!r}, raw=True, metadata={metadata!r})"


def not_run(name: str) -> str:
    text = (
        "~~~{table} Not run: this figure. The end of the page says why.\n"
        f":name: {name}\n\n| not run |\n| --- |\n| – |\n~~~"
    )
    return f"from IPython.display import Markdown, display\ndisplay(Markdown({text!r}))"


def executed(*outputs: dict) -> nbformat.NotebookNode:
    """A notebook with these outputs, each in a cell of its own, as it is before it is a page."""
    cells = []
    for output in outputs:
        cell = nbformat.v4.new_code_cell("x")
        placed = output.pop("mystnb", None)
        cell.outputs = [nbformat.v4.new_output("display_data", **output)]
        if placed:
            cell.metadata["mystnb"] = placed
            cell.metadata["tags"] = output.pop("tags", [])
        cells.append(cell)
    return nbformat.v4.new_notebook(cells=cells)


SAID = {"data": {"text/plain": ANSWER}, "metadata": {"answer": {"name": "answer", "text": ANSWER}}}
PLACED = {
    "figure": {"name": "fig-a", "caption": "A *line*."},
    "image": {"alt": "A\nline.", "width": "619px"},
}
SKIPPED = {
    "data": {"text/markdown": "~~~{table} Not run: this figure.\n:name: fig-b\n\n| – |\n~~~"},
    "metadata": {},
}


def taken(line: str, **notebooks) -> tuple[str, list[str]]:
    chapters, pictures = {"01_first", "02_second"}, {"fig-a": "gallery/fig-a.svg"}
    found = {stem: executed(*outputs) for stem, outputs in notebooks.items()}
    return take_over(f"Before.\n\n{line}\n\nAfter.\n", found, chapters, pictures, "-appendix")


def test_an_answer_stands_in_its_box():
    text, problems = taken("{answer}`01_first answer`", **{"01_first": [{**SAID}]})
    assert (text, problems) == (f"Before.\n\n:::{{div}} answer\n{ANSWER}\n:::\n\nAfter.\n", [])


@pytest.mark.parametrize("tags, page", [([], "01_first"), (["appendix"], "01_first-appendix")])
def test_a_figure_leads_to_its_place_and_keeps_its_caption(tags, page):
    output = {"data": {}, "metadata": {}, "mystnb": PLACED}
    found = executed(output)
    found.cells[0].metadata["tags"] = tags
    text, problems = take_over(
        "{figure}`01_first fig-a`",
        {"01_first": found},
        ["01_first"],
        {"fig-a": "a.svg"},
        "-appendix",
    )
    assert problems == [] and f":target: ../notebooks/{page}.html#fig-a\n" in text
    assert text.startswith("```{image} a.svg\n:alt: A line.\n:class: taken-over\n:width: 619px\n")
    assert text.endswith(":::{div} taken-over\n{numref}`fig-a`: A *line*.\n:::")


@pytest.mark.parametrize(
    "line, outputs",
    [
        ("{answer}`02_second answer`", [{**SAID}]),  # that chapter was not executed
        ("{figure}`02_second fig-a`", [{**SAID}]),
        ("{figure}`01_first fig-b`", [SKIPPED]),  # executed, but its runs are not there
    ],
)
def test_what_is_not_there_yet_says_so(line, outputs):
    text, problems = taken(line, **{"01_first": outputs})
    stem = line.partition("`")[2].split()[0]
    assert f"\n\nNot run yet: [](../notebooks/{stem}).\n\n" in text and problems == []


@pytest.mark.parametrize(
    "line, problem",
    [
        ("{answer}`01_first other`", "01_first was executed and gives no answer of that name"),
        ("{figure}`01_first answer`", "01_first was executed and gives no figure of that name"),
        ("{answer}`03_third answer`", "there is no notebook 03_third"),
    ],
)
def test_a_name_that_nobody_gives_is_a_problem(line, problem):
    assert taken(line, **{"01_first": [{**SAID}]})[1] == [f"{line}: {problem}"]


@pytest.mark.parametrize(
    "line", ["See {answer}`01_first answer`.", "{answer}`answer`", "{doc}`a b`"]
)
def test_other_text_stays(line):
    assert taken(line)[0] == f"Before.\n\n{line}\n\nAfter.\n"


def test_what_the_harness_puts_out_is_understood(monkeypatch):
    """Answers and figures without runs, as `harness.page` makes them."""
    outputs = []

    def display(shown, metadata=None, **_) -> None:
        data = shown if isinstance(shown, dict) else {"text/markdown": shown.data}
        outputs.append({"data": data, "metadata": metadata or {}})

    monkeypatch.setattr(page, "display", display)
    page.answer(ANSWER, name="other")
    page.show(None, alt="A line.", caption="A line.", name="fig-b")
    lines = "{answer}`01_first other`\n\n{figure}`01_first fig-b`"
    text, problems = taken(lines, **{"01_first": outputs})
    assert problems == [] and ANSWER in text and "Not run yet: [](../notebooks/01_first)." in text


# In a built site ----------------------------------------------------------------------

LEARNED = """\
# What we learned

Is it so?

{answer}`01_first answer`

{figure}`01_first fig-key`

{figure}`01_first fig-more`

{figure}`01_first fig-absent`

{answer}`02_second answer`
"""
FIRST = "".join([
    notebook(title="First\n#\n# Is it so?"),
    tagged(answer(ANSWER), "remove-input"),
    tagged(drawing("fig-key", caption="A key."), "remove-input"),
    tagged(not_run("fig-absent"), "remove-input"),
    tagged(drawing("fig-more", height=90), "appendix"),
])  # fmt: skip

SECOND = "".join([
    notebook(title="Second\n#\n# Or so?"),
    tagged(answer("No."), "remove-input"),
    tagged(drawing("fig-second"), "remove-input"),
])  # fmt: skip


@pytest.fixture
def book(make_book) -> Book:
    made = make_book({"01_first": FIRST, "02_second": SECOND})
    made.page("learned", LEARNED)
    toc = made.root / "_toc.yml"
    toc.write_text(toc.read_text() + "  - file: book/learned\n")
    return made


def test_a_page_has_what_the_chapters_say(book):
    assert book.execute(*book.sources()).returncode == 0
    built = book.build()
    assert built.returncode == 0, built.stderr
    learned = BeautifulSoup((book.site / "book" / "learned.html").read_text(), "html.parser")
    answers = learned.select("article div.answer")
    assert [box.text.strip() for box in answers] == ["Yes, for small networks.", "No."]
    links = learned.select("article a:has(img)")
    assert [link["href"] for link in links] == [
        "../notebooks/01_first.html#fig-key",
        "../notebooks/01_first-appendix.html#fig-more",
    ]
    for link in links:
        assert [picture["class"][0] for picture in link.select("img")] == [
            "only-light",
            "only-dark",
        ]
        assert link.img["alt"] == "A line." and "style" in link.img.attrs
    caption = learned.select_one("article div.taken-over")
    assert caption.text.strip() == "Figure 1.1: A key." and caption.a["href"].endswith("#fig-key")
    assert "Not run yet: First." in learned.text
    # what is not on the page as a figure of its own has no number of its own
    assert not learned.select("article figure")


def test_a_chapter_that_is_not_in_the_build_is_not_run_yet(book):
    assert book.execute(book.sources()[0]).returncode == 0
    built = book.build("--only")
    assert built.returncode == 0, built.stderr
    learned = BeautifulSoup((book.site / "book" / "learned.html").read_text(), "html.parser")
    assert "Not run yet: Second." in learned.text and len(learned.select("article div.answer")) == 1


def test_a_wrong_name_fails_the_build(book):
    book.page("learned", LEARNED.replace("fig-key", "fig-kye"))
    assert book.execute(*book.sources()).returncode == 0
    built = book.build()
    problem = "book/learned.md: {figure}`01_first fig-kye`: 01_first was executed and gives no"
    assert built.returncode == 1 and problem in built.stderr and not book.site.exists()
