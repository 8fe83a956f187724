"""What this machine has, and what the chapters of a profile would ask of it, before hours of runs.

Nothing is computed and nothing downloaded. Hours are told only where runs of the same function
were published: each run that is not there is given the time of the published one nearest to it,
longer as it has more steps. How a run's time grows with the number of images differs from run to
run, so two numbers are told: without that growth, and in proportion. They are hours of the
published runs' hardware, one run after the other.
"""

import json
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import torch
from packaging.requirements import Requirement

from execute import ROOT, Job
from harness.executors import SchedulerLost, dashboard
from harness.store import short_name
from lib import data, sets
from percent import cell_tags

GIB = 2**30
LITTLE_DISK, NO_DISK = 2 * GIB, GIB // 5  # bytes: worth a word, too few to begin
STEPS = {"epochs", "steps", "classifier_steps", "iterations", "rounds", "circle_epochs"}
IMAGES = {"n", "fresh", "judged"}
BESIDE = {"seed", "device"}  # what a run's time does not depend on


class Planned(NamedTuple):
    """The runs that a chapter asks for."""

    runs: list[tuple[str, dict[str, Any], str]]  # function, parameters, status
    complete: bool  # False: more will follow from what these find

    @property
    def to_do(self) -> list[tuple[str, dict[str, Any]]]:
        return [(name, found) for name, found, status in self.runs if status != "reused"]


class Published(NamedTuple):
    """A finished run: what it was, how long it took, on what."""

    parameters: dict[str, Any]
    seconds: float
    device: str
    gpu: bool


class Hours(NamedTuple):
    """An estimate; `unknown` runs have no published one to go by."""

    low: float
    high: float
    known: int
    unknown: int
    devices: tuple[str, ...]


class Chapter(NamedTuple):
    """A chapter before it is executed; `refusal` says why it cannot be."""

    job: Job
    planned: Planned
    hours: Hours
    refusal: str


# --- what the chapters ask for --------------------------------------------------------------------


def setup_cells(job: Job) -> list[str]:
    """The code of a notebook's set-up; without one, the cells that have to do with a study."""
    code = [cell for cell in job.notebook.cells if cell.cell_type == "code"]
    code = [cell for cell in code if "parameters" not in cell_tags(cell)]
    setup = [cell.source for cell in code if "setup" in cell_tags(cell)]
    return setup or [cell.source for cell in code if re.search(r"\b[Ss]tudy\b", cell.source)]


def planned(job: Job) -> Planned:
    """The runs of a notebook with the job's parameters, looked up in a process of their own."""
    request = {"setup": setup_cells(job), "parameters": {**job.defaults, **job.overrides}}
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("planned.py")), json.dumps(request)],
        cwd=ROOT, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    if done.returncode != 0:
        return Planned([], False)
    found = json.loads(done.stdout.splitlines()[-1])
    return Planned([tuple(run) for run in found["runs"]], found["complete"])


def published(folder: Path) -> dict[str, list[Published]]:
    """Short name of a function -> its finished runs; files that cannot be read are left out."""
    found = defaultdict(list)
    for path in sorted(folder.glob("*/*.json")):
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            made = kept["provenance"]
            run = Published(
                dict(kept["parameters"]), float(made["seconds"]), str(made.get("device", "")),
                made.get("device_type") == "cuda",
            )  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError):
            continue
        found[path.parent.name].append(run)
    return found


def estimate(
    runs: Iterable[tuple[str, Mapping[str, Any]]],
    known: Mapping[str, Sequence[Published]],
    *,
    gpu: bool,
) -> Hours:
    """The hours of runs, by the published ones; those of a GPU where it has any and one is used."""
    low = high = 0.0
    counts, devices = Counter(), set()
    for function, parameters in runs:
        candidates = list(known.get(short_name(function), ()))
        candidates = [run for run in candidates if run.gpu == gpu] or candidates
        counts[bool(candidates)] += 1
        if not candidates:
            continue
        nearest = like(parameters, candidates)
        times = [bounds(parameters, run) for run in nearest]
        low += statistics.median(time[0] for time in times)
        high += statistics.median(time[1] for time in times)
        devices |= {run.device for run in nearest}
    return Hours(low / 3600, high / 3600, counts[True], counts[False], tuple(sorted(devices)))


def like(parameters: Mapping[str, Any], candidates: Sequence[Published]) -> list[Published]:
    """Those that differ from a run in the fewest parameters."""

    def distance(run: Published) -> int:
        keys = (parameters.keys() | run.parameters.keys()) - BESIDE
        return sum(parameters.get(key) != run.parameters.get(key) for key in keys)

    least = min(map(distance, candidates))
    return [run for run in candidates if distance(run) == least]


def bounds(parameters: Mapping[str, Any], run: Published) -> tuple[float, float]:
    """(least, most) seconds of a run with these parameters, from one that was published."""
    mine, theirs = dict(numbers(parameters)), dict(numbers(run.parameters))

    def growth(names: set[str]) -> float:
        shared = [key for key in mine.keys() & theirs.keys() if key.rpartition(".")[2] in names]
        return math.prod(mine[key] / theirs[key] for key in shared)

    one = run.seconds * growth(STEPS)
    other = one * growth(IMAGES)
    return min(one, other), max(one, other)


def numbers(parameters: Mapping[str, Any], above: str = "") -> Iterable[tuple[str, float]]:
    """(name, value) of the positive numbers, also of mappings within."""
    for key, value in parameters.items():
        if isinstance(value, Mapping):
            yield from numbers(value, f"{above}{key}.")
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0:
            yield f"{above}{key}", float(value)


# --- what is here ---------------------------------------------------------------------------------


def words(value: Any) -> Iterable[str]:
    """Every text in a parameter, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, held in value.items():
            yield from words(key)
            yield from words(held)
    elif isinstance(value, list):
        for held in value:
            yield from words(held)


def data_sets(job: Job) -> list[str]:
    """The data sets that the parameters name: known ones anywhere, folders under `datasets`."""
    parameters = {**job.defaults, **job.overrides}
    named = [name for name in words(parameters) if name in sets.KNOWN]
    return list(dict.fromkeys([*words(parameters.get("datasets", [])), *named]))


def absent(name: str) -> str:
    """How to get a data set that is not here; nothing for one that is. Downloads nothing."""
    downloaded = sets._TORCHVISION.get(name)  # the loader's own table of files
    if downloaded is not None:
        root = data._root(None)
        if all((root / file).is_file() for file in downloaded[1]):
            return ""
        return "is downloaded when a chapter first asks for it"
    if name == "coloured-digits" and absent("mnist"):
        return absent("cifar10-jpeg") or "is made of MNIST, which " + absent("mnist")
    return data.unavailable([name]).get(name, "")


def is_lost(how: str) -> bool:
    """Whether a data set can only be had by hand."""
    return bool(how) and "downloaded when" not in how


def graphics() -> list[str]:
    """Name and memory of each GPU that PyTorch can use."""
    if not torch.cuda.is_available():
        return []
    every = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    return [f"{gpu.name}, {gpu.total_memory / GIB:.0f} GiB" for gpu in every]


def wants_gpu(job: Job) -> bool:
    """Whether a chapter computes on a GPU of this machine, rather than of a cluster's."""
    parameters = {**job.defaults, **job.overrides}
    on_cluster = str(parameters.get("executor", "")).startswith("dask:")
    return str(parameters.get("device", "cpu")).startswith("cuda") and not on_cluster


def unmet_packages() -> list[str]:
    """The requirements of pyproject.toml that are not met, as `name (what is here)`."""
    problems = []
    try:
        required = metadata.requires("what-the-weights-remember") or []
    except metadata.PackageNotFoundError:
        return ["what-the-weights-remember (not installed: run make)"]
    for line in map(Requirement, required):
        if line.marker is not None and not line.marker.evaluate({"extra": ""}):
            continue
        try:
            here = metadata.version(line.name)
        except metadata.PackageNotFoundError:
            problems.append(f"{line.name} (not here)")
            continue
        if not line.specifier.contains(here, prereleases=True):
            problems.append(f"{line.name} ({here} is here, {line.specifier} is wanted)")
    return problems


def clusters(jobs: Sequence[Job]) -> dict[str, str]:
    """Address of each Dask scheduler that is asked for -> its dashboard, or why there is none."""
    named = [str({**job.defaults, **job.overrides}.get("executor", "")) for job in jobs]
    found = {}
    for address in dict.fromkeys(n.removeprefix("dask:") for n in named if n.startswith("dask:")):
        try:
            found[address] = dashboard(address) or "no dashboard: bokeh is not installed there"
        except (ImportError, SchedulerLost) as error:
            found[address] = f"cannot be used: {error}"
    return found


def refusal(job: Job, gpus: Sequence[str], lost: Mapping[str, str], lost_clusters: set[str]) -> str:
    """Why a chapter cannot be executed here; nothing if it can."""
    if wants_gpu(job) and not gpus:
        return "it computes on cuda, and PyTorch sees no GPU here"
    executor = str({**job.defaults, **job.overrides}.get("executor", ""))
    if executor.removeprefix("dask:") in lost_clusters:
        return f"nothing answers at {executor.removeprefix('dask:')}"
    wanted = data_sets(job)
    if wanted and all(name in lost for name in wanted):
        return f"none of its data sets is here ({', '.join(wanted)})"
    return ""


# --- telling it ----------------------------------------------------------------------------------


def disk(folder: Path) -> int:
    """Free bytes where results and executed notebooks are written."""
    return shutil.disk_usage(folder).free


def machine(gpus: Sequence[str]) -> list[str]:
    memory = psutil.virtual_memory()
    free = disk(ROOT)
    unmet = unmet_packages()
    return [
        f"device    {'; '.join(gpus) or 'no GPU that PyTorch can use'}; {os.cpu_count()} CPU cores",
        f"memory    {memory.total / GIB:.0f} GiB, {memory.available / GIB:.0f} GiB free",
        f"disk      {free / GIB:.0f} GiB free"
        + (", which may be too little for data sets and results" if free < LITTLE_DISK else ""),
        f"packages  {'not as required: ' + ', '.join(unmet) if unmet else 'as required'}; "
        f"PyTorch {torch.__version__}",
    ]


def told_hours(hours: Hours, complete: bool) -> str:
    """`3 to 40 h as on …`, or that it is not known."""
    if not hours.known + hours.unknown:
        return "nothing to compute" if complete else "unknown: what is to be run depends on runs"
    if not hours.known:
        return "hours unknown: no run of its kind was published"
    low, high = short(hours.low), short(hours.high)
    text = f"{low} to {high} h" if low != high else f"{high} h"
    text = ("at least " if hours.unknown or not complete else "") + text
    return f"{text} as on {'; '.join(hours.devices)}"


def short(hours: float) -> str:
    return f"{hours:.1g}" if hours < 1 else f"{hours:,.0f}"


def table(chapters: Sequence[Chapter], finished: set[str]) -> list[str]:
    """One line a chapter: runs there, runs to make, hours, or why it cannot be executed."""
    width = max(len(chapter.job.source.stem) for chapter in chapters)
    lines = []
    for job, plan, hours, why in chapters:
        more = "" if plan.complete else " and those that follow from them"
        counts = f"{len(plan.runs) - len(plan.to_do)} of {len(plan.runs)} runs there{more}"
        text = f"{counts}; {told_hours(hours, plan.complete)}"
        if job.source.stem in finished:
            text = "finished"
        elif plan.complete and not plan.runs:
            text = "makes no runs"
        if why and job.source.stem not in finished:
            text += f"; cannot be executed: {why}"
        lines.append(f"{job.source.stem:<{width}}  {text}")
    return lines
