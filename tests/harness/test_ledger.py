"""The ledger of claims: what is read, and which mistakes are named."""

from pathlib import Path

import pytest
from small_ledger import ENTRY, VARIANT

from harness import ledger
from harness.ledger import Criterion


def test_the_ledger_is_read(load):
    found = load(ENTRY)
    assert list(found) == ["S05", "N01"] and found["S05"].seeds == 5
    first, second = found["S05"].tests
    assert first == Criterion("gap", "above", 0.0) and found["N01"].tests == ()
    assert str(second) == "in 80% of seeds, gap in [0.0, 1.5]"
    assert {(claim.parts, claim.needed) for claim in found.values()} == {(0, 0)}
    assert found["S05"].chapter == "02_architecture_comparison"
    optional = ("figure", "caveat", "missing", "row", "differs")
    assert {getattr(found["S05"], name) for name in optional} == {""}


@pytest.mark.parametrize("name", ["figure", "caveat", "missing"])
def test_what_a_reader_must_know_is_read(load, name):
    found = load(ENTRY.replace("seeds: 5", f"seeds: 5\n  {name}: One sentence."))
    assert getattr(found["S05"], name) == "One sentence."


def test_an_entry_that_varies_a_row_names_it(load):
    found = load(ENTRY + VARIANT)["S05-offgrid"]
    assert (found.row, found.differs) == ("S05", "Patches moved off the grid of tokens.")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("  row: S05\n", "", "names it as row, and says in what it differs"),
        ("  differs: Patches moved off the grid of tokens.\n", "", "names it as row, and says"),
        ("row: S05", "row: S05-offgrid", "names it as row, and says"),
        ("row: S05", "row: S06", "S05-offgrid varies S06, which is no row of the ledger"),
        ("row: S05", "row: S05-again", "S05-offgrid varies S05-again, which is no row"),
        ("row: S05", "row:", "row must be a text"),
    ],
)
def test_a_variant_of_nothing_is_named(load, old, new, words):
    another = VARIANT.replace("S05-offgrid:", "S05-again:")
    with pytest.raises(ValueError, match=words):
        load(ENTRY + another + VARIANT.replace(old, new))


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [("parts: 12", (12, 12)), ("parts: 4\n  needed: 3", (4, 3)), ("parts: 1", (1, 1))],
)
def test_parts_are_read(load, lines, wanted):
    found = load(ENTRY.replace("seeds: 5", f"seeds: 5\n  {lines}"))
    assert (found["S05"].parts, found["S05"].needed) == wanted and found["N01"].parts == 0


@pytest.mark.parametrize(
    "lines",
    ["needed: 1", "parts: 0", "parts:", "parts: yes", "parts: 2.0", "parts: four", "parts: -1"]
    + [f"parts: 4\n  needed: {needed}" for needed in ("0", "5", "3.0", "all", "")],
)
def test_parts_that_make_no_sense_are_named(load, lines):
    with pytest.raises(ValueError, match="S05: parts, and needed if it is there, must be whole"):
        load(ENTRY.replace("seeds: 5", f"seeds: 5\n  {lines}"))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('paper: "000"', "paper: 000", "S05: paper must be a text"),
        ("kind: D", "kind: X", "kind must be one of"),
        ("  chapter: 02_architecture_comparison\n", "", "missing or unknown: \\['chapter'\\]"),
        ("kind: D", "kind: D\n  figure:", "S05: figure must be a text"),
        ("kind: D", "kind: D\n  caveat: [1]", "S05: caveat must be a text"),
        ("kind: D", "kind: D\n  missing: ' '", "S05: missing must be a text"),
        ("seeds: 5", "seeds: 0", "seeds must be a whole number"),
        ("seeds: 5", "seeds: five", "seeds must be a whole number"),
        ("  reference: fig only\n", "", "missing or unknown: \\['reference'\\]"),
        ("kind: D", "kind: D\n  colour: red", "\\['colour'\\]"),
        ("kind: D", "kind: D\n  kind: Q", "000.yaml cannot be read: (?s:.*)duplicate key \"kind\""),
        ("N01:", "S05:", "000.yaml cannot be read: (?s:.*)duplicate key \"S05\""),
        ("share: 0.8", "share: 0", "S05: share_of_seeds, and only that, needs a share in"),
        ("share: 0.8", "share: -0.5", "needs a share"),
        ("share: 0.8", "share: yes", "needs a share"),
        ("share: 0.8", "share: most", "needs a share"),
        ("share: 0.8", "share:", "needs a share"),
        ("share: 0.8", "share: .nan", "needs a share"),
        ("above: 0", "above: 0\n      share: 0.5", "needs a share"),
        ("[0, 1.5]", "[1.5, 0]", "S05: between of gap cannot be \\[1.5, 0\\]"),
        ("[0, 1.5]", "1", "cannot be 1"),
        ("tests: []", "tests: 5", "N01: tests must be a list"),
        ("tests: []", "tests:", "N01: tests must be a list"),
        ("tests: []", "tests: {gap: 1}", "N01: tests must be a list"),
        ("tests: []", "tests: [5]", "N01: a test is a measure"),
        ("N01:", "N 01:", "no claim id"),
        ("above: 0", "over: 0", "exactly one of at_least"),
        ("above: 0", "above: 0\n      below: 1", "exactly one of at_least"),
        ("above: 0", "above: high", "cannot be 'high'"),
        ("above: 0", "above: .nan", "cannot be nan"),
        ("[0, 1.5]", "[0]", "cannot be \\[0\\]"),
        ("share_of_seeds", "average", "statistic must be one of"),
        ("statistic: share_of_seeds\n      share: 0.8", "statistic: median", "one of mean, share"),
        ("      share: 0.8\n", "", "needs a share"),
        ("share: 0.8", "share: 80", "needs a share"),
        ("kind: D", "kind: [", "cannot be read"),
    ],
)
def test_mistakes_in_the_ledger_are_named(load, old, new, words):
    assert old in ENTRY
    with pytest.raises(ValueError, match=words):
        load(ENTRY.replace(old, new, 1))


def test_a_missing_ledger_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"no ledger of claims in {tmp_path}"):
        ledger.load(tmp_path)


def test_a_ledger_is_a_file_a_paper(load, tmp_path):
    (tmp_path / "claims").mkdir()
    other = tmp_path / "claims" / "book.yaml"
    other.write_text(ENTRY[ENTRY.index("N01:") :].replace("N01", "B01"))
    assert list(load(ENTRY)) == ["S05", "N01", "B01"]
    other.write_text(ENTRY[ENTRY.index("N01:") :])
    with pytest.raises(ValueError, match="Claim N01 stands in book.yaml and in a file before it"):
        load(ENTRY)
    other.write_text("- a list")
    with pytest.raises(ValueError, match="book.yaml must map claim ids"):
        load(ENTRY)


def test_the_books_own_ledger_is_sound():
    assert ledger.load(Path(__file__).parents[2] / "claims")
