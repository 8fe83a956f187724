"""Run a function over many parameters on any executor, and keep every result.

    runs = sweep.grid(n=[50, 100], seed=range(3))
    results = sweep.sweep(kkt_runs.reconstruct, runs, folder="results/laptop", executor="loky:2")
    sweep.frame(sweep.require(results))

A run is an importable function of plain parameters that returns a dict of scalars and arrays.
Its result is written by the worker that computed it, under a name made from its parameters, so
an interruption loses one run at most, and what exists is not computed again unless the code has
changed since. A parameter called `device` says where a run is computed, not what: it is passed
to the function, but is no part of the run's name.

    python -m lib.sweep verify results --sample 2      recompute some published runs and compare
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import datetime
import importlib.metadata
import inspect
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
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

from lib import results as store
from lib.fingerprint import fingerprint, sources
from lib.results import Result, frame, require

__all__ = ["Result", "frame", "grid", "make_executor", "require", "sweep"]


def grid(**axes: Any) -> list[dict[str, Any]]:
    """Every combination of the axes; an axis that is a single value is the same in all of them.

    grid(n=[50, 100], seed=range(2), arch="mlp") gives four runs, the last axis fastest.
    """
    values = [
        [axis] if isinstance(axis, (str, bytes)) or not hasattr(axis, "__iter__") else list(axis)
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
    and OSError when something is to be computed but `folder` cannot be written.
    """
    name = _importable_name(function)
    folder = Path(folder)
    fingerprint_, hashes = fingerprint(function)
    calls = [_Call.of(function, name, parameters, folder) for parameters in runs]
    found = {call.path: _stored(call, fingerprint_, hashes) for call in calls}
    wanted = compute if callable(compute) else lambda run: compute
    todo = {
        call.path: call
        for call in calls
        if found[call.path].status != "reused" and wanted(call.parameters)
    }
    if todo:
        _require_writable(folder)
        stamp = {"fingerprint": fingerprint_, "sources": hashes, **_git_state(function)}
        with _pool(executor) as pool, _bar(len(todo), name, progress) as bar:
            for result in _compute(list(todo.values()), pool, stamp, threads, retries):
                earlier = found[result.path].notes
                found[result.path] = replace(result, notes=earlier + result.notes)
                bar.update()
    for result in found.values():
        for note in result.notes:
            if not note.startswith("Older"):
                warnings.warn(note, RuntimeWarning, stacklevel=2)
    return [found[call.path] for call in calls]


# --- what is there already --------------------------------------------------------------------


@dataclass(frozen=True)
class _Call:
    """One run to be: the function, its plain parameters, where the result belongs."""

    function: Callable
    name: str
    parameters: dict[str, Any]
    device: str | None
    path: Path

    @classmethod
    def of(cls, function: Callable, name: str, run: Mapping[str, Any], folder: Path) -> _Call:
        label = store.described(name, run)
        try:
            inspect.signature(function).bind(**run)
            parameters = {key: store.plain(v, f"{key} of {label}") for key, v in run.items()}
        except TypeError as error:
            raise ValueError(f"The run {label} does not fit its function: {error}") from None
        if json.loads(json.dumps(parameters)) != parameters:
            raise ValueError(f"The parameters of {label} do not survive JSON (a NaN among them?).")
        device = parameters.pop("device", None)
        return cls(function, name, parameters, device, store.path_for(folder, name, parameters))

    def failed(self, error: str) -> Result:
        return Result(self.name, self.parameters, "failed", error=error, path=self.path)


def _importable_name(function: Callable) -> str:
    """module.function; ValueError unless a worker process can import it by that name."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if module in (None, "__main__") or getattr(sys.modules.get(module), name, None) is not function:
        raise ValueError(
            f"{name or function!r} cannot be run in a sweep: workers import the function, so it "
            "must stand at the top level of a module such as experiments/…, not in a notebook "
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
    if result.provenance.get("fingerprint") == wanted:
        return result
    before = result.provenance.get("sources", {})
    changed = sorted(m for m in {*before, *hashes} if before.get(m) != hashes.get(m))
    return replace(
        result,
        status="stale",
        notes=(f"Older than the code: {', '.join(changed)} changed since it was stored.",),
    )


def _require_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(
            error.errno,
            f"Results cannot be written to {folder} ({error.strerror or error}), so nothing was "
            "computed: free some space or choose another folder",
        ) from error


# --- executors --------------------------------------------------------------------------------


def make_executor(spec: str) -> Executor:
    """The executor that a notebook's parameter names.

    "serial": one run after the other in this process (right for a single GPU).
    "loky:4": four processes on this machine.
    "dask:tcp://host:8786": the workers of a Dask cluster, which must see the same files.
    """
    kind, _, rest = spec.partition(":")
    if spec == "serial":
        return SerialExecutor()
    if kind == "loky" and rest.isdigit() and int(rest) > 0:
        return LokyExecutor(int(rest))
    if kind == "dask" and rest:
        try:
            from dask.distributed import Client
        except ImportError:
            raise ImportError(
                f"The executor {spec!r} needs Dask: install dask[distributed]."
            ) from None
        return Client(rest).get_executor()
    raise ValueError(f"Unknown executor {spec!r}: use 'serial', 'loky:2' or 'dask:tcp://…:8786'.")


class SerialExecutor(Executor):
    """Runs each call at once, in this process."""

    _max_workers = 1

    def submit(self, function: Callable, /, *args: Any, **kwargs: Any) -> Future:
        future: Future = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class LokyExecutor(Executor):
    """loky's reusable pool of processes; replaced by a fresh one after a worker was killed."""

    def __init__(self, workers: int) -> None:
        self._max_workers = workers

    def _current(self) -> Executor:
        from loky import get_reusable_executor

        return get_reusable_executor(max_workers=self._max_workers, timeout=300)

    def submit(self, function: Callable, /, *args: Any, **kwargs: Any) -> Future:
        return self._current().submit(function, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._current().shutdown(wait=wait, kill_workers=cancel_futures)


@contextlib.contextmanager
def _pool(executor: Executor | str | None) -> Iterator[Executor]:
    """The executor itself, or the one that is named.

    loky's processes stay for the next sweep, but end at once when this one is interrupted.
    """
    pool = executor if isinstance(executor, Executor) else make_executor(executor or "serial")
    try:
        yield pool
    except KeyboardInterrupt:
        if isinstance(pool, LokyExecutor):
            pool.shutdown(cancel_futures=True)
        raise


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
    calls: list[_Call], pool: Executor, stamp: Mapping[str, Any], threads: int, retries: int
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
                running[_submit(pool, call, stamp, threads)] = call
            done, _ = concurrent.futures.wait(
                running, return_when=concurrent.futures.FIRST_COMPLETED
            )
            for future in done:
                call = running.pop(future)
                try:
                    yield _seen_here(future.result())
                except Exception as error:  # the machinery's: `_run_one` keeps the function's own
                    suspects.append((call, error))
        for call, error in suspects:
            yield _try_again(call, error, pool, stamp, threads, retries)
    finally:
        for future in running:
            future.cancel()


def _try_again(
    call: _Call,
    error: Exception,
    pool: Executor,
    stamp: Mapping[str, Any],
    threads: int,
    retries: int,
) -> Result:
    """A run whose worker was lost: its result if it was written after all, else new attempts."""
    for _ in range(retries):
        stored = _stored(call, stamp["fingerprint"], {})
        if stored.status == "reused":
            return replace(stored, status="computed")
        try:
            return _seen_here(_submit(pool, call, stamp, threads).result())
        except Exception as again:
            error = again
    text = "".join(traceback.format_exception_only(error)).strip()
    return call.failed(
        f"{store.described(call.name, call.parameters)} got no result in {retries + 1} attempts, "
        f"perhaps for want of memory: {text}"
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


def _run_one(call: _Call, stamp: Mapping[str, Any], threads: int) -> Result:
    """Compute one run and write its result; what a worker executes."""
    label = store.described(call.name, call.parameters)
    gpu = str(call.device or "").startswith("cuda")
    where = {} if call.device is None else {"device": call.device}
    if gpu and torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats(call.device)
    try:
        start = time.perf_counter()
        values = run_in_threads(threads, call.function, **call.parameters, **where)
        seconds = time.perf_counter() - start
        scalars, arrays = store.split_values(values, label)
    except Exception:
        return call.failed(traceback.format_exc())
    provenance = {
        **stamp,
        "versions": _versions(),
        "device": torch.cuda.get_device_name(call.device) if gpu else _processor(),
        "device_type": "cuda" if gpu else "cpu",
        "threads": threads,
        "seed": call.parameters.get("seed"),
        "seconds": round(seconds, 3),
        "peak_memory_mib": _peak_memory(call.device if gpu else None),
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


def run_in_threads(threads: int, function: Callable, **parameters: Any) -> Any:
    """`function(**parameters)` with so many threads of torch and BLAS; afterwards as before."""
    before = torch.get_num_threads()
    with threadpool_limits(limits=threads):
        torch.set_num_threads(threads)
        try:
            return function(**parameters)
        finally:
            torch.set_num_threads(before)


@contextlib.contextmanager
def _bar(total: int, name: str, progress: bool) -> Iterator[Any]:
    """A progress bar that never reaches a published page.

    The environment variable BOOK_TERMINAL, set while a book is executed, names the terminal to
    draw it on; when that is empty there is no bar.
    """
    from tqdm import tqdm

    label = name.rpartition(".")[2]
    terminal = os.environ.get("BOOK_TERMINAL")
    if progress and terminal is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a notebook without widgets shows a plain bar, fine
            from tqdm.auto import tqdm as live
        with live(total=total, desc=label, unit="run") as bar:
            yield bar
        return
    with contextlib.ExitStack() as stack:
        sink = None
        if progress and terminal:
            with contextlib.suppress(OSError):
                sink = stack.enter_context(open(terminal, "w"))
        yield stack.enter_context(
            tqdm(total=total, desc=label, unit="run", file=sink, disable=sink is None)
        )


# --- provenance -------------------------------------------------------------------------------


def _git_state(function: Callable) -> dict[str, Any]:
    """The commit of the function's sources, and whether they differ from it; None outside git."""
    files = [str(path.resolve()) for path in sources(function).values()]
    folder = str(Path(inspect.getsourcefile(function)).resolve().parent)

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", folder, *words], capture_output=True, text=True, timeout=20
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    changes = git("status", "--porcelain", "--", *files) if commit else None
    return {"commit": commit, "dirty": None if changes is None else bool(changes)}


def _versions() -> dict[str, str]:
    packages = ("torch", "torchvision", "numpy", "scipy", "scikit-learn")
    found = {"python": platform.python_version()}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def _processor() -> str:
    """The model name of the CPU."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _peak_memory(gpu: str | None) -> float:
    """MiB: of the GPU during this run, or the most this process has used so far."""
    if gpu is not None:
        return round(torch.cuda.max_memory_allocated(gpu) / 2**20, 1)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB on Linux, bytes on macOS
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


if __name__ == "__main__":
    from lib.verify import main

    sys.exit(main())
