"""Execute every chapter with the profile `paper`, one after the other; once more after any stop.

    python tools/paper.py
    python tools/paper.py --check                     tells what would be done, and ends
    python tools/paper.py --overrides small.yaml      with parameters of your own
    python tools/paper.py -p executor dask:tcp://host:8786

First it tells what is here: device, memory, disk, packages, data sets, and for each chapter its runs
and hours. Then chapters are executed by tools/execute.py; each that ran to its end is published at
once, in _build/executed/paper. A chapter whose page is up to date, with all its runs there, is not
executed again, and a run that is there is not computed again: so the same command goes on after
Ctrl-C, a time limit, a crash, or with data that was missing.

An overrides file is YAML: `{all: {parameter: value}, 07_kkt_reconstruction: {parameter: value}}`;
`all` is for every chapter that has the parameter. Runs with parameters of your own go to a folder of
their own, unless `results` is among them. Exit status: 0 all are finished, 1 some are not, 2 the
request was wrong or nothing can run here, 128 + n ended by signal n.
"""

import argparse
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import execute
import preflight
from execute import Job
from notebook_process import SIGNALS, Interrupted, listen_for_signals
from percent import NotebookError, list_notebooks, parse_yaml, read_notebook

PROFILE = "paper"
ALL = "all"  # in an overrides file: for every chapter that has the parameter


def read_arguments(arguments: list[str]) -> tuple[argparse.Namespace, dict[str, Any]]:
    parser = argparse.ArgumentParser(
        prog="paper.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="only tell what would be done")
    parser.add_argument("--overrides", type=Path, metavar="FILE", help="parameters of your own")
    parser.add_argument(
        "-p", "--parameter", nargs=2, metavar=("NAME", "VALUE"), help="one, for every chapter"
    )
    pairs, rest = execute.split_parameters(arguments)
    return parser.parse_args(rest), execute.given_parameters(pairs)


def read_overrides(path: Path | None, stems: Sequence[str]) -> dict[str, dict[str, Any]]:
    """{chapter or `all`: {parameter: value}}; `NotebookError` for anything else."""
    if path is None:
        return {}
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NotebookError(f"{path}: cannot be read ({error})") from None
    found = parse_yaml(text, str(path)) or {}
    if not isinstance(found, dict) or not all(isinstance(v, dict) for v in found.values()):
        raise NotebookError(f"{path}: expected `chapter: {{parameter: value}}`")
    for name in found:
        if name not in (ALL, *stems):
            known = ", ".join([ALL, *stems])
            raise NotebookError(f"{path}: there is no chapter {name} (known: {known})")
    return found


def plan_all(sources: Sequence[Path], overrides: Mapping[str, dict], given: dict) -> list[Job]:
    """Every chapter, checked, those last that are executed after others."""
    for_all = {**overrides.get(ALL, {}), **given}
    jobs = []
    for source in sources:
        notebook = read_notebook(source)
        known = execute.default_parameters(notebook, source.name)
        mine = {key: value for key, value in for_all.items() if key in known}
        mine |= overrides.get(source.stem, {})
        jobs.append(execute.plan(source, PROFILE, mine))
    execute.require_known(jobs, for_all)
    return sorted(jobs, key=lambda job: job.after_others)


def is_finished(job: Job, plan: preflight.Planned, output: Path) -> bool:
    """Whether a chapter's page is up to date and none of its runs is missing, stale or failed.

    Where runs are computed does not matter.
    """
    notebook = execute.readable(output / f"{job.source.stem}.ipynb")
    record = (notebook or {}).get("metadata", {}).get(execute.RECORD)
    if record is None or any(not execute.ran_completely(cell) for cell in notebook.cells):
        return False

    def matters(parameters: Mapping[str, Any]) -> dict[str, Any]:
        where = execute.SAME_RUNS - {"results"}
        return {key: value for key, value in parameters.items() if key not in where}

    runs = record.get("seen", {}).get("runs", {})
    return (
        record["source_sha256"] == execute.file_hash_of(job.source)
        and record["library_sha256"] == execute.library_hash(execute.ROOT)
        and matters(record["parameters"]) == matters({**job.defaults, **job.overrides})
        and not any(runs.get(word) for word in ("missing", "failed", "stale"))
        and not plan.to_do
    )


def look_around(jobs: Sequence[Job], output: Path) -> tuple[list[preflight.Chapter], set[str]]:
    """(every chapter with its runs, hours and refusal; the finished ones), told on the way."""
    gpus = preflight.graphics()
    print("This machine", *preflight.machine(gpus), sep="\n  ")
    wanted = dict.fromkeys(name for job in jobs for name in preflight.data_sets(job))
    absent = {name: how for name in wanted if (how := preflight.absent(name))}
    sets = [f"{name}: {absent.get(name) or 'here'}" for name in wanted]
    print("Data sets", *(sets or ["none is named"]), sep="\n  ")
    clusters = preflight.clusters(jobs)
    if clusters:
        print("Clusters", *(f"{address}: {how}" for address, how in clusters.items()), sep="\n  ")
    lost = {name: how for name, how in absent.items() if preflight.is_lost(how)}
    lost_clusters = {name for name, how in clusters.items() if how.startswith("cannot")}
    known = preflight.published(execute.ROOT / execute.PUBLISHED)
    chapters = []
    for job in jobs:
        plan = preflight.planned(job) if preflight.setup_cells(job) else preflight.Planned([], True)
        hours = preflight.estimate(plan.to_do, known, gpu=preflight.wants_gpu(job))
        why = preflight.refusal(job, gpus, lost, lost_clusters)
        chapters.append(preflight.Chapter(job, plan, hours, why))
    done = {job.source.stem for job, plan, _, _ in chapters if is_finished(job, plan, output)}
    if any(c.job.source.stem not in done for c in chapters if not c.job.after_others):
        done -= {c.job.source.stem for c in chapters if c.job.after_others}
    print("Chapters", *preflight.table(chapters, done), sep="\n  ", flush=True)
    return chapters, done


def require_something(chapters: Sequence[preflight.Chapter], finished: set[str]) -> None:
    """`NotebookError` with one sentence when chapters are left and none of them can be executed."""
    left = [
        c for c in chapters if c.job.source.stem not in finished and not c.job.after_others
    ]  # what reads others' results has nothing to read without them
    reasons = dict.fromkeys(chapter.refusal for chapter in left)
    if left and all(reasons):
        advice = "an overrides file can name another device or data set"
        raise NotebookError(f"nothing can run here, because {'; or '.join(reasons)}: {advice}")
    if left and preflight.disk(execute.ROOT) < preflight.NO_DISK:
        raise NotebookError("nothing can run here, because the disk is full: free some space")


def execute_one(job: Job, output: Path) -> int:
    """Execute a chapter and publish it; the exit status. Signals are listened to again after."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        return execute.run_jobs([job], PROFILE, output, None, 1)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run(arguments: list[str]) -> int:
    options, given = read_arguments(arguments)
    sources = list_notebooks(execute.ROOT / "notebooks")
    overrides = read_overrides(options.overrides, [source.stem for source in sources])
    jobs = plan_all(sources, overrides, given)
    if not jobs:
        raise NotebookError("there is no chapter in notebooks/")
    output = execute.ROOT / "_build" / "executed" / PROFILE
    chapters, finished = look_around(jobs, output)
    require_something(chapters, finished)
    if options.check:
        return 0
    left = [chapter for chapter in chapters if chapter.job.source.stem not in finished]
    failed = []
    for place, chapter in enumerate(left, 1):
        stem = chapter.job.source.stem
        if chapter.refusal:
            failed.append(f"{stem}: {chapter.refusal}")
            continue
        print(f"chapter {place} of {len(left)}: {stem}", flush=True)
        if execute_one(chapter.job, output) != 0:
            failed.append(f"{stem}: failed, see above")
    if failed:
        print(f"{len(failed)} of {len(chapters)} chapters are not finished:", file=sys.stderr)
        print(*(f"  {line}" for line in failed), sep="\n", file=sys.stderr)
        print("what is finished is kept; the same command tries the others", file=sys.stderr)
        return 1
    print(f"all {len(chapters)} chapters are finished, {len(finished)} of them were before")
    return 0


def main(arguments: list[str]) -> int:
    listen_for_signals()
    try:
        return run(arguments)
    except NotebookError as error:
        print(f"paper.py: {error}", file=sys.stderr)
        return 2
    except Interrupted as interrupted:
        print(
            f"paper.py: ended by signal {interrupted.number}; finished chapters and runs are kept, "
            "the same command goes on from there",
            file=sys.stderr,
        )
        return 128 + interrupted.number
    except OSError as error:
        hint = f": {execute.FREE_SOME}" if execute.is_full(error) else ""
        print(
            f"paper.py: {error.strerror or error}; what is finished is kept{hint}", file=sys.stderr
        )
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
