"""Execute notebooks: all of the given set, or nothing, reaches the folder the site is built from.

    python tools/execute.py notebooks/07_kkt_reconstruction.py
    python tools/execute.py notebooks/*.py --profile laptop -p compute false
    python tools/execute.py notebooks/07_kkt_reconstruction.py -p seeds "[0, 1, 2]" -p step 1e-3

A value is YAML 1.2: `true`, `[1, 2]`, `0.5`, `1e-3`; `yes` is text, and a number with a leading
zero such as 010 is refused, because YAML versions disagree on it. Everything is checked before
anything runs. A notebook whose header says `execute: after_others` is executed when all others of
the call have ended, also when one failed, and may lack a parameter that these have. Exit status: 0 all ran, 1 a notebook failed, 2 the request was wrong, 128 + n
ended by signal n.
"""

import argparse
import datetime
import errno
import hashlib
import json
import os
import re
import selectors
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from selectors import EVENT_READ
from typing import Any, NamedTuple

import nbformat
import psutil
from nbformat import NotebookNode
from tqdm import tqdm

from harness.executors import SchedulerLost, dashboard
from notebook_process import Interrupted, NotebookProcess, ignore_signals, listen_for_signals
from percent import (
    NotebookError,
    cell_tags,
    checked_overrides,
    default_parameters,
    list_notebooks,
    parse_yaml,
    read_notebook,
    read_profile,
)

ROOT = Path(__file__).resolve().parent.parent
RECORD = "book"  # the metadata key of an executed notebook's provenance
WHEN = "execute"  # the key in a notebook's header that says when it is executed; else at any time
AFTER_OTHERS = "after_others"  # it reads what the other notebooks of the call leave behind
PUBLISHED, OWN_RESULTS = "results", "_build/results/own"
VERDICTS = "_build/verdicts"  # where `harness.records` keeps what chapters found
FULL = [os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT)]
FREE_SOME = "free some space and start it again"
SAME_RUNS = {"compute", "executor", "threads", "device", "results"}  # do not change what is run

# Runs as the last cell and is taken out again: only the kernel knows what the notebook used.
PROBE = """
import json as _json, platform as _platform, sys as _sys
_torch = _sys.modules.get("torch")
_cuda = _torch is not None and _torch.cuda.is_available() and _torch.cuda.is_initialized()
print(_json.dumps({
    "python": _platform.python_version(),
    "torch": _torch.__version__ if _torch else None,
    "device": _torch.cuda.get_device_name() if _cuda else f"CPU ({_platform.machine()})",
    "threads": _torch.get_num_threads() if _torch else None,
    **({"seen": __import__("harness.seen").seen.seen(globals())} if "harness.study" in _sys.modules
       else {}),
}))
"""


class Job(NamedTuple):
    """A notebook that passed every check and can be run."""

    source: Path
    notebook: NotebookNode
    defaults: dict[str, Any]
    overrides: dict[str, Any]
    given: dict[str, Any]
    after_others: bool = False


class Running(NamedTuple):
    """A notebook under way."""

    job: Job
    slot: int  # of its bar
    process: NotebookProcess
    began: float


def is_full(error: Exception | str) -> bool:
    """Whether a full disk is behind an error, whoever reports it."""
    return any(words in str(error) for words in FULL)


class NotebookFailure(Exception):
    """A notebook is not fit to be published; the text says where, as far as it can, and why."""


def file_hash(paths: list[Path], relative_to: Path) -> str:
    """SHA-256 over names and contents, in name order."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(f"{path.relative_to(relative_to).as_posix()}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def file_hash_of(path: Path) -> str:
    """SHA-256 of one file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def library_hash(root: Path) -> str:
    """Identifies the code that notebooks call."""
    folders = ("lib", "harness", "chapters")
    return file_hash([path for name in folders for path in root.glob(f"{name}/**/*.py")], root)


def git_commit(root: Path) -> tuple[str, bool]:
    """(commit, whether the checkout differs from it); ("none", False) outside git."""
    command = ["git", "-C", str(root)]
    try:
        head = subprocess.run(
            [*command, "rev-parse", "--verify", "-q", "HEAD"], capture_output=True, text=True
        )
        status = subprocess.run([*command, "status", "--porcelain"], capture_output=True, text=True)
    except FileNotFoundError:
        return "none", False
    if head.returncode != 0:
        return "none", False
    return head.stdout.strip(), bool(status.stdout.strip())


def split_parameters(arguments: list[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """(`-p name value` pairs, the other arguments).

    Done before argparse, which takes a value such as -1e-3 for an option.
    """
    pairs, rest = [], []
    remaining = iter(arguments)
    for argument in remaining:
        if argument not in ("-p", "--parameter"):
            rest.append(argument)
            continue
        pair = (next(remaining, None), next(remaining, None))
        if None in pair:
            raise NotebookError(f"{argument} needs a name and a value")
        pairs.append(pair)
    return pairs, rest


def given_parameters(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for name, text in pairs:
        if name in given:
            raise NotebookError(f"-p {name} is given twice")
        given[name] = parse_yaml(text, f"-p {name}")
    return given


def read_arguments(arguments: list[str]) -> tuple[argparse.Namespace, dict[str, Any]]:
    parser = argparse.ArgumentParser(
        prog="execute.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("notebooks", nargs="+", type=Path, metavar="NOTEBOOK.py")
    parser.add_argument(
        "-p",
        "--parameter",
        nargs=2,
        metavar=("NAME", "VALUE"),
        help="override one parameter; repeatable",
    )
    parser.add_argument(
        "--profile",
        default="quick",
        help="a section of the chapter's profiles.yaml (default: quick)",
    )
    parser.add_argument(
        "--timeout",
        type=int,
        metavar="S",
        help="seconds that one cell may take (default: no limit)",
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="default: _build/executed/<profile>"
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=min(2, os.cpu_count() or 1),
        metavar="N",
        help="notebooks at a time (default: 2, on one core 1)",
    )
    pairs, rest = split_parameters(arguments)
    return parser.parse_args(rest), given_parameters(pairs)


def with_own_results(parameters: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """What was given, and another folder for results that would else be mixed with published ones.

    Runs with parameters of one's own are not what a profile publishes. Where they are computed
    may be said without becoming anybody's own.
    """
    computes = parameters.get("compute", True)
    published = ROOT / str(parameters.get("results", "")) == ROOT / PUBLISHED
    own = computes and published and not given.keys() <= SAME_RUNS and "results" not in given
    return {**given, "results": OWN_RESULTS} if own else given


def plan(source: Path, profile: str, given: dict[str, Any]) -> Job:
    """Check a notebook, its profile and its parameters; nothing has run yet when this raises."""
    notebook = read_notebook(source)
    defaults = default_parameters(notebook, source.name)
    from_profile = read_profile(source, profile)
    overrides = checked_overrides(defaults, from_profile, f"{source.name}, profile {profile}")
    last = is_after_others(notebook, source.name)
    known = {key: given[key] for key in given if key in defaults or not last}
    checked = given | checked_overrides(defaults, known, source.name)
    routed = with_own_results({**defaults, **overrides, **checked}, checked)
    checked = {key: routed[key] for key in routed if key in defaults}
    return Job(source, notebook, defaults, {**overrides, **checked}, checked, last)


def is_after_others(notebook: NotebookNode, name: str) -> bool:
    """Whether a notebook waits for all others of the call; `NotebookError` for another word."""
    when = notebook.metadata.get(WHEN)
    if when not in (None, AFTER_OTHERS):
        raise NotebookError(f"{name}: `{WHEN}: {when}` in its header; only {AFTER_OTHERS} is known")
    return when is not None


def require_known(jobs: list[Job], given: dict[str, Any]) -> None:
    """`NotebookError` for a parameter that no notebook of the call has."""
    for key in given:
        if not any(key in job.defaults for job in jobs):
            names = ", ".join(job.source.name for job in jobs)
            raise NotebookError(f"{names}: unknown parameter `{key}`")


def count_cells(job: Job) -> int:
    return len(job.notebook.cells) + 1 + bool(job.overrides)


def ran_completely(cell: NotebookNode) -> bool:
    if cell.cell_type != "code" or not cell.source.strip():
        return True
    failed = any(output.output_type == "error" for output in cell.outputs)
    return cell.execution_count is not None and not failed


def describe_cell(notebook: NotebookNode, index: int) -> str:
    """`code cell 3 (x = 1)`, counted as in the source, where nothing is injected."""
    own = [
        cell
        for cell in notebook.cells[: index + 1]
        if cell.cell_type == "code" and "injected-parameters" not in cell_tags(cell)
    ]
    first_line = (notebook.cells[index].source.strip().splitlines() or [""])[0]
    return f"code cell {len(own)} ({first_line})"


def readable(path: Path) -> NotebookNode | None:
    """The notebook, or None where there is none or a full disk cut it off."""
    try:
        return nbformat.read(path, as_version=4)
    except (OSError, ValueError):
        return None


def require_complete(target: Path, status: int, error: dict) -> NotebookNode:
    """The executed notebook, or `NotebookFailure`: papermill's own word is not enough.

    After a timeout or a dead kernel its metadata calls cells completed that never ran.
    """
    message = plain_text(error.get("error", f"papermill ended with status {status}"))
    if is_full(message):
        message += f": {FREE_SOME}"
    index = error.get("cell")
    notebook = readable(target)
    if notebook is None or (error and index is None):
        where = "before the first cell" if index is None else f"cell {index + 1}"
        raise NotebookFailure(f"{where}: {message}")
    if error and not message.startswith("PapermillExecutionError"):  # a timeout, a dead kernel
        if message.startswith("DeadKernelError"):
            message += "; was it killed for want of memory? Executed again, it goes on from there"
        raise NotebookFailure(f"{describe_cell(notebook, index)}: {message}")
    for index, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                raise NotebookFailure(
                    f"{describe_cell(notebook, index)}: {output.ename}: {plain_text(output.evalue)}"
                )
    if status != 0:
        raise NotebookFailure(message)
    for index, cell in enumerate(notebook.cells):
        if not ran_completely(cell):
            raise NotebookFailure(f"{describe_cell(notebook, index)}: was never executed")
    return notebook


def plain_text(message: str) -> str:
    """One paragraph without terminal colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", message).strip()


def take_probe(notebook: NotebookNode) -> dict[str, Any]:
    """Remove the probe cell and return what it saw."""
    probe = notebook.cells.pop()
    printed = "".join(output.text for output in probe.outputs if output.get("name") == "stdout")
    return json.loads(printed)


def clean_notebook(notebook: NotebookNode) -> None:
    """Remove papermill's times and paths, and hide the cell it injected."""
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if "injected-parameters" in cell_tags(cell):
            cell["id"] = "injected-parameters"
            cell.metadata["tags"] = ["injected-parameters", "remove-cell"]


def provenance(job: Job, profile: str, seen: dict[str, Any], seconds: float) -> dict[str, Any]:
    """How the page was made; two equal executions of one day differ in nothing but `seconds`.

    Where they have runs, these (`harness.seen`) tell their own seconds and times.
    """
    commit, dirty = git_commit(ROOT)
    source = job.source.resolve()
    inside = source.is_relative_to(ROOT)
    return {
        "source": source.relative_to(ROOT).as_posix() if inside else source.name,
        "source_sha256": file_hash_of(source),
        "library_sha256": library_hash(ROOT),
        "profile": profile,
        "parameters": {**job.defaults, **job.overrides},
        "given": job.given,
        "commit": commit,
        "dirty": dirty,
        **seen,
        "executed": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "seconds": round(seconds, 1),
    }


def forget_verdicts(jobs: list[Job]) -> None:
    """Remove what earlier executions of these notebooks recorded on the same results.

    So a claim that a chapter no longer judges, or cannot judge as it fails, has no verdict of
    before. What a notebook recorded that is gone, or has another name now, is removed, too.
    """
    for job in jobs:
        results = Path(str({**job.defaults, **job.overrides}.get("results")))
        others = {path.stem for path in list_notebooks(job.source.parent)} - {job.source.stem}
        for path in (ROOT / VERDICTS / results.name).glob("*.json"):
            with suppress(OSError, ValueError, AttributeError):  # gone, or no record at all
                if json.loads(path.read_text(encoding="utf-8")).get("source") not in others:
                    path.unlink()


def start(job: Job, slot: int, scratch: Path, timeout: int | None) -> Running:
    """Start a notebook in `scratch`; its bar is the one at `slot`."""
    source = scratch / f"{job.source.stem}.source.ipynb"
    probed = nbformat.from_dict(job.notebook)
    probed.cells.append(nbformat.v4.new_code_cell(PROBE, id="probe"))
    nbformat.write(probed, source)
    request = {
        "input": str(source),
        "output": str(scratch / f"{job.source.stem}.ipynb"),
        "parameters": job.overrides,
        "timeout": timeout,
        "cwd": str(ROOT),
    }
    bar = tqdm(
        total=count_cells(job),
        desc=job.source.stem,
        unit="cell",
        leave=False,
        position=slot,
        disable=not sys.stderr.isatty(),
    )
    process = NotebookProcess(request, folder=scratch, bar=bar)
    return Running(job, slot, process, time.monotonic())


def finish(run: Running, place: str, profile: str, scratch: Path) -> Path:
    """Write the finished notebook into `scratch`; its path. Raises `NotebookFailure`."""
    name = f"{run.job.source.stem}.ipynb"
    status = run.process.end()
    notebook = require_complete(scratch / name, status, run.process.error)
    seen = take_probe(notebook)
    clean_notebook(notebook)
    seconds = time.monotonic() - run.began
    notebook.metadata[RECORD] = provenance(run.job, profile, seen, seconds)
    finished = scratch / "finished" / name
    finished.parent.mkdir(exist_ok=True)
    nbformat.write(notebook, finished)
    say(f"{place} {run.job.source.stem}: {len(notebook.cells)} cells, {seconds:.1f} s")
    require_runs(notebook, run.job.source.stem)
    return finished


def require_runs(notebook: NotebookNode, stem: str) -> None:
    """Say once why runs failed or were not kept; that all failed is a failure of the notebook.

    `harness.page.status` leaves the counts and the reasons in the metadata of what it shows.
    """
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    told = [output.metadata["runs"] for output in outputs if "runs" in output.get("metadata", {})]
    if not told:
        return
    if notes := told[-1].get("notes"):
        more = f" ({len(notes) - 1} more like it)" if len(notes) > 1 else ""
        say(f"{stem}: {' '.join(notes[0].split())}{more}", error=True)
    if not told[-1]["failed"]:
        return
    runs, failed = told[-1]["runs"], told[-1]["failed"]
    reasons = [" ".join(plain_text(reason).split()) for reason in told[-1]["reasons"]]
    separator = " " if len(reasons) == 1 else "\n  - "
    say(separator.join([f"{stem}: {failed} of {runs} runs failed:", *reasons]), error=True)
    if failed == runs:
        raise NotebookFailure("every run failed")


def say(text: str, *, error: bool = False) -> None:
    """Print above the bars."""
    stream = sys.stderr if error else sys.stdout
    tqdm.write(text, file=stream)
    stream.flush()


def may_start(waiting: Sequence[Job], running: Sequence[Running]) -> bool:
    """Whether the next notebook need not wait for one that runs."""
    if not waiting:
        return False
    return not waiting[0].after_others or all(run.job.after_others for run in running)


def execute_all(
    jobs: list[Job], profile: str, scratch: Path, timeout: int | None, at_once: int
) -> tuple[list[Path], list[str]]:
    """(finished notebooks, failures); a failure does not stop the others."""
    finished: list[Path] = []
    failures: list[str] = []
    waiting, running = deque(sorted(jobs, key=lambda job: job.after_others)), []
    with selectors.DefaultSelector() as selector:
        try:
            while waiting or running:
                if len(running) < at_once and may_start(waiting, running):
                    if waiting[0].after_others and failures:
                        say(
                            f"{waiting[0].source.stem}: executed without what failed before it: "
                            f"{', '.join(failure.partition('.py')[0] for failure in failures)}",
                            error=True,
                        )
                    slot = min({*range(at_once)} - {run.slot for run in running})
                    running.append(start(waiting.popleft(), slot, scratch, timeout))
                    selector.register(running[-1].process.events, EVENT_READ, running[-1])
                    continue
                for key, _ in selector.select():
                    run = key.data
                    if run.process.take_in():
                        continue
                    selector.unregister(run.process.events)
                    place = f"[{len(finished) + len(failures) + 1}/{len(jobs)}]"
                    try:
                        finished.append(finish(run, place, profile, scratch))
                    except NotebookFailure as failure:
                        failures.append(f"{run.job.source.name}, {failure}")
                        say(f"{place} {run.job.source.stem}: FAILED, {failure}", error=True)
                    running.remove(run)
        except Interrupted:
            ignore_signals()  # the end takes a moment, and must not be ended itself
            raise
        finally:
            for run in running:
                run.process.ask_to_end()
            for run in running:
                run.process.end()
    return finished, failures


def promote(finished: list[Path], output: Path) -> None:
    """Move complete notebooks to where the site is built from, each by one atomic rename."""
    output.mkdir(parents=True, exist_ok=True)
    for path in finished:
        os.replace(path, output / path.name)


def new_scratch(output: Path) -> Path:
    """An empty folder beside `output`; those of runs that no longer live are removed."""
    for leftover in output.parent.glob(f"{output.name}-running-*"):
        number = leftover.name.rpartition("-")[2]
        if number.isdecimal() and not psutil.pid_exists(int(number)):
            shutil.rmtree(leftover, ignore_errors=True)  # another run may be removing it, too
    scratch = output.parent / f"{output.name}-running-{os.getpid()}"
    scratch.mkdir(parents=True)
    return scratch


def keep_aside(scratch: Path, output: Path) -> Path:
    """Keep an unfinished run for debugging, in the place of the one before.

    By renames only, as another run that failed at the same time may do it, too.
    """
    shutil.rmtree(scratch / "ipython", ignore_errors=True)
    aside, before = (output.parent / f"{output.name}-{word}" for word in ("failed", "before"))
    before = before.with_name(f"{before.name}-{os.getpid()}")
    while True:
        with suppress(FileNotFoundError):
            os.replace(aside, before)
            shutil.rmtree(before)
        try:
            os.replace(scratch, aside)
            return aside
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise


def run_jobs(jobs: list[Job], profile: str, output: Path, timeout: int | None, at_once: int) -> int:
    """Execute, then promote the whole set or nothing; the exit status."""
    scratch = new_scratch(output)
    forget_verdicts(jobs)
    try:
        finished, failures = execute_all(jobs, profile, scratch, timeout, at_once)
        if not failures:
            ignore_signals()  # from here on the set is published as a whole
            promote(finished, output)
    except Interrupted:
        print(f"nothing published, kept in {keep_aside(scratch, output)}", file=sys.stderr)
        raise
    except OSError:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    if failures:
        head = f"\n{len(failures)} of {len(jobs)} notebooks failed, none published:"
        print(head, *failures, sep="\n  ", file=sys.stderr)
        print(f"what ran, with logs: {keep_aside(scratch, output)}", file=sys.stderr)
        return 1
    shutil.rmtree(scratch)
    return 0


def say_dashboards(jobs: Sequence[Job]) -> None:
    """Name the dashboard of each Dask scheduler that runs go to, before anything runs.

    Raises `NotebookError` when a scheduler does not answer, or Dask is not installed.
    """
    named = [str({**job.defaults, **job.overrides}.get("executor", "")) for job in jobs]
    for name in dict.fromkeys(name for name in named if name.startswith("dask:")):
        try:
            link = dashboard(name.removeprefix("dask:"))
        except (ImportError, SchedulerLost) as error:
            raise NotebookError(f"-p executor {name}: {' '.join(str(error).split())}") from None
        if link:
            say(f"the runs can be watched at {link}")


def run(arguments: list[str]) -> int:
    """The exit status; raises `NotebookError` when the request is wrong."""
    options, given = read_arguments(arguments)
    jobs = [plan(source, options.profile, given) for source in options.notebooks]
    require_known(jobs, given)
    if options.timeout is not None and options.timeout < 1:
        raise NotebookError("--timeout needs at least one second")
    if options.jobs < 1:
        raise NotebookError("--jobs needs at least one notebook at a time")
    if len({job.source.stem for job in jobs}) < len(jobs):
        raise NotebookError("two of the notebooks have the same name")
    output = (options.output or ROOT / "_build" / "executed" / options.profile).resolve()
    if output.exists() and not output.is_dir():
        raise NotebookError(f"--output {options.output}: is a file; name a folder")
    say_dashboards([job for job in jobs if {**job.defaults, **job.overrides}.get("compute", True)])
    if "results" not in given and any(job.given.get("results") == OWN_RESULTS for job in jobs):
        print(f"your own parameters: results go to {OWN_RESULTS} (-p results FOLDER for another)")
    return run_jobs(jobs, options.profile, output, options.timeout, options.jobs)


def main(arguments: list[str]) -> int:
    listen_for_signals()
    try:
        return run(arguments)
    except NotebookError as error:
        print(f"execute.py: {error}", file=sys.stderr)
        return 2
    except Interrupted as interrupted:
        print(f"execute.py: ended by signal {interrupted.number}", file=sys.stderr)
        return 128 + interrupted.number
    except OSError as error:  # a full disk, a folder that may not be written to
        where = f": {error.filename}" if error.filename else f" (below {ROOT / '_build'})"
        hint = f": {FREE_SOME}" if is_full(error) else ""
        print(
            f"execute.py: {error.strerror or error}{where}; nothing was published{hint}",
            file=sys.stderr,
        )
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
