"""Chapter 9 on a made ledger and on the book's own: counts, matrix, entries, the sorting script."""

import json
import re
from dataclasses import replace
from pathlib import Path

import browser
import pytest
from bs4 import BeautifulSoup
from check import actions
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from chapters.scorecard import figures, reading
from chapters.scorecard.entries import entries
from chapters.scorecard.matrix import matrix
from harness import ledger
from harness.claims import VERDICTS, Verdict, judge
from harness.ledger import Claim, Criterion
from harness.records import collect, record

ROOT = Path(__file__).resolve().parents[2]
PAPERS_CLAIMS = ledger.load(ROOT / "claims")
GOOD, BAD, OPEN = [0.5, 0.6, 0.7], [-0.5, -0.6, -0.7], [-0.5, 0.1, 0.6]


def claim(id: str, **fields) -> Claim:
    plain = {
        "paper": "000", "where": "§4", "kind": "D", "statement": f"What {id} says.",
        "reference": "none", "criterion": "The gap is above 0.", "seeds": 3,
        "tests": (Criterion("gap", "above", 0.0),), "chapter": "02_second", "missing": "a GPU",
    }  # fmt: skip
    return Claim(id=id, **(plain | fields))


MADE = {
    one.id: one
    for one in (
        claim("S01", parts=2, figure="fig-one", caveat="Only a few images."),
        claim("S02"),
        claim("S01-small", row="S01", differs="Fewer images.", parts=2),
        claim("S03", parts=6),
        claim("H01", paper="004", tests=(), chapter="07_seventh"),
        claim("H02", paper="004", chapter="08_eighth", parts=2),
        claim("B01", paper="book"),
    )
}
THERE = {"02_second", "07_seventh"}
EVIDENCE = {
    "S01": {"MNIST": {"gap": GOOD}, "coloured digits": {"gap": BAD}},
    "S02": {"gap": OPEN},
    "S01-small": {"MNIST": {"gap": GOOD}},
    "S03": {
        "MLP, MNIST": {"gap": GOOD}, "CNN, MNIST": {"gap": GOOD}, "ViT, MNIST": {"gap": BAD},
        "MLP, coloured digits": {"gap": GOOD}, "CNN, coloured digits": {"gap": GOOD},
    },
    "H01": {"share": [0.25, 0.75]},
    "B01": {"gap": GOOD},
}  # fmt: skip


@pytest.fixture
def recorded(tmp_path) -> Path:
    """A folder with the verdicts that chapters would leave."""
    verdicts = [
        replace(
            judge(id, evidence, claims=MADE),
            source=MADE[id].chapter, profile="results", runs=12, sizes=(50, 1000),
        )
        for id, evidence in EVIDENCE.items()
    ]  # fmt: skip
    record(verdicts, tmp_path / "verdicts")
    return tmp_path / "verdicts"


@pytest.fixture
def found(recorded) -> list[Verdict]:
    return collect(recorded, claims=MADE)


@pytest.fixture
def shown(found) -> list[reading.Line]:
    return reading.lines(found, MADE)


def of(shown: list[reading.Line], id: str) -> reading.Line:
    (line,) = [line for line in shown if line.claim.id == id]
    return line


def letters(line: reading.Line) -> dict[str, str]:
    return {name: reading.LOOKS[cell.verdict].letter for name, cell in line.cells.items()}


# --- records -> lines ---------------------------------------------------------------------------


def test_a_variant_stands_below_its_row_and_only_rows_of_papers_count(shown):
    assert [line.claim.id for line in shown] == [
        "S01", "S01-small", "S02", "S03", "H01", "H02", "B01",
    ]  # fmt: skip
    assert [line.claim.id for line in shown if line.counted] == ["S01", "S02", "S03", "H01", "H02"]
    groups = reading.grouped(shown)
    assert [(paper.topic, len(lines)) for paper, lines in groups.items()] == [
        ("Shortcuts", 4), ("Training images", 2), ("This book", 1),
    ]  # fmt: skip


def test_every_verdict_is_the_recorded_one(shown, recorded):
    kept = {path.stem: json.loads(path.read_text())["verdict"] for path in recorded.glob("*.json")}
    assert {line.claim.id: line.verdict.verdict for line in shown} == kept | {"H02": "NOT-RUN"}


def test_columns_are_the_data_sets_that_occur(found):
    assert reading.columns(found) == ["MNIST", "coloured digits", reading.WHOLE]
    assert reading.columns([]) == [reading.WHOLE]


def test_parts_of_one_data_set_are_combined(shown):
    whole = reading.WHOLE
    assert letters(of(shown, "S01")) == {"MNIST": "R", "coloured digits": "N"}
    assert letters(of(shown, "S01-small")) == {"MNIST": "R", "coloured digits": "–"}
    assert letters(of(shown, "S02")) == {whole: "I"}
    assert letters(of(shown, "S03")) == {"MNIST": "P", "coloured digits": "R"}
    assert letters(of(shown, "H01")) == {whole: "r"}
    assert letters(of(shown, "H02")) == {"MNIST": "–", "coloured digits": "–"}
    assert of(shown, "S03").cells["MNIST"].note == "2 reproduced, 1 not reproduced"


def test_parts_that_are_no_data_sets_make_one_cell():
    parts = {"MLP": {"gap": GOOD}, "ViT": {"gap": BAD}}
    verdict = judge("S01", parts, claims=MADE)
    assert reading.columns([verdict]) == [reading.WHOLE]
    made = reading.cells(verdict, MADE["S01"], ["MNIST", reading.WHOLE])
    assert made == {reading.WHOLE: reading.Cell("PARTIAL", "1 reproduced, 1 not reproduced")}


def test_what_stood_in_for_a_data_set_is_known(shown):
    assert of(shown, "S01").stand_ins == ["coloured digits in place of SVHN"]
    assert of(shown, "S02").stand_ins == []


# --- counts and sentences -----------------------------------------------------------------------


def test_counts_are_of_the_papers_rows(shown):
    table = reading.counts(shown)
    assert table.sum().to_dict() == {
        "REPRODUCED": 0, "PARTIAL": 2, "INCONCLUSIVE": 1, "UNINFORMATIVE": 0, "NOT-REPRODUCED": 0,
        "REPORTED": 1, "NOT-RUN": 1,
    }  # fmt: skip
    assert list(table.sum(axis=1)) == [3, 0, 0, 0, 2]
    whole = reading.count_table(shown)
    assert whole["paper"].iloc[-1] == "all five" and whole["claims"].iloc[-1] == 5
    assert list(whole.columns)[2:] == [look.letter for look in reading.LOOKS.values()]


def test_the_answer_has_the_counts(shown):
    said = reading.answer(shown, THERE)
    assert said.startswith("Of the papers' 5 claims 3 could be judged: **0 reproduced, 2 partly, ")
    assert "Not run: 1, 1 of them in chapters yet to be written." in said
    assert said.endswith(" Variants, not counted: 1.")
    assert reading.finding(reading.counts(shown)) == "3 of 5 claims judged, 0 reproduced"


def test_the_figure_is_told_to_those_who_do_not_see_it(shown):
    said = reading.spoken(reading.counts(shown))
    assert said.startswith(
        "A bar a paper, divided by verdict. Shortcuts: 2 partly, 1 inconclusive; "
    )
    assert said.endswith("Training images: 1 reported, 1 not run.")


def test_an_answer_with_everything_in_it_is_short_enough(shown):
    verdict = replace(of(shown, "S02").verdict, verdict="UNINFORMATIVE")
    said = reading.answer([*shown, replace(of(shown, "S02"), verdict=verdict)], THERE)
    assert "in 1 a null passes, too" in said and len(said.split()) <= 60


def test_chapters_that_left_nothing_are_named(shown):
    assert reading.silent(shown) == ["08_eighth"]
    assert reading.who_is_silent(shown, THERE) == "Not written yet: chapter 8."
    failed = reading.who_is_silent(shown, THERE | {"08_eighth"})
    assert failed == "Nothing was recorded by [](./08_eighth): not executed, or it failed."
    heard = [line for line in shown if line.claim.chapter != "08_eighth"]
    assert reading.who_is_silent(heard, THERE) == "Every chapter recorded its verdicts."


def test_claims_that_do_not_survive_a_correction_are_named(shown):
    some = [replace(of(shown, "S01"), kept=True), replace(of(shown, "S03"), kept=False)]
    assert reading.corrected(some) == (
        "2 claims are decided, one way or the other, by intervals; in 1 of them every decisive "
        'test stays so after the correction, in <a href="#S03">S03</a> not every one.'
    )
    assert reading.corrected(some[:1]).endswith("after the correction.")


def test_the_figure_is_drawn_with_and_without_verdicts(shown):
    for lines in (shown, reading.lines(collect("nowhere", claims=MADE), MADE)):
        counts = reading.counts(lines)
        fig = figures.summary(counts, "Five claims")
        told = [text.get_text().split() for text in fig.axes[0].texts]
        assert isinstance(fig, Figure)
        assert sum(int(count) for _, count in told) == counts.to_numpy().sum() == 5
    assert isinstance(figures.summary(0 * counts, "None"), Figure)


def test_page_and_figure_have_the_same_colours():
    style = (ROOT / "book" / "_static" / "custom.css").read_text()
    assert figures.FILLS.keys() == reading.LOOKS.keys() == {*VERDICTS}
    for verdict, look in reading.LOOKS.items():
        rule = re.search(rf"^\.verdict\.{look.style},.*$", style, re.MULTILINE)[0]
        fill = figures.FILLS[verdict][0]
        if fill != "none" and "var(" not in rule:
            assert f"background: {to_hex(fill)};" in rule


# --- the matrix ---------------------------------------------------------------------------------


def page(shown: list[reading.Line], found: list[Verdict]) -> BeautifulSoup:
    made = matrix(shown, reading.columns(found)) + entries(shown, THERE)
    return BeautifulSoup(made, "html.parser")


def rows_of(soup: BeautifulSoup) -> dict[str, list[str]]:
    """Claim -> its letters, an empty text where a column does not apply."""
    rows = soup.select("table.scorecard tbody tr:not(.paper)")
    return {
        row.select_one("a.id").text: [cell.text[:1] for cell in row.select("td")] for row in rows
    }


def test_the_matrix_has_the_letters(shown, found):
    assert rows_of(page(shown, found)) == {
        "S01": ["R", "N", "", "P"],
        "S01-small": ["R", "–", "", "R"],
        "S02": ["", "", "I", "I"],
        "S03": ["P", "R", "", "P"],
        "H01": ["", "", "r", "r"],
        "H02": ["–", "–", "", "–"],
        "B01": ["", "", "R", "R"],
    }


def test_a_variant_is_marked(shown, found):
    (variant,) = page(shown, found).select("tr.variant")
    assert (
        "Not counted. Fewer images." in variant.text and variant.select_one("a").text == "S01-small"
    )


def test_a_cell_of_several_parts_says_how_many(shown, found):
    titles = [cell["title"] for cell in page(shown, found).select("td a")]
    assert "MNIST: 2 reproduced, 1 not reproduced" in titles and "partly on 5 of 6 parts" in titles


def check_links(soup: BeautifulSoup) -> None:
    """Every id once, every link to one, every letter in a link to the entry of its row."""
    ids = [element["id"] for element in soup.select("[id]")]
    assert len(ids) == len({*ids})
    assert {link["href"][1:] for link in soup.select("a")} <= {*ids}
    for row in soup.select("table.scorecard tbody tr:not(.paper)"):
        id = row.select_one("a.id").text
        for cell in row.select("td"):
            assert not cell.text or cell.select_one("a")["href"] == f"#{id}"
        assert row.select("td a") and soup.find(id=id).name == "details"


def test_every_letter_leads_to_an_entry(shown, found):
    check_links(page(shown, found))


def test_every_row_of_the_papers_has_one_row(whole_ledger):
    rows = [id for id in PAPERS_CLAIMS if re.fullmatch("[SITRH][0-9]{2}", id)]
    _, soup = whole_ledger
    assert len(rows) == 117
    assert [row.text for row in soup.select("tr:not(.variant) a.id") if row.text[0] != "B"] == rows


@pytest.fixture(scope="module")
def whole_ledger() -> tuple[list[reading.Line], BeautifulSoup]:
    """The book's own ledger without any record."""
    found = collect("nowhere", claims=PAPERS_CLAIMS)
    shown = reading.lines(found, PAPERS_CLAIMS)
    return shown, page(shown, found)


def test_the_whole_ledger_is_there_without_records(whole_ledger):
    shown, soup = whole_ledger
    assert {line.claim.id for line in shown} == {*PAPERS_CLAIMS} and len(shown) == len(
        PAPERS_CLAIMS
    )
    assert reading.counts(shown).to_numpy().sum() == sum(line.counted for line in shown) == 117
    assert {line.verdict.verdict for line in shown} == {"NOT-RUN"}
    check_links(soup)
    assert "Of the papers' 117 claims 0 could be judged" in reading.answer(shown, set())


# --- entries ------------------------------------------------------------------------------------


def facts(soup: BeautifulSoup, id: str) -> dict[str, str]:
    entry = soup.find(id=id)
    return dict(zip([t.text for t in entry.select("dt")], [d.text for d in entry.select("dd")]))


def test_an_entry_says_what_was_found(shown, found):
    soup = page(shown, found)
    assert facts(soup, "S01") == {
        "Where": "Suhail & Sethi 2025, §4.",
        "Criterion": "The gap is above 0.",
        "Verdict": "partly, judged on 2 of 2 parts",
        "Runs": "12 runs; seeds: 3; training images: 50, 1,000; folder of results: results",
        "Run here": "coloured digits in place of SVHN",
        "Holm": "not every decisive test stays so when all of the paper are corrected together",
        "Caveat": "Only a few images.",
    }
    rows = [[cell.text for cell in row] for row in soup.find(id="S01").select("tbody tr")]
    assert rows[0] == ["MNIST", "mean of gap > 0", "0.6 [0.352, 0.848]", "3", "pass"]
    assert "Chapter 2, [](./02_second), {numref}`fig-one`." in soup.find(id="S01").text


def test_an_entry_of_a_variant_names_its_row(shown, found):
    soup = page(shown, found)
    said = facts(soup, "S01-small")
    assert (said["Varies"], said["Differs"]) == ("S01", "Fewer images.")
    assert "not counted" in soup.find(id="S01-small").summary.text


def test_what_was_not_run_says_what_it_takes(shown, found):
    soup = page(shown, found)
    assert facts(soup, "H02")["It takes"] == "a GPU" and "It takes" not in facts(soup, "S01")
    assert "Chapter 8 is not written yet." in soup.find(id="H02").text
    assert not soup.find(id="H02").select("table")


def test_a_reported_claim_shows_its_numbers(shown, found):
    (row,) = page(shown, found).find(id="H01").select("tbody tr")
    assert [cell.text for cell in row][:1] + [cell.text for cell in row][2:] == [
        "share", "2", "reported",
    ]  # fmt: skip


def test_seeds_that_are_counted_are_a_share():
    test = Criterion("gap", "above", 0.0, "share_of_seeds", 0.8)
    counted = {"S02": claim("S02", tests=(test,))}
    shown = reading.lines([judge("S02", {"gap": OPEN}, claims=counted)], counted)
    assert "67% of seeds" in entries(shown, THERE)


# --- nothing acts -------------------------------------------------------------------------------

EVIL = "</a><script>x()</script> <img src=x onerror='x()'>\n\n\"quoted\" `{numref}` & [a](b)"


def test_texts_of_the_ledger_are_no_markup():
    texts = ("where", "statement", "reference", "criterion", "caveat", "missing", "differs")
    evil = {
        "S01": claim("S01", **dict.fromkeys(texts[:-1], EVIL)),
        "S01-x": claim("S01-x", row="S01", **dict.fromkeys(texts, EVIL)),
    }
    found = [
        replace(judge("S01", {EVIL: {"gap": GOOD}}, claims=evil), profile=EVIL, runs=1),
        Verdict("S01-x", "NOT-RUN", (), 0, notes=(EVIL,)),
    ]
    shown = reading.lines(found, evil)
    html = matrix(shown, [*reading.columns(found), EVIL]) + entries(shown, THERE)
    soup = BeautifulSoup(html, "html.parser", multi_valued_attributes=None)
    assert not soup.select("script, img")
    assert [a for tag in soup.find_all(True) for a in actions(tag.name, tag.attrs)] == []
    plain = " ".join(EVIL.split())
    assert facts(soup, "S01")["Criterion"] == plain and plain in soup.find(id="S01").summary.text
    for entry in entries(shown, THERE).split("<details")[1:]:
        assert "\n\n" not in entry.split("</dl>")[0]  # it would end the block of HTML


# --- the script ---------------------------------------------------------------------------------

BROWSER = browser.find_browser()
SORTS = """<!doctype html><body><iframe src="/page.html"></iframe><script>
const page = () => document.querySelector("iframe").contentDocument;
const order = () => [...page().querySelectorAll("a.id")].map((link) => link.textContent);
const headings = () => [...page().querySelectorAll("table.scorecard thead th")];
const sorted = () => headings().map((heading) => heading.getAttribute("aria-sort"));
document.querySelector("iframe").onload = async () => {
  const found = {buttons: headings().map((th) => th.querySelector("button")?.tabIndex)};
  found.steps = [[order(), sorted()]];
  for (const column of __COLUMNS__) {
    headings()[column].querySelector("button").click();
    found.steps.push([order(), sorted()]);
  }
  found.tops = [...page().querySelectorAll("table.scorecard tbody")].map((body) => body.rows[0].className);
  page().querySelector('td a[href="#S02"]').click();
  await new Promise((resolve) => setTimeout(resolve, 200));
  found.open = [...page().querySelectorAll("details[open]")].map((entry) => entry.id);
  await fetch("/-found", {method: "POST", body: JSON.stringify(found)});
};
</script><img src="/-wait"></body>"""


@pytest.mark.skipif(BROWSER is None, reason="needs chromium")
def test_headings_sort_and_links_open(shown, found, tmp_path, monkeypatch):
    script = (ROOT / "book" / "_static" / "scorecard.js").read_text()
    html = str(page(shown, found))
    (tmp_path / "page.html").write_text(
        f'<!doctype html><meta charset="utf-8"><script>{script}</script>{html}'
    )
    monkeypatch.setattr(browser, "PROBE", SORTS.replace("__COLUMNS__", "[4, 4, 3, 0, 0]"))
    seen = browser.observe(tmp_path, [], BROWSER, 60)
    assert seen["buttons"] == [0] * 5 and set(seen["tops"]) == {"paper"}
    papers = ["S01", "S01-small", "S02", "S03", "H01", "H02", "B01"]
    best_first = ["S01", "S01-small", "S03", "S02", "H01", "H02", "B01"]
    best_last = ["S02", "S01", "S01-small", "S03", "H02", "H01", "B01"]
    whole_first = ["S02", "S01", "S01-small", "S03", "H01", "H02", "B01"]
    backwards = ["S03", "S02", "S01", "S01-small", "H02", "H01", "B01"]
    none = ["none"] * 5
    assert seen["steps"] == [
        [papers, ["ascending", *none[1:]]],
        [best_first, [*none[:4], "ascending"]],
        [best_last, [*none[:4], "descending"]],
        [whole_first, [*none[:3], "ascending", "none"]],
        [papers, ["ascending", *none[1:]]],
        [backwards, ["descending", *none[1:]]],
    ]
    assert seen["open"] == ["S02"]
