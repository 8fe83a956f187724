"""What is put on a page: figures, tables, sentences, the state of the runs, verdicts."""

import base64
import io
import json
from types import SimpleNamespace

import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure
from PIL import Image

from harness import page
from harness.ledger import Claim, Criterion
from harness.results import Result
from harness.statistics import Interval, over_seeds
from harness.study import Study
from harness.style import style

WORDS = {"alt": "Two lines fall.", "caption": "The residual *falls*.", "name": "kkt-residual"}


def diagram(*, picture: bool = False) -> Figure:
    with style():
        fig = Figure(figsize=(3, 2))
        ax = fig.subplots()
        ax.imshow([[0, 1]]) if picture else ax.plot([0, 1])
    return fig


# --- figures ------------------------------------------------------------------------------------


def test_a_diagram_is_a_vector_picture_with_its_words_and_a_dark_variant(shown):
    page.show(diagram(), **WORDS)
    [(data, metadata)] = shown
    figure = metadata["figure"]
    assert {key: figure[key] for key in WORDS} == WORDS and data["text/plain"] == WORDS["alt"]
    assert data["image/svg+xml"].startswith("<?xml") and metadata["image/svg+xml"]["alt"]
    assert "#e8e8e8" in figure["dark"] and "#e8e8e8" not in data["image/svg+xml"]


def test_a_figure_with_photographs_has_twice_the_pixels(shown):
    page.show(diagram(picture=True), **WORDS)
    [(data, metadata)] = shown
    for content in (data["image/png"], metadata["figure"]["dark"]):
        image = Image.open(io.BytesIO(base64.b64decode(content)))
        assert image.width > 2.2 * 260 and image.text == {}
        assert image.convert("RGBA").getpixel((0, 0))[3] == 0  # the page shows through


def test_figures_are_the_same_every_time(shown):
    for _ in range(2):
        page.show(diagram(), **WORDS)
        page.show(diagram(picture=True), **WORDS)
    assert shown[:2] == shown[2:]


@pytest.mark.parametrize(
    "change", [{"alt": " "}, {"caption": ""}, {"name": ""}, {"name": "Fig 1"}, {"name": "a_b"}]
)
def test_figures_without_words_are_refused(shown, change):
    with pytest.raises(ValueError, match="it is empty|is no name"):
        page.show(diagram(), **{**WORDS, **change})
    assert shown == []


def test_show_closes_pyplot_figures(shown):
    fig, ax = pyplot.subplots()
    ax.plot([1, 2])
    page.show(fig, **WORDS)
    assert pyplot.get_fignums() == []


def test_no_figure_and_no_rows_say_not_run(shown):
    page.show(None, **WORDS)
    page.table(pd.DataFrame({"a": []}), caption="C.", name="tab-a")
    for (text, _), name in zip(shown, ("kkt-residual", "tab-a"), strict=True):
        assert text.startswith("~~~{table} Not run: this") and f":name: {name}\n" in text


# --- tables and sentences -----------------------------------------------------------------------


def test_a_table_is_numbered_markdown(shown):
    frame = pd.DataFrame(
        {"name": ["a|b", "<svg onload=x>"], "score": [0.12345, float("nan")], "ok": [True, False]}
    )
    page.table(frame, caption="Scores.", name="tab-scores", formats={"score": ".1%"})
    [(text, _)] = shown
    assert text.splitlines() == [
        "~~~{table} Scores.",
        ":name: tab-scores",
        "",
        "| name | score | ok |",
        "| --- | ---: | --- |",
        "| a\\|b | 12.3% | yes |",
        "| &lt;svg onload=x> | – | no |",
        "~~~",
    ]


def test_a_table_with_an_unknown_column_is_refused(shown):
    with pytest.raises(ValueError, match="no column 'nix'"):
        page.table(pd.DataFrame({"a": [1]}), caption="C.", name="t", formats={"nix": ".1f"})


def test_say_is_a_paragraph(shown):
    page.say("\n    Two\n    lines.\n    ")
    assert shown[0][0] == "Two\nlines."
    with pytest.raises(ValueError, match="nothing to say"):
        page.say("  ")


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        (Interval(1.0, 0.1, 2.0), ["A is larger."]),
        (Interval(1.0, 0.0, 2.0), []),
        (Interval(1.0, -0.1, 2.0), []),
        (Interval(-1.0, -2.0, -0.1), []),
        (over_seeds([1.0]), []),
        (over_seeds([]), []),
    ],
)
def test_a_sentence_that_compares_stands_only_on_its_interval(shown, interval, said):
    page.say("A is larger.", given=interval)
    assert [text for text, _ in shown] == said


def test_what_is_said_when_the_interval_does_not_carry_it(shown):
    page.say("A is larger.", given=Interval(1.0, -0.1, 2.0), otherwise="Seeds disagree.")
    assert shown[0][0] == "Seeds disagree."


@pytest.mark.parametrize("words", [0, 61])
def test_an_answer_has_one_to_sixty_words(shown, words):
    with pytest.raises(ValueError, match=f"{words} words"):
        page.answer(" ".join(["word"] * words))


def test_an_answer_stands_in_a_box_of_its_own_and_can_be_taken_over_by_name(shown):
    page.answer("\n    Yes, *mostly*.\n    ")
    page.answer("No.", name="trust")
    (data, metadata), (_, other) = shown
    assert data["text/markdown"] == ":::{div} answer\nYes, *mostly*.\n:::"
    assert data["text/plain"] == "Yes, *mostly*."
    assert metadata == {"answer": {"name": "answer", "text": "Yes, *mostly*."}}
    assert other == {"answer": {"name": "trust", "text": "No."}}
    with pytest.raises(ValueError, match="is no name"):
        page.answer("No.", name="No")


# --- the state of the runs ----------------------------------------------------------------------

PROVENANCE = {
    "device": "A processor",
    "threads": 2,
    "finished": "2026-01-02T03:04:05+00:00",
    "commit": "0123456789",
    "seconds": 7200.0,
}


def study_of(*results: Result, missing=None):
    return SimpleNamespace(results=list(results), missing=missing or {}, title=str.upper)


def test_the_status_says_each_reason_once_and_where_the_runs_were_made(shown):
    failed = [
        Result("toy.run", {"seed": i}, "failed", error="Traceback\nRuntimeError: no <GPU> here")
        for i in range(3)
    ]
    page.status(study_of(Result("toy.run", {}, "reused", provenance=PROVENANCE), *failed))
    [(data, metadata)] = shown
    text = data["text/markdown"]
    assert "1 of 4 runs are there" in text
    assert text.count("RuntimeError: no &lt;GPU> here") == 1 and "failed: 3 with" in text
    assert "2.0 hours" in text and "A processor" in text and "2026-01-02" in text
    assert "0123456" in text
    assert metadata["runs"] == {
        "runs": 4,
        "failed": 3,
        "reasons": ["RuntimeError: no <GPU> here"],
        "notes": [],
    }


def test_the_status_hands_on_what_was_not_saved_or_not_used(shown):
    notes = ("Older than the code: a changed since it was stored.", "It could not be saved (full).")
    page.status(study_of(Result("toy.run", {}, "computed", provenance=PROVENANCE, notes=notes)))
    assert shown[0][1]["runs"]["notes"] == ["It could not be saved (full)."]


def test_the_status_names_data_sets_that_are_not_here(shown):
    page.status(study_of(missing={"svhn": "no such folder"}))
    assert "SVHN is not here: no such folder" in shown[0][0]["text/markdown"]


# --- verdicts -----------------------------------------------------------------------------------


def claim(id: str, parts: int = 0) -> Claim:
    test = Criterion("gap", "above", 0.0)
    return Claim(id, "004", "§1", "D", f"Statement {id}.", "fig", "c", 2, (test,), parts, parts)


@pytest.fixture
def study(monkeypatch, tmp_path) -> Study:
    """One whose ledger has three claims; records stand below the test's own folder."""
    claims = {"A01": claim("A01"), "A02-n50": claim("A02-n50", parts=2), "A03": claim("A03")}
    monkeypatch.setattr(page.ledger, "load", lambda folder: claims)
    monkeypatch.chdir(tmp_path)
    return Study(tmp_path / "quick", stand_ins={"coloured digits": "SVHN"})


EVIDENCE = SimpleNamespace(
    A01=lambda runs: {"gap": runs},
    A02_n50=lambda runs: {
        "MNIST": {"gap": runs},
        "coloured digits": {"gap": [-run for run in runs]},
    },
    A03=lambda runs: {},
)


def test_verdicts_are_shown_with_what_they_rest_on_and_recorded(shown, study, tmp_path):
    page.verdicts(study, EVIDENCE, runs=[1.0, 1.1])
    table, evidence = (text for text, _ in shown)
    assert "| A01 | Statement A01. | c | REPRODUCED | – |" in table
    assert "MNIST: reproduced; coloured digits: not-reproduced" in table
    assert ":name: tab-verdicts-a01" in table
    assert "Run here: coloured digits in place of SVHN." in table
    assert "mean of gap > 0: 1.05 [0.415, 1.69], n = 2, pass" in evidence
    kept = {path.stem: json.loads(path.read_text()) for path in tmp_path.rglob("*.json")}
    assert kept.keys() == {"A01", "A02-n50"} and kept["A02-n50"]["profile"] == "quick"
    assert (tmp_path / "_build" / "verdicts" / "quick" / "A01.json").is_file()


def test_some_claims_can_be_chosen(shown, study):
    page.verdicts(study, EVIDENCE, name="tab-some", names=["A01"], runs=[1.0, 1.1])
    assert ":name: tab-some" in shown[0][0] and "A02-n50" not in shown[0][0]
    assert "in place of" not in shown[0][0]


def test_without_evidence_the_verdicts_are_not_run(shown, study, tmp_path):
    page.verdicts(study, SimpleNamespace(A03=lambda runs: {}), runs=[])
    assert "Not run: the verdicts" in shown[0][0] and not list(tmp_path.rglob("*.json"))
