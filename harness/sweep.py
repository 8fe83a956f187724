"""Run a function over many parameters on any executor, and keep every result.

    runs = sweep.grid(n=[50, 100], seed=range(3))
    results = sweep.sweep(runs.attack, runs, folder="results", executor="loky:2")

A run is an importable function of plain parameters that returns a dict of scalars and arrays.
Its result is written by the worker that computed it, under a name made from its parameters, so
an interruption loses one run at most, and what exists is not computed again unless the code has
changed since. A parameter called `device` says where a run is computed, not what: it is passed
to the function, but is no part of the run's name. A parameter that names a folder or a file is
recorded by its name and the hash of its content (`named`).
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import datetime
import inspect
import itertools
import json
import sys
import time
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from harness import store
from harness.contents import named
from harness.equivalences import load_equivalences
from harness.executors import LokyExecutor, SchedulerLost, pool_of
from harness.files import require_writable
from harness.progress import bar as progress_bar
from harness.provenance import git_state, peak_memory, processor, versions
from harness.results import Result, described
from harness.stamp import UnknownCode, stamp

__all__ = ["Result", "grid", "sweep"]


def grid(**axes: Any) -> list[dict[str, Any]]:
    """Every combination of the axes; an axis that is a single value is the same in all of them.

    Text and a mapping are single values.

    grid(n=[50, 100], seed=range(2), arch="mlp") gives four runs, the last axis fastest.
    """
    single = (str, bytes, Mapping)
    values = [
        [axis] if isinstance(axis, single) or not hasattr(axis, "__iter__") else list(axis)
        for axis in axes.values()
    ]
    return [dict(zip(axes, combination)) for combination in itertools.product(*values)]


def sweep(
    function: Callable[..., Mapping[str, Any]],
    runs: Sequence[Mapping[str, Any]],
    *,
    folder: str | Path,
    executor: Executor | str | None = None,
    compute: bool | Callable[[Mapping[str, Any]], bool] = True,
    threads: int = 1,
    retries: int = 1,
    progress: bool = True,
) -> list[Result]:
    """The results of `function(**parameters)` for each of `runs`, in their order.

    executor: a concurrent.futures executor or what `make_executor` takes; None is "serial".
    compute: False only reads; a result that is not there is "missing", one that is older than
    the code is "stale". True recomputes both. A function of the run's parameters decides for
    each run, for instance that those on a data set which is not here are only looked up.
    threads: of torch and BLAS, in each run.
    retries: how often a run is tried again after its worker was killed; never for an exception
    of the function itself, which makes the run "failed" and leaves the others alone.

    Raises ValueError for a function that workers cannot import or parameters that do not fit it,
    OSError when something is to be computed but `folder` cannot be written, ConnectionError when
    the scheduler of a cluster is lost; and UnknownCode when a file of the code has changed under
    this process.
    """
    name = _importable_name(function)
    folder = Path(folder)
    load_equivalences(folder)
    code = stamp(function)
    calls = [_Call.of(function, name, parameters, folder) for parameters in runs]
    found = {call.path: _stored(call, code.digest, code.modules) for call in calls}
    wanted = compute if callable(compute) else lambda run: compute
    todo = {
        call.path: call
        for call in calls
        if found[call.path].status != "reused" and wanted(call.parameters)
    }
    if todo:
        require_writable(folder)
        made_by = {"stamp": code.digest, "sources": dict(code.modules)}
        made_by |= git_state(function, code.files)
        with pool_of(executor) as pool, progress_bar(len(todo), name, progress) as bar:
            for result in _compute(list(todo.values()), pool, made_by, threads, retries):
                earlier = found[result.path].notes
                found[result.path] = replace(result, notes=earlier + result.notes)
                bar.update()
    for result in found.values():
        for note in result.notes:
            if not note.startswith("Older"):
                warnings.warn(note, RuntimeWarning, stacklevel=2)
    return [replace(found[call.path], parameters=call.given) for call in calls]


# --- what is there already --------------------------------------------------------------------


@dataclass(frozen=True)
class _Call:
    """One run to be: the function, its plain parameters, where the result belongs."""

    function: Callable
    name: str
    parameters: dict[str, Any]
    given: dict[str, Any]  # the same, but with a folder or file by its path
    device: str | None
    folder: Path
    path: Path

    @classmethod
    def of(cls, function: Callable, name: str, run: Mapping[str, Any], folder: Path) -> _Call:
        label = described(name, run)
        try:
            inspect.signature(function).bind(**run)
            parameters = {key: store.plain(v, f"{key} of {label}") for key, v in run.items()}
        except TypeError as error:
            raise ValueError(f"The run {label} does not fit its function: {error}") from None
        if json.loads(json.dumps(parameters)) != parameters:
            raise ValueError(f"The parameters of {label} do not survive JSON (a NaN among them?).")
        device = parameters.pop("device", None)
        kept = {key: named(value) for key, value in parameters.items()}
        path = store.path_for(folder, name, kept)
        return cls(function, name, kept, parameters, device, folder, path)

    def failed(self, error: str) -> Result:
        return Result(self.name, self.parameters, "failed", error=error, path=self.path)


def _importable_name(function: Callable) -> str:
    """module.function; ValueError unless a worker process can import it by that name."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if module in (None, "__main__") or getattr(sys.modules.get(module), name, None) is not function:
        raise ValueError(
            f"{name or function!r} cannot be run in a sweep: workers import the function, so it "
            "must stand at the top level of a module such as chapters/…/runs.py, not in a notebook "
            "or inside another function."
        )
    return f"{module}.{name}"


def _stored(call: _Call, wanted: str, hashes: Mapping[str, str]) -> Result:
    """The result on disk: "reused", "stale" or, absent or damaged, "missing"."""
    missing = Result(call.name, call.parameters, "missing", path=call.path)
    try:
        result = store.read(call.path, call.name, call.parameters, "reused")
    except (FileNotFoundError, NotADirectoryError):
        return missing
    except (store.Damaged, OSError) as error:
        return replace(missing, notes=(f"A stored result was not used: {error}",))
    if result.provenance.get("stamp") == wanted:
        return result
    before = result.provenance.get("sources", {})
    changed = sorted(m for m in {*before, *hashes} if before.get(m) != hashes.get(m))
    return replace(
        result,
        status="stale",
        notes=(f"Older than the code: {', '.join(changed)} changed since it was stored.",),
    )


def _submit(pool: Executor, *args: Any) -> Future:
    """Submit a run; when the pool is broken, to a fresh one if there can be one."""
    try:
        return pool.submit(_run_one, *args)
    except BrokenExecutor:
        with contextlib.suppress(BrokenExecutor):
            if type(pool).__module__.startswith("loky"):
                return LokyExecutor(pool._max_workers).submit(_run_one, *args)
            return pool.submit(_run_one, *args)
        raise


# --- computing --------------------------------------------------------------------------------


def _compute(
    calls: list[_Call], pool: Executor, made_by: Mapping[str, Any], threads: int, retries: int
) -> Iterator[Result]:
    """Yield each result as it is finished.

    No more runs are handed out than there are workers. So when a worker dies and takes the pool
    with it, only the few runs under way can be to blame; they are tried again at the end, one at
    a time, which shows which of them kills its worker.
    """
    waiting, suspects = deque(calls), []
    running: dict[Future, _Call] = {}
    places = getattr(pool, "_max_workers", None) or len(calls)
    try:
        while waiting or running:
            while waiting and len(running) < places:
                call = waiting.popleft()
                running[_submit(pool, call, made_by, threads)] = call
            done, _ = concurrent.futures.wait(
                running, return_when=concurrent.futures.FIRST_COMPLETED
            )
            for future in done:
                call = running.pop(future)
                try:
                    yield _seen_here(future.result())
                except SchedulerLost:
                    raise
                except Exception as error:  # the machinery's: `_run_one` keeps the function's own
                    suspects.append((call, error))
        for call, error in suspects:
            yield _try_again(call, error, pool, made_by, threads, retries)
    finally:
        for future in running:
            future.cancel()


def _try_again(
    call: _Call,
    error: Exception,
    pool: Executor,
    made_by: Mapping[str, Any],
    threads: int,
    retries: int,
) -> Result:
    """A run whose worker was lost: its result if it was written after all, else new attempts."""
    for _ in range(retries):
        stored = _stored(call, made_by["stamp"], {})
        if stored.status == "reused":
            return replace(stored, status="computed")
        try:
            return _seen_here(_submit(pool, call, made_by, threads).result())
        except SchedulerLost:
            raise
        except Exception as again:
            error = again
    text = "".join(traceback.format_exception_only(error)).split("\n")[0].split(". ")[0]
    return call.failed(
        f"{described(call.name, call.parameters)} got no result in {retries + 1} attempts, "
        f"perhaps for want of memory (then fewer workers help): {text}"
    )


def _seen_here(result: Result) -> Result:
    """The result, if the file its worker wrote is visible from here."""
    if result.status == "computed" and not result.notes and not result.path.exists():
        return replace(
            result,
            status="failed",
            error=f"{result.label} was written to {result.path} by its worker, but there is no "
            "such file here: use a folder that all machines share.",
        )
    return result


def _run_one(call: _Call, made_by: Mapping[str, Any], threads: int) -> Result:
    """Compute one run and write its result; what a worker executes.

    A worker that has lived longer than the code it was asked to run refuses: what it computed
    would be stored as the work of code that it never had.
    """
    label = described(call.name, call.parameters)
    load_equivalences(call.folder)
    if refusal := _other_code(call.function, made_by["stamp"]):
        return call.failed(refusal)
    gpu = str(call.device or "").startswith("cuda")
    where = {} if call.device is None else {"device": call.device}
    if gpu and torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats(call.device)
    try:
        start = time.perf_counter()
        values = run_in_threads(threads, call.function, **call.given, **where)
        seconds = time.perf_counter() - start
        scalars, arrays = store.split_values(values, label)
    except Exception:
        return call.failed(traceback.format_exc())
    if refusal := _other_code(call.function, made_by["stamp"]):  # it may have loaded more just now
        return call.failed(refusal)
    provenance = {
        **made_by,
        "versions": versions(),
        "device": torch.cuda.get_device_name(call.device) if gpu else processor(),
        "device_type": "cuda" if gpu else "cpu",
        "threads": threads,
        "seed": call.parameters.get("seed"),
        "seconds": round(seconds, 3),
        "peak_memory_mib": peak_memory(call.device if gpu else None),
        "finished": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }
    try:
        store.write(call.path, call.name, call.parameters, scalars, arrays, provenance)
    except OSError as error:
        return Result(
            call.name, call.parameters, "computed", scalars, arrays, provenance, path=call.path,
            notes=(f"The result of {label} could not be saved ({error}); it is in memory only.",),
        )  # fmt: skip
    return store.read(call.path, call.name, call.parameters, "computed")


def _other_code(function: Callable, wanted: str) -> str:
    """Why what this process runs is not the code that was asked for; nothing if it is."""
    try:
        mine = stamp(function).digest
    except UnknownCode as error:
        return f"UnknownCode: {error}"
    return "" if mine == wanted else (
        "UnknownCode: the worker runs other code than the process that asked for this run, "
        "because a file has changed in between: start the workers anew."
    )  # fmt: skip


def run_in_threads(threads: int, function: Callable, **parameters: Any) -> Any:
    """`function(**parameters)` with so many threads of torch and BLAS; afterwards as before."""
    before = torch.get_num_threads()
    with threadpool_limits(limits=threads):
        torch.set_num_threads(threads)
        try:
            return function(**parameters)
        finally:
            torch.set_num_threads(before)
