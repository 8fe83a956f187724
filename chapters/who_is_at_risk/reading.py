"""Chapter 10: from runs to the values that its figures, claims and sentences share."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from chapters.who_is_at_risk.design import DEFENCES, PLAIN, RECIPES, case, row
from harness.results import Result, Runs
from harness.statistics import Interval, lowest, over_seeds, paired


def of(runs: Runs, dataset: str, name: str) -> Runs:
    """The runs of a row on a data set."""
    return runs.where(dataset=dataset, **case(name))


def null(run: Result, measure: str) -> float:
    """The most that any of three nulls reaches; measure: "hits" or "close".

    Held-out images: one in a hundred is above its own 99 % quantile, and as large a share of n is
    close as of them.  Span: mixtures of the row space.  Rows: those of the layer, as they are.
    """
    n = run.parameters["n"]
    by_chance = 0.01 * n if measure == "hits" else run["close_held_out"] * n / run["strangers"]
    return max(by_chance, run[f"span_{measure}"], run[f"rows_{measure}"])


def over_null(runs: Runs, measure: str = "hits") -> list[float]:
    """What comes back beyond the strongest null on the same network, by run."""
    return [run[measure] - null(run, measure) for run in runs]


def share(runs: Runs, measure: str = "hits") -> list[float]:
    """As shares of the training images, by run."""
    return [run[measure] / run.parameters["n"] for run in runs]


def null_share(runs: Runs, measure: str = "hits") -> list[float]:
    return [null(run, measure) / run.parameters["n"] for run in runs]


def mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def seeds(runs: Runs) -> list[int]:
    return sorted(runs.of("seed"))


def together(runs: Runs, first: Runs, measure: str) -> tuple[list[float], list[float]]:
    """The values of a measure in two groups on the seeds that both have, in one order."""
    one, two = ({r.parameters["seed"]: float(r[measure]) for r in each} for each in (runs, first))
    both = sorted(one.keys() & two.keys())
    return [one[seed] for seed in both], [two[seed] for seed in both]


def difference(runs: Runs, dataset: str, a: str, b: str, measure: str = "hits") -> Interval:
    """A row's measure minus another's on the same seeds and images."""
    return paired(*together(of(runs, dataset, a), of(runs, dataset, b), measure))


def everywhere(runs: Runs, values: Callable[[str], Interval]) -> Interval:
    """The interval of the data set where it reaches lowest."""
    return lowest([values(dataset) for dataset in runs.of("dataset")])


def beyond(runs: Runs, dataset: str, name: str, measure: str = "hits") -> Interval:
    """What a row brings back beyond its strongest null, over seeds."""
    return over_seeds(over_null(of(runs, dataset, name), measure))


def precision(runs: Runs, kind: str = "trusted_ncc", close: float = 0.7) -> np.ndarray:
    """Share of close ones among the first k that the attack trusts, mean over runs, [k]."""
    length = min(len(run[kind]) for run in runs)
    close_ones = np.array([np.asarray(run[kind])[:length] > close for run in runs])
    return (close_ones.cumsum(1) / np.arange(1, length + 1)).mean(0)


def last(runs: Runs) -> Runs:
    """The runs on the last data set that any of them has."""
    return runs.where(dataset=runs.of("dataset")[-1:])


# --- tables -----------------------------------------------------------------------------------

COLUMNS = {
    "found": "hits",
    "null, found": "null_hits",
    "close": "close",
    "null, close": "null_close",
    "AUROC": "auroc",
    "span, AUROC": "span_auroc",
    "median NCC": "median_ncc",
    "first 20": "trusted_20",
    "rank": "rank",
    "seconds": "attack_seconds",
    "train acc.": "train_accuracy",
    "test acc.": "test_accuracy",
    "margin": "smallest_margin",
}
FORMATS = {
    **dict.fromkeys(("found", "null, found", "close", "null, close", "seconds", "margin"), ".1f"),
    **dict.fromkeys(("AUROC", "span, AUROC", "median NCC"), ".2f"),
    **dict.fromkeys(("first 20", "train acc.", "test acc."), ".0%"),
    "rank": ".0f",
}


def _averaged(runs: Runs, keys: Sequence[str], named: Mapping[str, str]) -> pd.DataFrame:
    """Means over seeds of all measures, a row for each combination of the keys."""
    if not runs:
        return pd.DataFrame()
    frame = runs.frame().assign(
        null_hits=[null(run, "hits") for run in runs],
        null_close=[null(run, "close") for run in runs],
        training=[named.get(row(run.parameters), row(run.parameters)) for run in runs],
    )
    groups = frame.groupby(list(keys), sort=False)
    means = groups[list(COLUMNS.values())].mean().set_axis(list(COLUMNS), axis=1)
    return means.assign(seeds=groups["seed"].count()).reset_index()


def recipes(read: Runs) -> pd.DataFrame:
    """One row a data set and recipe."""
    return _averaged(read, ["data set", "training"], RECIPES)


def defences(guarded: Runs) -> pd.DataFrame:
    """One row a data set and defence; ε where there is one."""
    table = _averaged(guarded, ["data set", "training"], DEFENCES)
    if table.empty:
        return table
    spent = {}
    for run in guarded:
        if "epsilon" in run.scalars:
            place = guarded.title(run.parameters["dataset"]), DEFENCES[row(run.parameters)]
            spent.setdefault(place, []).append(run["epsilon"])
    places = zip(table["data set"], table["training"])
    table["ε"] = [mean(spent.get(place, [])) for place in places]
    return table.rename(columns={"training": "defence"})


def sizes(read: Runs, keys: Sequence[str] = ("data set", "n", "start known")) -> pd.DataFrame:
    """One row a data set, number of images and what is known of the start."""
    if not read:
        return pd.DataFrame()
    table = _averaged(read, ["data set", *(k for k in keys[1:-1]), "start_known"], {})
    return table.rename(columns={"start_known": "start known"})


# --- of defences ------------------------------------------------------------------------------


def trade(guarded: Runs, dataset: str) -> pd.DataFrame:
    """Accuracy and share found of each defence on a data set, means over seeds."""
    rows = [
        (DEFENCES[name], mean(runs.values("test_accuracy")), mean(share(runs)),
         mean(null_share(runs)))
        for name in DEFENCES
        if (runs := of(guarded, dataset, name))
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["defence", "accuracy", "found", "null"])


def cost(guarded: Runs, dataset: str, name: str) -> tuple[Interval, Interval]:
    """(images fewer found, accuracy lost) with a defence than without, on the same seeds."""
    return (
        difference(guarded, dataset, PLAIN, name),
        difference(guarded, dataset, PLAIN, name, "test_accuracy"),
    )
