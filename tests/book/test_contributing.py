"""The page on contributing names what there is; the changelog is the one of the repository."""

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "book" / "contributing.md").read_text(encoding="utf-8")
CHANGES = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")


def test_files_and_targets_that_the_page_names_are_there():
    folders = "lib|harness|chapters|claims|tests|tools|notebooks"
    paths = re.findall(rf"(?<![/\w])(?:{folders})/[\w/]*(?:\.\w+)?", PAGE)
    assert len(set(paths)) > 15
    assert [path for path in paths if not (REPOSITORY / path).exists()] == []
    targets = (REPOSITORY / "Makefile").read_text()
    assert not [t for t in re.findall(r"`make (\w+)`", PAGE) if f"\n{t}:" not in targets]


def test_names_that_the_page_names_are_there():
    rules = (REPOSITORY / "tests" / "test_rules.py").read_text()
    attacks = re.search(r"^TRUTH = .*$", rules, re.MULTILINE)[0]
    step = PAGE[PAGE.index("which then keeps it from") : PAGE.index("2. test it on a case")]
    named = re.findall(r"`(\w+)`", step)
    assert set(named) == set(re.findall(r'"(\w+)"', attacks)) - {"lib"}
    assert "ATTACKS" in (REPOSITORY / "chapters/kkt_reconstruction/runs.py").read_text()


def test_the_changelog_is_shown_in_the_book():
    assert "{include} ../CHANGELOG.md" in (REPOSITORY / "book" / "changelog.md").read_text()
    assert CHANGES.startswith("# Changelog\n") and "## Unreleased" in CHANGES
    kinds = re.findall(r"^### (\w+)$", CHANGES, re.MULTILINE)
    assert kinds and set(kinds) <= {
        "Added",
        "Changed",
        "Deprecated",
        "Removed",
        "Fixed",
        "Security",
    }
