"""What a notebook opens: the runs of a chapter, computed, read or missing."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from harness.claims import Verdict
from harness.results import Result, Runs
from harness.sweep import grid, sweep


class Study:
    """Runs of functions over grids of parameters, kept in one folder.

        study = Study("results", executor="loky:2", threads=1)
        attacked = study(runs.attack, dataset=["mnist"], n=50, seed=range(5))

    results: folder of finished runs.  compute: False only reads what is there.
    executor: "serial", "loky:4" or "dask:tcp://host:port".  threads: of torch, in each run.
    device: handed to the functions that have such a parameter.
    missing: {data set: why it cannot be had}; runs on these are looked up, never computed.
    title: what a data set is called.  ledger: folder of the claims that the chapter judges.
    stand_ins: {title of a data set: that of the one in whose place it is run}.
    """

    def __init__(
        self,
        results: str | Path,
        *,
        compute: bool = True,
        executor: Executor | str = "serial",
        threads: int = 1,
        device: str = "cpu",
        missing: Mapping[str, str] | None = None,
        title: Callable[[str], str] = str,
        ledger: str | Path = "claims",
        stand_ins: Mapping[str, str] | None = None,
    ) -> None:
        self.folder, self.compute = Path(results), compute
        self.executor, self.threads, self.device = executor, threads, device
        self.missing, self.title, self.ledger = dict(missing or {}), title, Path(ledger)
        self.stand_ins = dict(stand_ins or {})
        self.results: list[Result] = []  # of every question so far

    def __call__(
        self,
        function: Callable[..., Mapping[str, Any]],
        cases: Sequence[Mapping[str, Any]] = ({},),
        **axes: Any,
    ) -> Runs:
        """The runs of `function` for every combination of the axes, within each case.

        cases: parameters that belong together, such as a protocol with its number of epochs.
        An axis that is a list has one run a value; anything else is the same in all runs.
        Raises ValueError for parameters that do not fit the function.
        """
        return self.groups(
            function, {"": [{**run, **case} for run in grid(**axes) for case in cases]}
        )[""]

    def groups(
        self,
        function: Callable[..., Mapping[str, Any]],
        groups: Mapping[str, Sequence[Mapping[str, Any]]],
    ) -> dict[str, Runs]:
        """The runs of several questions in one sweep, so that no worker is idle; by question.

        A run that several questions share is made once.
        """
        where = {}
        if self.device != "cpu" and "device" in inspect.signature(function).parameters:
            where["device"] = self.device
        found = iter(
            sweep(
                function,
                [{**run, **where} for runs in groups.values() for run in runs],
                folder=self.folder,
                compute=lambda run: self.compute and run.get("dataset") not in self.missing,
                executor=self.executor,
                threads=self.threads,
            )
        )
        answered = {
            name: Runs((next(found) for _ in runs), title=self.title)
            for name, runs in groups.items()
        }
        seen = {result.path for result in self.results}
        for runs in answered.values():
            for result in runs.all:
                if result.path not in seen:
                    seen.add(result.path)
                    self.results.append(result)
        return answered

    def stood_in(self, verdicts: Sequence[Verdict]) -> str:
        """A sentence on the data sets that were run in place of others; nothing without any."""
        parts = " ".join(part for verdict in verdicts for part in verdict.parts)
        told = [f"{own} in place of {of}" for own, of in self.stand_ins.items() if own in parts]
        return f" Run here: {', '.join(told)}." if told else ""
