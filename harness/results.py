"""Results of runs, one by one and together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


class Arrays(Mapping[str, np.ndarray]):
    """The arrays of a result by name; read from the NPZ file when first asked for."""

    def __init__(self, source: Path | Mapping[str, np.ndarray], names: Sequence[str]) -> None:
        self._source = source
        self._names = tuple(names)

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._names:
            raise KeyError(name)
        if isinstance(self._source, Path):
            with np.load(self._source, allow_pickle=False) as stored:
                self._source = {key: stored[key] for key in self._names}
        return self._source[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@dataclass(frozen=True, eq=False)
class Result:
    """One run.

    status: "computed" (just now), "reused" (from its file), "stale" (from its file, but the code
    has changed since), "missing" (no trustworthy file, and nothing was to be computed) or
    "failed" (`error` holds the traceback). `result["auroc"]` looks among the scalars, then the
    arrays. `notes` tell what a reader should know, such as damage that was found and repaired.
    """

    function: str
    parameters: Mapping[str, Any]
    status: str
    scalars: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None
    notes: tuple[str, ...] = ()
    path: Path | None = None

    def __getitem__(self, name: str) -> Any:
        if name in self.scalars:
            return self.scalars[name]
        if name in self.arrays:
            return self.arrays[name]
        if name in self.provenance.get("left_out", {}):
            raise KeyError(f"{name!r} of {self.label} was left out of what is published.")
        raise KeyError(
            f"{self.label} ({self.status}) has no {name!r}; it has "
            f"{', '.join([*self.scalars, *self.arrays]) or 'no values'}."
        )

    @property
    def label(self) -> str:
        """The run in words, for messages: `reconstruct(n=50, seed=0)`."""
        return described(self.function, self.parameters)


def described(function: str, parameters: Mapping[str, Any]) -> str:
    """A run in words, for messages; of a path only the last part, as pages hold no paths."""
    values = ", ".join(f"{key}={_short(value)!r}" for key, value in parameters.items())
    return f"{function.rpartition('.')[2]}({values})"


def _short(value: Any) -> Any:
    return value.rstrip("/").rpartition("/")[2] if isinstance(value, str) else value


def frame(results: Sequence[Result]) -> pd.DataFrame:
    """One row a run: its parameters, its scalars and its status.

    Raises ValueError when a scalar has the name of a parameter but another value.
    """
    import pandas as pd  # slow to import, and workers, which only compute, need none

    rows = []
    for result in results:
        for name in result.parameters.keys() & result.scalars.keys():
            if result.parameters[name] != result.scalars[name]:
                raise ValueError(f"{result.label} returned another {name!r}: rename the scalar.")
        rows.append({**result.parameters, **result.scalars, "status": result.status})
    return pd.DataFrame(rows)


class Runs(Sequence[Result]):
    """The runs of one question that have values; those that have not are in `absent`.

    A sequence of results in the order of the grid.  title: what a data set is called, for tables.
    """

    def __init__(self, results: Iterable[Result], *, title: Callable[[str], str] = str) -> None:
        self.all = tuple(results)
        self.title = title
        self.absent = tuple(r for r in self.all if r.status in ("failed", "missing"))
        self._here = tuple(r for r in self.all if r.status not in ("failed", "missing"))

    def __getitem__(self, index):
        return self._here[index]

    def __len__(self) -> int:
        return len(self._here)

    def __add__(self, other: Runs) -> Runs:
        return Runs((*self.all, *other.all), title=self.title)

    def where(self, **parameters: Any) -> Runs:
        """Those whose parameters have these values; a list of values allows each of them."""

        def fits(result: Result) -> bool:
            return all(
                result.parameters.get(key) in (value if isinstance(value, list) else [value])
                for key, value in parameters.items()
            )

        return Runs(filter(fits, self.all), title=self.title)

    def filter(self, condition: Callable[[Result], bool]) -> Runs:
        """Those that are there and meet a condition, and all that are not there."""
        kept = [r for r in self.all if r in self.absent or condition(r)]
        return Runs(kept, title=self.title)

    def of(self, parameter: str) -> list[Any]:
        """The values of a parameter among the runs that are there, each once, in their order."""
        return list(dict.fromkeys(result.parameters[parameter] for result in self))

    def values(self, name: str) -> list[Any]:
        """One scalar or array of every run."""
        return [result[name] for result in self]

    def frame(self) -> pd.DataFrame:
        """One row a run: parameters, scalars, and the title of the data set as "data set"."""
        table = frame(self)
        if "dataset" in table:
            table["data set"] = table["dataset"].map(self.title)
        return table


def reason(result: Result) -> str:
    """Why a run failed, in one line; the end of its traceback."""
    lines = (result.error or "").strip().splitlines()
    return lines[-1] if lines else "no reason is known"


def status(results: Sequence[Result], *, listed: int = 6) -> str:
    """How many runs are there, how many of them are stale, which are not and why; as Markdown.

    Each distinct reason of a failure stands once, with how many runs it ended. Missing runs are
    named one by one up to `listed` of them, else counted by function and data set.
    """
    here = [result for result in results if result.status not in ("failed", "missing")]
    stale = sum(result.status == "stale" for result in results)
    text = f"{len(here):,} of {len(results):,} runs are there" + (
        f", {stale:,} of them older than the code that would make them now." if stale else "."
    )
    failed = Counter(reason(result) for result in results if result.status == "failed")
    missing = [result for result in results if result.status == "missing"]
    lines = [f"failed: {count:,} with `{why}`" for why, count in failed.items()]
    if len(missing) <= listed:
        lines += [f"missing: {result.label}" for result in missing]
    else:
        groups = Counter(
            (r.function.rpartition(".")[2], r.parameters.get("dataset")) for r in missing
        )
        lines += [
            f"missing: {count:,} of {name}" + (f" on {dataset}" if dataset else "")
            for (name, dataset), count in groups.items()
        ]
    return text + ("\n\nNot there:\n" + "".join(f"\n- {line}" for line in lines) if lines else "")
