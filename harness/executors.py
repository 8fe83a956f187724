"""Executors by name: this process, the cores of this machine, a Dask cluster."""

from __future__ import annotations

import concurrent.futures
import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from typing import Any

ANSWER_SECONDS = 10  # within which a scheduler must answer


class SchedulerLost(ConnectionError):
    """The scheduler of a Dask cluster cannot be reached; the message names its address."""


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
        return DaskExecutor.at(rest)
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


class DaskExecutor(Executor):
    """The workers of a Dask cluster; a run that loses the scheduler raises `SchedulerLost`."""

    def __init__(self, client: Any) -> None:
        self._client, self._address = client, client.scheduler.address
        self._pool = client.get_executor()

    @classmethod
    def at(cls, address: str) -> DaskExecutor:
        """Raises ImportError without Dask, SchedulerLost when nobody answers at the address."""
        try:
            from distributed import Client
        except ImportError:
            raise ImportError(
                f"The executor 'dask:{address}' needs Dask: install dask[distributed]."
            ) from None
        try:
            return cls(Client(address, timeout=ANSWER_SECONDS, set_as_default=False))
        except (OSError, ValueError) as error:  # ValueError: no address at all
            raise SchedulerLost(f"No Dask scheduler answers at {address}: {error}") from error

    def submit(self, function: Callable, /, *args: Any, **kwargs: Any) -> Future:
        if self._client.status != "running":  # Dask would wait for the scheduler to come back
            raise self._lost()
        answer: Future = Future()
        asked = self._pool.submit(function, *args, pure=False, **kwargs)
        asked.add_done_callback(lambda done: self._pass_on(done, answer))
        return answer

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._client.close(timeout=ANSWER_SECONDS)

    def _pass_on(self, done: Future, answer: Future) -> None:
        """Dask cancels what it has under way when it loses the scheduler."""
        try:
            answer.set_result(done.result())
        except concurrent.futures.CancelledError:
            answer.set_exception(self._lost())
        except Exception as error:
            answer.set_exception(error)

    def _lost(self) -> SchedulerLost:
        return SchedulerLost(
            f"The Dask scheduler at {self._address} was lost: start it again, then this sweep; "
            "what is finished is kept."
        )


def dashboard(address: str) -> str | None:
    """Where the dashboard of the Dask scheduler at this address is; None if it has none.

    Raises ImportError without Dask, SchedulerLost when nobody answers.
    """
    pool = DaskExecutor.at(address)
    try:
        serves = "dashboard" in pool._client.scheduler_info().get("services", {})
        return pool._client.dashboard_link if serves else None
    finally:
        pool.shutdown()


@contextlib.contextmanager
def pool_of(executor: Executor | str | None) -> Iterator[Executor]:
    """The executor itself, or the one that is named.

    loky's processes stay for the next sweep, but end at once when this one is interrupted. A
    client of Dask that was opened here is closed.
    """
    given = isinstance(executor, Executor)
    pool = executor if given else make_executor(executor or "serial")
    if type(pool).__module__.startswith("distributed"):
        pool = DaskExecutor(pool._client)
    try:
        yield pool
    except KeyboardInterrupt:
        if isinstance(pool, LokyExecutor):
            pool.shutdown(cancel_futures=True)
        raise
    finally:
        if isinstance(pool, DaskExecutor) and not given:
            pool.shutdown()
