"""An equivalence is declared only where runs were computed again and agree."""

import equivalences
import pytest

FUNCTION = "chapters.network_inversion.runs.examples"


@pytest.fixture
def declare(tmp_path, monkeypatch, capsys):
    """(exit status, what was said, what the ledger then holds) with one published run of 90 s."""
    ledger = tmp_path / "results" / "equivalences.yaml"
    folder = ledger.parent / "network_inversion.examples"
    folder.mkdir(parents=True)
    (folder / "dataset=digits.json").touch()
    run = {"parameters": {"dataset": "digits"}, "provenance": {"seconds": 90}}
    monkeypatch.setattr(equivalences.store, "load_json", lambda _: run)
    monkeypatch.setattr(equivalences.store, "read", lambda path, *_: path.name)
    monkeypatch.setattr(equivalences, "LEDGER", ledger)

    def with_options(*options: str) -> tuple[int, str, str]:
        command = ["equivalences.py", str(tmp_path), FUNCTION, "--why", "moved", *options]
        monkeypatch.setattr("sys.argv", command)
        status = equivalences.main()
        held = ledger.read_text() if ledger.exists() else ""
        return status, capsys.readouterr().err, held

    return with_options


def test_without_a_run_that_is_short_enough_nothing_is_declared(declare):
    status, said, held = declare("--max-seconds", "60")
    assert status == 1 and held == ""
    assert said == (f"nothing was declared: no published run of {FUNCTION} took at most 60 s\n")


def test_runs_that_do_not_agree_declare_nothing(declare, monkeypatch):
    def differs(*_):
        raise ValueError("dataset=digits.json differs")

    monkeypatch.setattr(equivalences, "entry", differs)
    status, said, held = declare("--max-seconds", "100")
    assert status == 1 and held == "" and "differs" in said


def test_what_agrees_is_declared_in_the_place_of_what_was(declare, monkeypatch):
    new = {"definition": FUNCTION, "was": "a", "is": "b", "why": "moved", "checked": ["x.json"]}
    monkeypatch.setattr(equivalences, "entry", lambda *_: new)
    assert declare("--max-seconds", "100")[0] == 0
    status, _, held = declare("--max-seconds", "100")
    assert status == 0 and held.count("definition:") == 1
