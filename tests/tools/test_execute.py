"""Executing: the whole set or nothing is published, and nothing is left running."""

import errno
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import nbformat
import psutil
import pytest

import execute
import notebook_process
from tiny_book import Book, is_alive, notebook


def executed(book: Book, stem: str) -> nbformat.NotebookNode:
    return nbformat.read(book.executed / f"{stem}.ipynb", as_version=4)


def printed(cells: list) -> str:
    return "".join(
        output.text
        for cell in cells
        for output in cell.get("outputs", [])
        if output.get("name") == "stdout"
    )


# What a good run leaves --------------------------------------------------------


def test_every_cell_ran_with_the_profile_s_parameters(ran):
    chapter = executed(ran.book, "01_first")
    assert all(cell.execution_count for cell in chapter.cells if cell.cell_type == "code")
    assert printed(chapter.cells) == "3 2.0 '' 0\n"


def test_the_injected_cell_is_hidden_and_has_a_stable_id(ran):
    injected = [
        cell
        for cell in executed(ran.book, "01_first").cells
        if "injected-parameters" in cell.metadata.get("tags", [])
    ]
    assert [(cell["id"], cell.metadata.tags) for cell in injected] == [
        ("injected-parameters", ["injected-parameters", "remove-cell"])
    ]


def test_nothing_of_papermill_is_left(ran):
    text = (ran.book.executed / "01_first.ipynb").read_text()
    assert "papermill" not in text and str(ran.book.root) not in text


def test_the_record_says_how_it_was_made(ran):
    record = executed(ran.book, "01_first").metadata["book"]
    assert record["source"] == "notebooks/01_first.py" and record["profile"] == "quick"
    assert record["parameters"] == {
        "n": 3,
        "scale": 2.0,
        "seeds": [0, 1],
        "compute": True,
        "executor": "serial",
    }
    assert record["python"] == ".".join(map(str, sys.version_info[:3])) and record["torch"] is None
    assert record["device"].startswith("CPU") and record["seconds"] > 0


def test_string_hashes_are_the_same_in_every_kernel(ran):
    expected = subprocess.run(
        [sys.executable, "-c", "print({str(i) for i in range(5)})"],
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
    )
    assert printed(executed(ran.book, "02_second").cells) == expected.stdout


TWO_LINES = r"(\[[12]/2\] 0\d_(first|second): \d+ cells, [\d.]+ s\n){2}"


def test_no_scratch_is_left_and_progress_is_plain_lines(ran):
    assert [path.name for path in (ran.book.root / "_build" / "executed").iterdir()] == ["quick"]
    assert ran.executed.stderr == "" and re.fullmatch(TWO_LINES, ran.executed.stdout)


# What is refused before anything runs -----------------------------------------


@pytest.mark.parametrize(
    "words, message",
    [
        (
            ["-p", "sede", "1"],
            "unknown parameter `sede` (known: n, scale, seeds, compute, executor)",
        ),
        (["-p", "n", "true"], "parameter `n` is a whole number"),
        (["-p", "n", "010"], "10-based"),
        (["-p", "n", "1", "-p", "n", "2"], "given twice"),
        (["-p", "n"], "needs a name and a value"),
        (["--profile", "absent"], "no such profile: absent (known: quick)"),
        (["--timeout", "0"], "at least one second"),
        (["--jobs", "0"], "at least one notebook at a time"),
        (["--output", __file__], "is a file; name a folder"),
    ],
)
def test_bad_requests_exit_2_with_one_line(make_book, words, message):
    book = make_book({"01_first": notebook("x = 1")})
    result = book.execute(*book.sources(), *words)
    assert result.returncode == 2 and message in result.stderr and result.stderr.count("\n") == 1
    assert not (book.root / "_build").exists()


def test_a_bad_notebook_stops_the_good_ones_before_they_run(make_book):
    book = make_book(
        {"01_first": notebook("x = 1"), "02_second": notebook("x = 1", parameters="n = len([])")}
    )
    result = book.execute(*book.sources())
    assert (
        result.returncode == 2 and "not a literal" in result.stderr and not book.executed.exists()
    )


# Failures ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def failed(tmp_path_factory) -> SimpleNamespace:
    """One good notebook and four that fail, over an older set that was published."""
    notebooks = {
        "01_good": notebook("x = 1"),
        "02_raises": notebook("x = 1", "1 / 0", "never = 1"),
        "03_hangs": notebook("import time\ntime.sleep(60)", "never = 1"),
        "04_dies": notebook("import os\nos._exit(3)", "never = 1"),
        "05_exits": notebook("import sys\nsys.exit()", "never = 1"),
    }
    book = Book(tmp_path_factory.mktemp("failed") / "checkout", notebooks)
    book.executed.mkdir(parents=True)
    for stem in notebooks:
        (book.executed / f"{stem}.ipynb").write_text("the older one")
    return SimpleNamespace(book=book, result=book.execute(*book.sources(), "--timeout", "4"))


def test_a_failure_exits_1(failed):
    assert (
        failed.result.returncode == 1
        and "4 of 5 notebooks failed, none published" in failed.result.stderr
    )


@pytest.mark.parametrize(
    "message",
    [
        "02_raises.py, code cell 3 (1 / 0): ZeroDivisionError: division by zero",
        "03_hangs.py, code cell 2 (import time): CellTimeoutError",
        "04_dies.py, code cell 2 (import os): DeadKernelError",
        "05_exits.py, code cell 2 (import sys): SystemExit",
    ],
)
def test_each_failure_names_notebook_cell_and_error(failed, message):
    assert message in failed.result.stderr


def test_one_failure_leaves_the_whole_older_set_published(failed):
    published = {path.name: path.read_text() for path in failed.book.executed.iterdir()}
    assert len(published) == 5 and set(published.values()) == {"the older one"}


def test_a_failed_run_is_kept_aside_with_its_log(failed):
    aside = failed.book.executed.with_name("quick-failed")
    assert str(aside) in failed.result.stderr
    assert {"02_raises.ipynb", "02_raises.log", "01_good.ipynb"} <= {
        path.name for path in aside.iterdir()
    }
    assert [path.name for path in sorted(failed.book.executed.parent.iterdir())] == [
        "quick",
        "quick-failed",
    ]


def test_a_cell_that_never_ran_is_a_failure_whatever_papermill_says(ran, tmp_path):
    chapter = executed(ran.book, "02_second")
    chapter.cells[-1].execution_count = None
    nbformat.write(chapter, tmp_path / "02_second.ipynb")
    with pytest.raises(execute.NotebookFailure, match=r"code cell 3 .*: was never executed"):
        execute.require_complete(tmp_path / "02_second.ipynb", 0, {})


# Runs that failed ---------------------------------------------------------------


def with_runs(runs: int, failed: int, *reasons: str, notes: Sequence[str] = ()) -> str:
    """A notebook that shows the status of its runs the way the harness does."""
    counts = {"runs": runs, "failed": failed}
    facts = {"runs": {**counts, "reasons": list(reasons), "notes": list(notes)}}
    return notebook(
        "from IPython.display import display\n"
        f"display({{'text/plain': 'status'}}, raw=True, metadata={facts!r})"
    )


def test_reasons_of_failed_runs_are_said_once_and_cost_nothing_else(make_book):
    book = make_book(
        {"01_some": with_runs(9, 2, "no CUDA\n  here", "odd n"), "02_none": with_runs(3, 0)}
    )
    result = book.execute(*book.sources())
    expected = "01_some: 2 of 9 runs failed:\n  - no CUDA here\n  - odd n\n"
    assert (result.returncode, result.stderr) == (0, expected)
    assert len(list(book.executed.iterdir())) == 2


def test_results_that_were_not_saved_are_said_once(make_book):
    notes = ["The result of f(a=1) could not be saved (full);\n it is in memory only.", "b", "c"]
    book = make_book({"01_some": with_runs(3, 0, notes=notes), "02_none": with_runs(3, 0)})
    result = book.execute(*book.sources())
    said = "01_some: The result of f(a=1) could not be saved (full); it is in memory only."
    assert (result.returncode, result.stderr) == (0, f"{said} (2 more like it)\n")


def test_that_every_run_failed_is_a_failure(make_book):
    book = make_book({"01_all": with_runs(27, 27, "no CUDA"), "02_absent": with_runs(0, 0)})
    result = book.execute(*book.sources())
    assert result.returncode == 1 and not book.executed.exists()
    assert "01_all: 27 of 27 runs failed: no CUDA\n" in result.stderr
    assert (
        "1 of 2 notebooks failed, none published:\n  01_all.py, every run failed\n" in result.stderr
    )


# Several at a time, several at once ---------------------------------------------


def test_two_notebooks_run_at_a_time(make_book):
    """Each waits for the other."""
    meet = (
        "import os, time\nopen('{}', 'w').close()\nwhile not os.path.exists('{}'): time.sleep(0.05)"
    )
    notebooks = {
        "01_one": notebook(meet.format("a", "b")),
        "02_other": notebook(meet.format("b", "a")),
    }
    book = make_book(notebooks)
    assert book.execute(*book.sources(), "--jobs", "2", "--timeout", "30").returncode == 0


def test_one_at_a_time_is_in_order(make_book):
    book = make_book({f"0{i}_{i}": notebook() for i in (1, 2)})
    said = book.execute(*book.sources(), "--jobs", "1").stdout.splitlines()
    assert [line.partition(":")[0] for line in said] == ["[1/2] 01_1", "[2/2] 02_2"]


def without_seconds(path: Path) -> nbformat.NotebookNode:
    chapter = nbformat.read(path, as_version=4)
    assert chapter.metadata["book"].pop("seconds") > 0
    return chapter


def test_two_executions_are_equal_but_for_their_seconds(ran):
    again = ran.book.root / "again"
    result = ran.book.execute(*ran.book.sources(), "--output", str(again), "--jobs", "1")
    assert result.returncode == 0, result.stderr
    assert len(list(again.iterdir())) == 2
    for path in again.iterdir():
        assert without_seconds(path) == without_seconds(ran.book.executed / path.name)


def test_two_executions_at_once_do_not_collide(make_book):
    book = make_book({"01_raises": notebook("1 / 0")})
    command = book.command("execute.py", *book.sources())
    runs = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [run.communicate(timeout=60)[1] for run in runs]
    assert [run.returncode for run in runs] == [1, 1]
    assert all("ZeroDivisionError" in text and "Traceback" not in text for text in said)
    assert [path.name for path in book.executed.parent.iterdir()] == ["quick-failed"]


def test_unfinished_runs_that_are_kept_at_once_leave_one(tmp_path):
    for content in ("first", "second"):
        (tmp_path / "scratch" / "ipython").mkdir(parents=True)
        (tmp_path / "scratch" / content).touch()
        aside = execute.keep_aside(tmp_path / "scratch", tmp_path / "quick")
    assert [path.name for path in tmp_path.iterdir()] == ["quick-failed"]
    assert [path.name for path in aside.iterdir()] == ["second"]


def test_a_disk_that_is_full_is_one_sentence(make_book):
    book = make_book({"01_first": notebook()})
    (book.root / "_build").touch()
    result = book.execute(*book.sources())
    assert result.returncode == 1 and result.stderr.count("\n") == 1
    assert result.stderr.startswith("execute.py: ") and "_build" in result.stderr


def test_a_disk_that_fills_up_leaves_no_half_made_folder(make_book, monkeypatch, capsys):
    def full(*_) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    book = make_book({"01_first": notebook()})
    monkeypatch.setattr(execute, "execute_all", full)
    handlers = {number: signal.getsignal(number) for number in notebook_process.SIGNALS}
    try:
        status = execute.main([*book.sources(), "--output", str(book.executed)])
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert status == 1 and "execute.py: No space left on device" in capsys.readouterr().err
    assert list(book.executed.parent.iterdir()) == []


def test_a_notebook_that_a_full_disk_cut_off_says_why(tmp_path):
    (tmp_path / "x.ipynb").write_text('{"cells": [')
    with pytest.raises(execute.NotebookFailure, match="cell 3: OSError: No space left on device"):
        execute.require_complete(
            tmp_path / "x.ipynb", 1, {"cell": 2, "error": "OSError: No space left on device"}
        )


# A notebook that reads what the others leave ----------------------------------------

LAST = notebook(
    "import os\nprint(sorted(os.listdir('left')))", parameters='results = "_build/x"'
).replace("# jupyter:\n", "# jupyter:\n#   execute: after_others\n")
LEAVES = (
    "import os, time\ntime.sleep({seconds})\nos.makedirs('left', exist_ok=True)\n"
    "open('left/{name}', 'w').close()"
)


@pytest.mark.parametrize("jobs", ["1", "2", "3"])
def test_it_is_executed_when_all_others_have_ended(make_book, jobs):
    book = make_book({
        "01_reads": LAST,
        "02_fast": notebook(LEAVES.format(seconds=0, name="fast")),
        "03_slow": notebook(LEAVES.format(seconds=2, name="slow")),
    })  # fmt: skip
    result = book.execute(*book.sources(), "--jobs", jobs)
    assert result.returncode == 0, result.stderr
    assert printed(executed(book, "01_reads").cells) == "['fast', 'slow']\n"
    assert result.stdout.splitlines()[-1].startswith("[3/3] 01_reads: ")


def test_it_is_executed_after_a_failure_too_and_says_so(make_book):
    book = make_book({
        "01_reads": LAST,
        "02_fails": notebook("1 / 0"),
        "03_leaves": notebook(LEAVES.format(seconds=0, name="some")),
    })  # fmt: skip
    result = book.execute(*book.sources())
    assert result.returncode == 1 and "1 of 3 notebooks failed, none published" in result.stderr
    assert "01_reads: executed without what failed before it: 02_fails\n" in result.stderr
    kept = book.executed.with_name("quick-failed") / "01_reads.ipynb"
    assert "['some']" in kept.read_text()


def test_it_may_lack_parameters_that_others_have(make_book):
    text = notebook("print(n)", parameters="n = 1\ncompute = True")
    book = make_book({"01_reads": LAST, "02_first": text})
    (book.root / "left").mkdir()
    result = book.execute(*book.sources(), "-p", "n", "2", "-p", "compute", "false")
    assert result.returncode == 0, result.stderr
    assert executed(book, "01_reads").metadata["book"]["given"] == {}
    assert printed(executed(book, "02_first").cells) == "2\n"
    assert book.build("--only").returncode == 0


def test_it_follows_the_others_to_own_results(make_book):
    text = notebook("print(results)", parameters='n = 1\nresults = "results"')
    reads = LAST.replace("print(", "print(results) or print(").replace("_build/x", "results")
    book = make_book({"01_reads": reads, "02_first": text})
    (book.root / "left").mkdir()
    assert book.execute(*book.sources(), "-p", "n", "2").returncode == 0
    for stem in ("01_reads", "02_first"):
        assert printed(executed(book, stem).cells).splitlines()[0] == "_build/results/own"


@pytest.mark.parametrize(
    "words, header, message",
    [
        (["-p", "sede", "1"], "after_others", "01_reads.py: unknown parameter `sede`"),
        ([], "before", "01_reads.py: `execute: before` in its header; only after_others is known"),
    ],
)
def test_what_nobody_knows_is_refused(make_book, words, header, message):
    book = make_book({"01_reads": LAST.replace("after_others", header)})
    result = book.execute(*book.sources(), *words)
    assert result.returncode == 2 and message in result.stderr and result.stderr.count("\n") == 1


# Verdicts of earlier executions ------------------------------------------------------


def left_verdicts(book: Book, results: str, sources: dict[str, str]) -> Path:
    """Records as `harness.records` writes them: {claim: the notebook it comes from}."""
    folder = book.root / "_build" / "verdicts" / results
    folder.mkdir(parents=True)
    for claim, source in sources.items():
        (folder / f"{claim}.json").write_text(json.dumps({"id": claim, "source": source}))
    return folder


@pytest.mark.parametrize("cell", ["x = 1", "1 / 0"])
def test_what_a_notebook_recorded_before_is_forgotten(make_book, cell):
    text = notebook(cell, parameters='results = "_build/results/mine"')
    book = make_book({"01_first": text, "02_second": notebook("x = 1")})
    left = {"A01": "01_first", "A02": "02_second", "A03": "03_gone"}
    mine, other = (left_verdicts(book, results, left) for results in ("mine", "other"))
    (mine / "A04.json").write_text("{")
    book.execute(book.sources()[0])
    assert sorted(path.stem for path in mine.iterdir()) == ["A02", "A04"]
    assert sorted(path.stem for path in other.iterdir()) == ["A01", "A02", "A03"]


# Own parameters and published results --------------------------------------------


@pytest.mark.parametrize(
    ("given", "results", "compute", "expected"),
    [
        ({"n": 3}, "results", True, "_build/results/own"),
        ({"n": 3, "threads": 2}, "results", True, "_build/results/own"),
        ({"n": 3}, "./results/", True, "_build/results/own"),
        ({"threads": 2, "executor": "loky:2", "device": "cuda"}, "results", True, None),
        ({"n": 3}, "results", False, None),  # only looks
        ({"n": 3, "results": "results"}, "results", True, "results"),
        ({"n": 3}, "_build/results/quick", True, None),
        ({}, "results", True, None),
    ],
)
def test_own_parameters_do_not_write_into_the_published_results(given, results, compute, expected):
    parameters = {"n": 1, "results": results, "compute": compute} | given
    assert execute.with_own_results(parameters, given).get("results") == expected


def test_where_own_results_go_is_said_and_done(make_book):
    text = notebook("print(n, results)", parameters='n = 1\nresults = "_build/x"')
    book = make_book({"01_first": text}, "01_first: {results: results}")
    result = book.execute(*book.sources(), "-p", "n", "2")
    assert result.stdout.startswith("your own parameters: results go to _build/results/own (")
    assert printed(executed(book, "01_first").cells) == "2 _build/results/own\n"


# Being ended -------------------------------------------------------------------

WITH_WORKERS = notebook(
    """\
import json, os, time
from loky import get_reusable_executor
workers = get_reusable_executor(max_workers=2)
pids = [workers.submit(os.getpid).result(), os.getpid()]
[workers.submit(time.sleep, 60) for _ in range(2)]
with open("pids.tmp", "w") as file:
    json.dump(pids, file)
os.replace("pids.tmp", "pids.json")
time.sleep(60)"""
)


def wait_until(condition, seconds: float) -> bool:
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


@pytest.mark.parametrize(
    "number, status", [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)]
)
def test_a_run_that_is_ended_leaves_no_process(make_book, ended_at_last, number, status):
    book = make_book(
        {"01_first": WITH_WORKERS, "02_other": notebook("import time\ntime.sleep(60)")}
    )
    book.executed.mkdir(parents=True)
    (book.executed / "01_first.ipynb").write_text("the older one")
    run = subprocess.Popen(
        book.command("execute.py", *book.sources()),
        cwd=book.root,
        stderr=subprocess.PIPE,
        text=True,
    )
    ended_at_last.append(run.pid)
    pids = book.root / "pids.json"
    assert wait_until(pids.exists, 30)
    started = {child.pid for child in psutil.Process(run.pid).children(recursive=True)} | set(
        json.loads(pids.read_text())
    )
    ended_at_last.extend(started)
    assert len(started) >= 4  # the guard, the kernel, two workers
    run.send_signal(number)
    said = run.communicate(timeout=20)[1]
    assert run.returncode == status and "Traceback" not in said
    assert wait_until(lambda: not any(map(is_alive, started)), 10)
    assert (book.executed / "01_first.ipynb").read_text() == "the older one"


def test_a_killed_guard_is_a_failure_and_leaves_no_process(make_book, ended_at_last):
    book = make_book({"01_first": WITH_WORKERS})
    run = subprocess.Popen(
        book.command("execute.py", *book.sources()),
        cwd=book.root,
        stderr=subprocess.PIPE,
        text=True,
    )
    ended_at_last.append(run.pid)
    pids = book.root / "pids.json"
    assert wait_until(pids.exists, 30)
    guard = psutil.Process(run.pid).children()[0]
    started = [child.pid for child in guard.children(recursive=True)]
    ended_at_last.extend(started)
    guard.kill()
    assert (
        "papermill ended with status -9" in run.communicate(timeout=20)[1] and run.returncode == 1
    )
    assert started and wait_until(lambda: not any(map(is_alive, started)), 10)


def test_workers_of_a_dead_kernel_are_ended(make_book, ended_at_last):
    book = make_book({"01_first": WITH_WORKERS.replace("time.sleep(60)", "os._exit(1)")})
    assert book.execute(*book.sources()).returncode == 1
    pids = json.loads((book.root / "pids.json").read_text())
    ended_at_last.extend(pids)
    assert not any(map(is_alive, pids))


def test_the_scratch_of_a_killed_run_is_removed_by_the_next(make_book):
    book = make_book({"01_first": notebook()})
    leftover = book.executed.with_name("quick-running-999999999")
    leftover.mkdir(parents=True)
    assert book.execute(*book.sources()).returncode == 0
    assert not leftover.exists()


# In a terminal -----------------------------------------------------------------


def run_in_terminal(command: list[str], cwd: Path) -> tuple[int, str, str]:
    """(exit status, all that stderr showed, the terminal's name)."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    name = os.ttyname(theirs)
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=theirs)
    shown = b""
    while process.poll() is None or select.select([ours], [], [], 0)[0]:
        if select.select([ours], [], [], 0.1)[0]:
            shown += os.read(ours, 65536)
    os.close(ours)
    os.close(theirs)
    return process.returncode, shown.decode(), name


def test_progress_is_in_the_terminal_and_not_in_the_notebook(make_book):
    book = make_book({"01_first": notebook("import os\nprint(os.environ['BOOK_TERMINAL'])")})
    status, shown, name = run_in_terminal(book.command("execute.py", *book.sources()), book.root)
    assert status == 0
    assert "01_first:" in shown and "cell" in shown
    chapter = executed(book, "01_first")
    assert printed(chapter.cells) == f"{name}\n"
    assert not [
        output
        for cell in chapter.cells
        for output in cell.get("outputs", [])
        if output.get("name") == "stderr"
    ]


# Without the tool ----------------------------------------------------------------


def test_jupytext_and_papermill_by_hand_work_too(make_book):
    book = make_book({"01_first": notebook("print(n)")})
    folder = book.root / "notebooks"
    for command in (
        ["jupytext", "--to", "ipynb", "01_first.py"],
        ["papermill", "01_first.ipynb", "out.ipynb", "-p", "n", "4"],
    ):
        program = Path(sys.executable).with_name(command[0])
        subprocess.run([program, *command[1:]], cwd=folder, check=True, capture_output=True)
    assert printed(nbformat.read(folder / "out.ipynb", as_version=4).cells) == "4\n"


def test_parameters_on_the_command_line_win_over_the_profile(make_book):
    book = make_book(
        {"01_first": notebook("print(n, scale, seeds, compute)")}, "01_first: {n: 3, scale: 2}"
    )
    result = book.execute(
        *book.sources(),
        "-p",
        "scale",
        "-1e-3",
        "-p",
        "seeds",
        "[4, 5]",
        "-p",
        "compute",
        "false",
        "--output",
        str(book.root / "mine"),
    )
    assert result.returncode == 0, result.stderr
    chapter = nbformat.read(book.root / "mine" / "01_first.ipynb", as_version=4)
    assert printed(chapter.cells) == "3 -0.001 [4, 5] False\n"
    assert chapter.metadata["book"]["given"] == {"scale": -1e-3, "seeds": [4, 5], "compute": False}
