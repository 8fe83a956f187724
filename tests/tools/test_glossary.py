"""Terms that the page on notation defines are explained where chapters use them first."""

from bs4 import BeautifulSoup

import glossary
import page_extras
from glossary import Term
from tiny_book import REPOSITORY, notebook, tagged

PAGE = """\
# Notation

```{list-table} Measures.
:header-rows: 1
:name: tab-measures

* - measure
  - meaning
  - in the code
* - Vendi score
  - how many images
    seem to differ (004, B.3) {cite}`some2020`
  - `vendi`
* - control
  - a common word
  - `c`
* - KID
  - $x$ of features
  - `kid`
* - Loss Difference
  - the same of the loss
  - `loss`
```
"""


def test_names_with_a_meaning_in_words_are_terms():
    assert glossary.terms(PAGE) == [
        Term("Vendi score", "how many images seem to differ", "tab-measures")
    ]


def test_the_page_on_notation_defines_what_chapters_measure_with():
    found = {
        term.term
        for term in glossary.terms(
            (REPOSITORY / "book" / "notation.md").read_text(encoding="utf-8")
        )
    }
    assert {"Vendi score", "KID", "NCC", "SSIM", "calibrated AUROC", "held-out images"} <= found
    assert not {"control", "features", "units", "learning rate"} & found


KNOWN = [["KID", "a distance", "tab-x"], ["NCC", 'a "correlation"', "tab-y"]]


def marked(body: str) -> BeautifulSoup:
    return BeautifulSoup(page_extras.mark_terms(body, KNOWN, "n.html"), "html.parser")


def test_the_first_use_in_a_paragraph_is_a_link_with_the_meaning():
    found = marked("<h2>KID</h2><p>Low KID, high NCC, KID again.</p><p>NCC</p>")
    links = found.select("a.term")
    assert [(link.text, link["href"]) for link in links] == [
        ("KID", "n.html#tab-x"),
        ("NCC", "n.html#tab-y"),
    ]
    assert links[1]["data-note"] == 'NCC: a "correlation"'
    assert found.text == "KIDLow KID, high NCC, KID again.NCC"


def test_links_code_formulas_and_parts_of_words_are_left_alone():
    body = (
        '<p><a href="#">KID</a> <code>KID</code> <span class="math">KID</span> KIDs pre-KID</p>'
        '<pre>KID</pre><p title="KID">x</p>'
    )
    assert not marked(body).select("a.term")


def test_a_built_chapter_leads_to_the_table_that_defines_the_term(make_book):
    text = notebook() + tagged("The Vendi\nscore counts.", markdown=True)
    book = make_book({"01_first": text})
    book.page("notation", PAGE.replace(" {cite}`some2020`", ""))
    toc = book.root / "_toc.yml"
    toc.write_text(toc.read_text() + "  - file: book/notation\n")
    assert book.execute(*book.sources()).returncode == 0
    built = book.build()
    assert built.returncode == 0, built.stderr
    chapter = (book.site / "notebooks" / "01_first.html").read_text()
    [link] = BeautifulSoup(chapter, "html.parser").select("a.term")
    assert link["href"] == "../book/notation.html#tab-measures" and link.text.split() == [
        "Vendi",
        "score",
    ]
