"""The notebook of chapter 9, executed on made records of the book's own claims."""

from dataclasses import replace
from pathlib import Path

import pytest

import percent
from harness import ledger, page
from harness.claims import Verdict, judge
from harness.records import folder_of, record

ROOT = Path(__file__).resolve().parents[2]
SETS = ("MNIST", "CIFAR-10 (JPEG)")


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """shown(verdicts) -> (Markdown, metadata) of everything that the notebook puts out."""
    for folder in ("claims", "notebooks"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    monkeypatch.chdir(tmp_path)
    outputs = []

    def display(given, metadata=None, **_) -> None:
        data = given if isinstance(given, dict) else {"text/markdown": given.data}
        outputs.append((data.get("text/markdown", ""), metadata or {}))

    def execute(verdicts: list[Verdict]) -> list[tuple[str, dict]]:
        record(verdicts, folder_of("made"))
        names = {}
        for cell in percent.read_notebook(ROOT / "notebooks" / "09_scorecard.py").cells:
            if cell.cell_type == "code":
                exec(cell.source, names)
            if "parameters" in percent.cell_tags(cell):
                names["results"] = "made"
        return outputs

    monkeypatch.setattr(page, "display", display)
    return execute


def made(id: str) -> Verdict:
    """A verdict on a claim whose tests all pass, on two data sets if it has parts."""
    claim = ledger.load(ROOT / "claims")[id]
    values = {}
    for test in claim.tests:
        bound = test.threshold if isinstance(test.threshold, float) else sum(test.threshold) / 2
        step = {"above": 1, "at_least": 1, "below": -1, "at_most": -1}.get(test.comparison, 0)
        values[test.measure] = [bound + step] * claim.seeds
    evidence = dict.fromkeys(SETS, values) if claim.parts else values
    verdict = judge(id, evidence, claims={id: claim})
    return replace(verdict, source=claim.chapter, profile="made", runs=9, sizes=(50,))


def test_the_page_has_answer_figure_matrix_and_entries(shown):
    outputs = shown([made("S05"), made("S05-offgrid"), made("S09")])
    answers = [metadata["answer"] for _, metadata in outputs if "answer" in metadata]
    assert answers[0]["text"].startswith("Of the papers' 117 claims 2 could be judged: **2 repro")
    (figure,) = [metadata["figure"] for _, metadata in outputs if "figure" in metadata]
    assert (
        figure["name"] == "fig-scorecard" and "Shortcuts: 2 reproduced, 13 not run" in figure["alt"]
    )
    texts = [text for text, _ in outputs]
    (matrix,) = [text for text in texts if text.startswith('<div class="scorecard">')]
    assert matrix.count("<tr>") + matrix.count('<tr class="variant">') == 1 + len(
        ledger.load(ROOT / "claims")
    )
    (entries,) = [text for text in texts if text.startswith('<h3 class="papers-entries">')]
    assert "MNIST" in entries and "9 runs; seeds: 5; training images: 50" in entries
    assert any("Nothing was recorded by [](./01_shortcut_injection)" in text for text in texts)


def test_the_page_is_whole_without_any_record(shown):
    outputs = shown([])
    assert "Of the papers' 117 claims 0 could be judged" in str(outputs)
    assert sum("figure" in metadata for _, metadata in outputs) == 1
