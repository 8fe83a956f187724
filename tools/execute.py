"""Execute notebooks: all of the given set, or nothing, reaches the folder the site is built from.

    python tools/execute.py notebooks/07_kkt_reconstruction.py
    python tools/execute.py notebooks/*.py --profile laptop -p compute false
    python tools/execute.py notebooks/07_kkt_reconstruction.py -p seeds "[0, 1, 2]" -p step 1e-3

A value is YAML 1.2: `true`, `[1, 2]`, `0.5`, `1e-3`; `yes` is text, and a number with a leading
zero such as 010 is refused, because YAML versions disagree on it. Everything is checked before
anything runs. Exit status: 0 all ran, 1 a notebook failed, 2 the request was wrong, 128 + n
ended by signal n.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import nbformat
import psutil
from nbformat import NotebookNode
from tqdm import tqdm

from percent import (
    NotebookError,
    cell_tags,
    checked_overrides,
    default_parameters,
    parse_yaml,
    read_notebook,
    read_profile,
)
from run_notebook import MARK, end_run_processes

ROOT = Path(__file__).resolve().parent.parent
RECORD = "book"  # the metadata key of an executed notebook's provenance
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

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
}))
"""


class Job(NamedTuple):
    """A notebook that passed every check and can be run."""

    source: Path
    notebook: NotebookNode
    defaults: dict[str, Any]
    overrides: dict[str, Any]
    given: dict[str, Any]


class Interrupted(BaseException):
    """A signal asked for the end; not an `Exception`, so that no handler on the way swallows it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class CellFailure(Exception):
    """A notebook did not run to its end; the text names the cell and the error."""


def file_hash(paths: list[Path], relative_to: Path) -> str:
    """SHA-256 over names and contents, in name order."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(f"{path.relative_to(relative_to).as_posix()}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


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
        help="a file of profiles/ beside the notebook (default: quick)",
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
    pairs, rest = split_parameters(arguments)
    return parser.parse_args(rest), given_parameters(pairs)


def plan(source: Path, profile: str, given: dict[str, Any]) -> Job:
    """Check a notebook, its profile and its parameters; nothing has run yet when this raises."""
    notebook = read_notebook(source)
    defaults = default_parameters(notebook, source.name)
    from_profile = read_profile(source, profile)
    overrides = checked_overrides(defaults, from_profile, f"{source.name}, profile {profile}")
    checked = checked_overrides(defaults, given, source.name)
    return Job(source, notebook, defaults, {**overrides, **checked}, checked)


def run_environment(mark: str, scratch: Path) -> dict[str, str]:
    """What the kernel sees: reproducible hashing, inline figures, nobody's IPython profile."""
    environment = {key: value for key, value in os.environ.items() if key != "MPLBACKEND"}
    return environment | {
        MARK: mark,
        "BOOK_TERMINAL": os.ttyname(2) if os.isatty(2) else "",
        "PYTHONHASHSEED": "0",
        "IPYTHONDIR": str(scratch / "ipython"),
        "JUPYTER_PREFER_ENV_PATH": "1",
    }


@contextmanager
def notebook_process(
    job: dict, environment: dict[str, str], log: Path
) -> Iterator[tuple[subprocess.Popen, Any]]:
    """(the process in a session of its own, its stream of events); ended when the block is left."""
    reading, writing = os.pipe()
    with open(log, "wb") as output, os.fdopen(reading) as events:
        process = subprocess.Popen(
            [
                sys.executable,
                str(Path(__file__).with_name("run_notebook.py")),
                json.dumps({**job, "events": writing}),
            ],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[writing],
            env=environment,
            start_new_session=True,
        )
        os.close(writing)
        try:
            yield process, events
        finally:
            process.stdin.close()  # the lifeline
            process.wait()
            end_run_processes(environment[MARK])  # had the guard itself been killed


def papermill(job: Job, scratch: Path, bar: tqdm, timeout: int | None) -> tuple[int, dict]:
    """Run a job in `scratch`; (exit status, the error event or {})."""
    source, target = (
        scratch / f"{job.source.stem}.source.ipynb",
        scratch / f"{job.source.stem}.ipynb",
    )
    probed = nbformat.from_dict(job.notebook)
    probed.cells.append(nbformat.v4.new_code_cell(PROBE, id="probe"))
    nbformat.write(probed, source)
    request = {
        "input": str(source),
        "output": str(target),
        "parameters": job.overrides,
        "timeout": timeout,
        "cwd": str(ROOT),
    }
    environment = run_environment(uuid.uuid4().hex, scratch)
    error: dict = {}
    with notebook_process(request, environment, scratch / f"{job.source.stem}.log") as (
        process,
        events,
    ):
        for line in events:
            event = json.loads(line)
            if "error" in event:
                error = event
            else:
                bar.update(event["cell"] + 1 - bar.n)
    return process.returncode, error


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


def require_complete(target: Path, status: int, error: dict) -> NotebookNode:
    """The executed notebook, or `CellFailure`: papermill's own word is not enough.

    After a timeout or a dead kernel its metadata calls cells completed that never ran.
    """
    message = plain_text(error.get("error", f"papermill ended with status {status}"))
    notebook = nbformat.read(target, as_version=4) if target.is_file() else None
    index = error.get("cell")
    if notebook is None or (error and index is None):
        raise CellFailure(f"before the first cell: {message}")
    if error and not message.startswith("PapermillExecutionError"):  # a timeout, a dead kernel
        raise CellFailure(f"{describe_cell(notebook, index)}: {message}")
    for index, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                raise CellFailure(
                    f"{describe_cell(notebook, index)}: {output.ename}: {plain_text(output.evalue)}"
                )
    if status != 0:
        raise CellFailure(message)
    for index, cell in enumerate(notebook.cells):
        if not ran_completely(cell):
            raise CellFailure(f"{describe_cell(notebook, index)}: was never executed")
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
    """How the page was made; `seconds` is the only entry that two equal runs differ in."""
    commit, dirty = git_commit(ROOT)
    source = job.source.resolve()
    inside = source.is_relative_to(ROOT)
    return {
        "source": source.relative_to(ROOT).as_posix() if inside else source.name,
        "source_sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "library_sha256": library_hash(ROOT),
        "profile": profile,
        "parameters": {**job.defaults, **job.overrides},
        "given": job.given,
        "commit": commit,
        "dirty": dirty,
        **seen,
        "seconds": round(seconds, 1),
    }


def execute(job: Job, place: str, profile: str, scratch: Path, timeout: int | None) -> Path:
    """Run one job and write the finished notebook into `scratch`; its path."""
    target = scratch / f"{job.source.stem}.ipynb"
    began = time.monotonic()
    with tqdm(
        total=count_cells(job),
        desc=f"{place} {job.source.stem}",
        unit="cell",
        leave=False,
        disable=not sys.stderr.isatty(),
    ) as bar:
        status, error = papermill(job, scratch, bar, timeout)
    notebook = require_complete(target, status, error)
    seen = take_probe(notebook)
    clean_notebook(notebook)
    seconds = time.monotonic() - began
    notebook.metadata[RECORD] = provenance(job, profile, seen, seconds)
    finished = scratch / "finished" / target.name
    finished.parent.mkdir(exist_ok=True)
    nbformat.write(notebook, finished)
    print(f"{place} {job.source.stem}: {len(notebook.cells)} cells, {seconds:.1f} s", flush=True)
    return finished


def execute_all(
    jobs: list[Job], profile: str, scratch: Path, timeout: int | None
) -> tuple[list[Path], list[str]]:
    """(finished notebooks, failures); a failure does not stop the ones after it."""
    finished, failures = [], []
    for number, job in enumerate(jobs, start=1):
        place = f"[{number}/{len(jobs)}]"
        try:
            finished.append(execute(job, place, profile, scratch, timeout))
        except CellFailure as failure:
            failures.append(f"{job.source.name}, {failure}")
            print(f"{place} {job.source.stem}: FAILED in {failure}", file=sys.stderr, flush=True)
    return finished, failures


def promote(finished: list[Path], output: Path) -> None:
    """Move complete notebooks to where the site is built from, each by one atomic rename."""
    output.mkdir(parents=True, exist_ok=True)
    for path in finished:
        os.replace(path, output / path.name)


def new_scratch(output: Path) -> Path:
    """An empty folder beside `output`; those of runs that no longer live are removed."""
    for leftover in output.parent.glob(f"{output.name}-running-*"):
        if not psutil.pid_exists(int(leftover.name.rpartition("-")[2])):
            shutil.rmtree(leftover)
    scratch = output.parent / f"{output.name}-running-{os.getpid()}"
    scratch.mkdir(parents=True)
    return scratch


def keep_aside(scratch: Path, output: Path) -> Path:
    """Keep an unfinished run for debugging, in the place of the one before."""
    aside = output.parent / f"{output.name}-failed"
    shutil.rmtree(aside, ignore_errors=True)
    shutil.rmtree(scratch / "ipython", ignore_errors=True)
    os.replace(scratch, aside)
    return aside


def raise_interrupted(number: int, _frame: FrameType | None) -> None:
    raise Interrupted(number)


def listen_for_signals() -> None:
    """Turn signals into `Interrupted`, except those that the caller (nohup) chose to ignore."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, raise_interrupted)


def ignore_signals() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def run_jobs(jobs: list[Job], profile: str, output: Path, timeout: int | None) -> int:
    """Execute, then promote the whole set or nothing; the exit status."""
    scratch = new_scratch(output)
    try:
        finished, failures = execute_all(jobs, profile, scratch, timeout)
    except Interrupted as interrupted:
        print(
            f"ended by signal {interrupted.number}; nothing published, kept in {keep_aside(scratch, output)}",
            file=sys.stderr,
        )
        return 128 + interrupted.number
    if failures:
        print(
            f"\n{len(failures)} of {len(jobs)} notebooks failed, none published:",
            *failures,
            sep="\n  ",
            file=sys.stderr,
        )
        print(f"what ran, with logs: {keep_aside(scratch, output)}", file=sys.stderr)
        return 1
    ignore_signals()  # from here on the set is published as a whole
    promote(finished, output)
    shutil.rmtree(scratch)
    return 0


def main(arguments: list[str]) -> int:
    listen_for_signals()
    try:
        options, given = read_arguments(arguments)
        jobs = [plan(source, options.profile, given) for source in options.notebooks]
        if options.timeout is not None and options.timeout < 1:
            raise NotebookError("--timeout needs at least one second")
        if len({job.source.stem for job in jobs}) < len(jobs):
            raise NotebookError("two of the notebooks have the same name")
    except NotebookError as error:
        print(f"execute.py: {error}", file=sys.stderr)
        return 2
    output = (options.output or ROOT / "_build" / "executed" / options.profile).resolve()
    return run_jobs(jobs, options.profile, output, options.timeout)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
