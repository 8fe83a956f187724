"""make paper: what it tells before, and that the same command goes on after any stop."""

import json
import re
import signal
import subprocess
import time

import pytest

import execute
import paper
import preflight
from paper_book import LAST, calls, chapter, paper_book
from percent import NotebookError
from preflight import Hours, Planned, Published
from tiny_book import REPOSITORY, is_alive, notebook

# The whole way on a CPU, with small overrides -----------------------------------------------------


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """Two chapters for a GPU, one that reads after them, and overrides that a CPU can do."""
    chapters = {"01_one": chapter("One"), "02_two": chapter("Two"), "09_last": LAST}
    book = paper_book(tmp_path_factory.mktemp("paper") / "checkout", chapters)
    for stem in ("01_one", "02_two"):
        book.profiles(stem).write_text(json.dumps({"paper": {"device": "cuda", "steps": 10**6}}))
    small = {"all": {"device": "cpu", "steps": 2}, "02_two": {"seeds": [10, 11]}}
    (book.root / "small.yaml").write_text(json.dumps(small))
    return book


def small(book, *words):
    return book.command("paper.py", "--overrides", str(book.root / "small.yaml"), *words)


def outcome(command) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True, timeout=180)


def test_an_interrupt_keeps_what_is_finished_and_the_same_command_goes_on(book, ended_at_last):
    published = book.root / "_build" / "executed" / "paper"
    (book.root / "hold").touch()
    started = subprocess.Popen(
        small(book), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    ended_at_last.append(started.pid)
    deadline = time.monotonic() + 150
    while calls(book)[-1:] != ["11"]:
        assert started.poll() is None and time.monotonic() < deadline, started.communicate()
        time.sleep(0.1)
    started.send_signal(signal.SIGINT)
    out, err = started.communicate(timeout=60)
    assert started.returncode == 130 and "the same command goes on from there" in err
    assert "02_two   0 of 2 runs there" in out and not is_alive(started.pid)
    assert calls(book) == ["0", "1", "10", "11"]
    assert [path.stem for path in published.iterdir()] == ["01_one"]

    (book.root / "hold").unlink()
    again = outcome(small(book))
    assert again.returncode == 0, again.stderr
    assert re.search("01_one +finished", again.stdout)
    assert re.search("02_two +1 of 2 runs there", again.stdout)
    assert calls(book)[4:] == ["11"]
    assert sorted(path.stem for path in published.iterdir()) == ["01_one", "02_two", "09_last"]
    record = json.loads((published / "02_two.ipynb").read_text())["metadata"]["book"]
    assert record["parameters"]["steps"] == 2 and record["seen"]["runs"]["all"] == 2

    next((book.root / "_build" / "results" / "quick").glob("*/*seed=1,*.json")).unlink()
    third = outcome(small(book))
    assert third.returncode == 0 and calls(book)[5:] == ["1"]
    assert "02_two: " not in third.stdout  # finished, so it was not executed
    assert "all 3 chapters are finished, 1 of them were before" in third.stdout


@pytest.fixture
def here(book, monkeypatch):
    """The tools work on the book from within this process, and each chapter has two runs to make."""
    runs = [("paper_runs.squared", {"seed": seed}, "missing") for seed in (0, 1)]
    monkeypatch.setattr(execute, "ROOT", book.root)
    monkeypatch.setattr(preflight, "ROOT", book.root)
    monkeypatch.setattr(preflight, "planned", lambda job: Planned(runs, True))


def test_without_a_gpu_nothing_can_run_and_one_sentence_says_so(here, monkeypatch, capsys):
    monkeypatch.setattr(preflight, "graphics", list)
    with pytest.raises(NotebookError, match="nothing can run here, because it computes on cuda"):
        paper.run([])
    told = capsys.readouterr().out
    assert "cannot be executed: it computes on cuda" in told and "no GPU that PyTorch" in told


def test_with_a_gpu_the_check_tells_and_executes_nothing(here, book, monkeypatch, capsys):
    monkeypatch.setattr(preflight, "graphics", lambda: ["Big GPU, 80 GiB"])
    before = calls(book)
    assert paper.run(["--check"]) == 0 and calls(book) == before
    told = capsys.readouterr().out
    assert "Big GPU, 80 GiB" in told and "chapter 1 of" not in told
    assert re.search("01_one +0 of 2 runs there; hours unknown", told)


def test_a_chapter_that_fails_does_not_stop_the_others(tmp_path):
    failing = notebook("1 / 0", parameters="n = 1")
    book = paper_book(tmp_path / "checkout", {"01_fails": failing, "02_fine": notebook("x = 1")})
    result = outcome(book.command("paper.py"))
    assert result.returncode == 1
    assert "1 of 2 chapters are not finished:\n  01_fails: failed" in result.stderr
    assert [path.name for path in (book.root / "_build/executed/paper").iterdir()] == [
        "02_fine.ipynb"
    ]


# What is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, message",
    [
        ("03_none: {n: 1}", "there is no chapter 03_none (known: all, 01_one)"),
        ("all: 3", "expected `chapter: {parameter: value}`"),
        ("- 1", "expected `chapter: {parameter: value}`"),
        ("all: {sede: 1}", "unknown parameter `sede`"),
        ("01_one: {seeds: 1}", "parameter `seeds` is a list"),
        (None, "cannot be read"),
    ],
)
def test_wrong_overrides_exit_2_with_one_sentence(tmp_path, monkeypatch, capsys, text, message):
    book = paper_book(tmp_path / "checkout", {"01_one": chapter("One")})
    monkeypatch.setattr(execute, "ROOT", book.root)
    path = tmp_path / "mine.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(NotebookError) as error:
        paper.run(["--overrides", str(path)])
    assert message in str(error.value) and capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "missing, refused", [([], ""), (["mnist"], ""), (["mnist", "svhn"], "none of its")]
)
def test_a_chapter_is_refused_only_when_none_of_its_data_sets_can_be_had(missing, refused):
    job = execute.Job(None, None, {"datasets": ["mnist", "svhn"]}, {}, {})
    lost = dict.fromkeys(missing, "is not here")
    assert preflight.refusal(job, [], lost, set()).startswith(refused)
    assert bool(preflight.refusal(job, [], lost, set())) == bool(refused)


def test_on_a_cluster_no_gpu_is_wanted_here_but_the_scheduler_is():
    job = execute.Job(None, None, {"device": "cuda", "executor": "dask:tcp://x:1"}, {}, {})
    assert preflight.refusal(job, [], {}, set()) == ""
    assert preflight.refusal(job, [], {}, {"tcp://x:1"}) == "nothing answers at tcp://x:1"


def test_a_data_set_that_is_not_here_is_not_downloaded(tmp_path, monkeypatch):
    monkeypatch.setenv("WWR_DATA", str(tmp_path))
    assert preflight.absent("digits") == ""
    assert preflight.absent("svhn") == "is downloaded when a chapter first asks for it"
    assert not preflight.is_lost(preflight.absent("svhn"))
    assert "put cifar-10-images.tar.gz there" in preflight.absent("cifar10-jpeg")
    assert preflight.is_lost(preflight.absent("coloured-digits"))
    assert not list(tmp_path.iterdir())


def test_data_sets_are_found_wherever_parameters_name_them():
    nested = {"pairs": [["mnist", "svhn"]], "sizes": {"cifar10": [1]}, "datasets": ["my/photos"]}
    job = execute.Job(None, None, nested, {}, {})
    assert preflight.data_sets(job) == ["my/photos", "mnist", "svhn", "cifar10"]


# Hours --------------------------------------------------------------------------------------------


def past(seconds, gpu=False, device="CPU A", **parameters):
    return Published(parameters, seconds, device, gpu)


def test_hours_follow_steps_and_lie_between_none_and_all_of_the_growth_with_images():
    known = {"kind.attack": [past(3600, n=50, steps=10, seed=0)]}
    run = ("chapters.kind.runs.attack", {"n": 500, "steps": 30, "seed": 4})
    assert preflight.estimate([run, run], known, gpu=False) == Hours(
        pytest.approx(6), pytest.approx(60), 2, 0, ("CPU A",)
    )


def test_the_nearest_published_runs_are_gone_by_and_their_median():
    known = {
        "kind.attack": [past(9, arch="CNN", seed=0), past(36, arch="MLP", seed=0),
                        past(72, arch="MLP", seed=1), past(7200, arch="MLP", seed=2)]
    }  # fmt: skip
    found = preflight.estimate([("chapters.kind.runs.attack", {"arch": "MLP"})], known, gpu=False)
    assert found.low == found.high == pytest.approx(0.02)


def test_nested_steps_count_and_seeds_do_not():
    run = past(10, inversion={"steps": 5}, seed=1)
    assert preflight.bounds({"inversion": {"steps": 20}, "seed": 9}, run) == (40, 40)


def test_runs_on_a_gpu_are_gone_by_where_there_are_any():
    both = [past(3600, n=1), past(360, gpu=True, device="GPU B", n=1)]
    run = [("chapters.kind.runs.attack", {"n": 1})]
    assert preflight.estimate(run, {"kind.attack": both}, gpu=True).devices == ("GPU B",)
    assert preflight.estimate(run, {"kind.attack": both}, gpu=False).devices == ("CPU A",)
    assert preflight.estimate(run, {"kind.attack": both[:1]}, gpu=True).devices == ("CPU A",)


def test_what_no_published_run_resembles_is_unknown():
    found = preflight.estimate([("chapters.other.runs.attack", {})], {}, gpu=True)
    assert (found.known, found.unknown) == (0, 1)
    assert preflight.told_hours(found, True) == "hours unknown: no run of its kind was published"
    part = Hours(3, 40, 5, 2, ("CPU A",))
    assert preflight.told_hours(part, True) == "at least 3 to 40 h as on CPU A"
    assert preflight.told_hours(part._replace(unknown=0), True) == "3 to 40 h as on CPU A"
    assert preflight.told_hours(part._replace(unknown=0), False).startswith("at least 3")
    assert preflight.told_hours(Hours(0, 0, 0, 0, ()), True) == "nothing to compute"


def test_published_runs_are_read_and_broken_files_left_out(tmp_path):
    folder = tmp_path / "kind.attack"
    folder.mkdir()
    made = {"seconds": 2.5, "device": "CPU A", "device_type": "cpu"}
    (folder / "good.json").write_text(json.dumps({"parameters": {"n": 1}, "provenance": made}))
    (folder / "cut.json").write_text('{"parameters"')
    (folder / "other.json").write_text("{}")
    assert preflight.published(tmp_path) == {"kind.attack": [past(2.5, n=1)]}


def test_every_published_run_of_the_repository_can_be_gone_by():
    files = sum(1 for _ in (REPOSITORY / "results").glob("*/*.json"))
    found = preflight.published(REPOSITORY / "results")
    assert sum(map(len, found.values())) == files > 0


# The runs of a chapter, without computing any -----------------------------------------------------


def test_a_set_up_that_needs_runs_first_is_known_to_be_incomplete(tmp_path, monkeypatch):
    text = chapter("One").replace("page.status(study)", "best = squares[0]['square']")
    book = paper_book(tmp_path / "checkout", {"01_one": text})
    monkeypatch.setattr(preflight, "ROOT", book.root)
    job = execute.plan(book.root / "notebooks" / "01_one.py", "paper", {})
    found = preflight.planned(job)
    assert not found.complete and [status for *_, status in found.runs] == ["missing"] * 2
    assert [run["seed"] for _, run in found.to_do] == [0, 1] and calls(book) == []


def test_a_chapter_is_told_in_one_line():
    job = execute.Job(REPOSITORY / "notebooks" / "07_x.py", None, {}, {}, {})
    told = preflight.Chapter(job, Planned([], True), Hours(0, 0, 0, 0, ()), "")
    assert preflight.table([told], {"07_x"}) == ["07_x  finished"]
    assert preflight.table([told], set()) == ["07_x  makes no runs"]
    runs = [("a.runs.f", {}, "reused"), ("a.runs.f", {}, "stale"), ("a.runs.f", {}, "missing")]
    told = told._replace(planned=Planned(runs, True), hours=Hours(1, 2, 2, 0, ("CPU A",)))
    assert preflight.table([told._replace(refusal="no")], set()) == [
        "07_x  1 of 3 runs there; 1 to 2 h as on CPU A; cannot be executed: no"
    ]
