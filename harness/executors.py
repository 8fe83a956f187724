"""Executors by name: this process, the cores of this machine, a Dask cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from typing import Any

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
def pool_of(executor: Executor | str | None) -> Iterator[Executor]:
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
