"""Chapters 1 and 2: from results to numbers, for figures, claims and sentences alike."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from chapters.shared import STAND_INS
from harness.results import Result, Runs
from harness.statistics import Interval, over_seeds
from harness.sweep import grid

ARCHITECTURES = ("MLP", "CNN", "ViT")
SEEDS_FOR_A_CLAIM = 5

# --- which runs -------------------------------------------------------------------------------


def tuned(runs: Sequence[Result]) -> dict[tuple[str, str], float]:
    """{(data set, architecture): learning rate} with the best mean validation accuracy.

    Diverged runs are left out; of equals the smaller rate is taken.
    """
    scores: dict[tuple[str, str], dict[float, list[float]]] = {}
    for result in runs:
        p = result.parameters
        if not result["diverged"]:
            of_cell = scores.setdefault((p["dataset"], p["architecture"]), {})
            of_cell.setdefault(p["lr"], []).append(result["accuracy_validation"])
    return {
        cell: max(sorted(rates), key=lambda lr: np.mean(rates[lr]))
        for cell, rates in scores.items()
    }


def tuned_runs(
    best: Mapping[tuple[str, str], float],
    lengths: Mapping[str, int],
    *,
    architectures: Sequence[str] = ARCHITECTURES,
    times: float = 1.0,
    **axes: Any,
) -> list[dict[str, Any]]:
    """Runs of every architecture on every data set in `lengths`, at its best learning rate.

    best: from `tuned`; a variant has the rate of the architecture that it takes the place of, and
    what has no rate has no runs.
    lengths: {data set: epochs}, of which `times` as many are trained.  axes: as for `grid`.
    """
    return [
        run
        for dataset, epochs in lengths.items()
        for architecture in architectures
        if (cell := (dataset, architecture.split()[0])) in best
        for run in grid(
            dataset=dataset,
            architecture=architecture,
            lr=best[cell],
            epochs=max(1, int(times * epochs)),
            **axes,
        )
    ]


def converged(runs: Runs) -> Runs:
    """The runs that did not diverge, and all that are not there."""
    return runs.filter(lambda result: not result.scalars.get("diverged", 0))


def without_diverged(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of groups of runs, which it gets without those that diverged."""

    def kept(given: Any) -> Any:
        return converged(given) if isinstance(given, Runs) else given

    @functools.wraps(function)
    def of_converged(*args: Any, **kwargs: Any) -> Any:
        return function(*map(kept, args), **{name: kept(given) for name, given in kwargs.items()})

    return of_converged


def in_four_sets(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of evidence by part, without a set that stands in for one that was run, too."""

    @functools.wraps(function)
    def of_four(*args: Any, **kwargs: Any) -> Any:
        return of_the_four(function(*args, **kwargs))

    return of_four


def of_the_four(parts: Mapping[str, Any]) -> dict[str, Any]:
    """The parts, "MNIST" or "MLP, MNIST", but for those of a set that only stands in."""
    there = {part.rpartition(", ")[2] for part in parts}
    needless = {own for own, of in STAND_INS.items() if of in there}
    return {part: v for part, v in parts.items() if part.rpartition(", ")[2] not in needless}


def cells(runs: Runs) -> dict[str, Runs]:
    """{"MLP, MNIST": its runs} for every architecture and data set that is there."""
    return {
        f"{architecture}, {runs.title(dataset)}": own
        for dataset in runs.of("dataset")
        for architecture in runs.where(dataset=dataset).of("architecture")
        if (own := runs.where(dataset=dataset, architecture=architecture))
    }


# --- numbers ----------------------------------------------------------------------------------


def mean(runs: Runs, measure: str, **where: Any) -> float:
    """Mean of a scalar over the runs that did not diverge; NaN where there are none."""
    values = converged(runs).where(**where).values(measure)
    return float(np.mean(values)) if values else math.nan


def percent(runs: Runs, measure: str, **where: Any) -> str:
    """`mean` as a share of 100, for a sentence; a dash where there is none."""
    value = mean(runs, measure, **where)
    return f"{value:.0%}" if math.isfinite(value) else "–"


def spread(runs: Runs, measure: str, form: str = ".0%", **where: Any) -> str:
    """The smallest and the largest mean of architectures and data sets: "14% to 62%"."""
    here = cells(converged(runs).where(**where))
    return from_to([mean(own, measure) for own in here.values()], form)


def from_to(values: Sequence[float], form: str) -> str:
    """The smallest and the largest value, or the one that both are in this format."""
    if not values:
        return "–"
    low, high = format(min(values), form), format(max(values), form)
    return low if low == high else f"{low} to {high}"


def spread_of_sets(runs: Runs, measure: str, form: str = ".0%") -> str:
    """The smallest and the largest mean of the data sets: "98.9% to 100.0%"."""
    return from_to([mean(runs, measure, dataset=d) for d in runs.of("dataset")], form)


def by_architecture(runs: Runs, measure: str, form: str = ".0%", **where: Any) -> str:
    """The mean of each architecture, for a sentence: "0.91 (MLP), 0.85 (CNN)"."""
    here = converged(runs).where(**where)
    means = {a: mean(here, measure, architecture=a) for a in here.of("architecture")}
    return ", ".join(f"{value:{form}} ({a})" for a, value in means.items()) or "–"


def paired(a: Runs, b: Runs, measure: str) -> Interval:
    """a − b with its 95 % interval over seeds, as `paired_by_seed`."""
    return over_seeds(paired_by_seed(a, b, measure))


def paired_by_seed(a: Runs, b: Runs, measure: str) -> list[float]:
    """a − b, one value a seed; each run of `a` is compared with its like in `b`.

    Alike are runs of one data set, architecture and seed. Within a seed the differences are
    averaged.
    """
    alike = ("dataset", "architecture", "seed")
    others = {tuple(r.parameters[k] for k in alike): r[measure] for r in converged(b)}
    gaps: dict[int, list[float]] = {}
    for result in converged(a):
        key = tuple(result.parameters[k] for k in alike)
        if key in others:
            gaps.setdefault(key[-1], []).append(result[measure] - others[key])
    return [float(np.mean(own)) for own in gaps.values()]


def for_a_claim(values: Sequence[float]) -> Interval:
    """The interval over seeds that a sentence which compares stands on.

    With fewer than five seeds it carries nothing.
    """
    return over_seeds(values if len(values) >= SEEDS_FOR_A_CLAIM else [])


def clear(values: Sequence[float]) -> bool:
    """Whether five seeds or more say that these differences are above 0."""
    return for_a_claim(values).low > 0


def lost(planted: Runs, control: Runs) -> dict[str, list[float]]:
    """Clean accuracy of the control − that of the network which met patches, by cell and seed."""
    found = {
        name: paired_by_seed(control.where(**_cell(own)), own, "accuracy_clean")
        for name, own in cells(converged(planted)).items()
    }
    return {name: values for name, values in found.items() if values}


# --- tables -----------------------------------------------------------------------------------


def patch_alone(alone: Runs) -> pd.DataFrame:
    """How well the pixels under the patches tell the class, and all others; one row a data set."""
    columns = {
        "patch pixels only": "patch_pixels_accuracy",
        "all other pixels": "other_pixels_accuracy",
    }
    rows = [
        {
            "data set": alone.title(dataset),
            **{shown: mean(alone, m, dataset=dataset) for shown, m in columns.items()},
        }
        for dataset in alone.of("dataset")
    ]
    return pd.DataFrame(rows, columns=["data set", *columns])


def settings(planted: Runs, control: Runs) -> pd.DataFrame:
    """What each network saw, its learning rate, and its accuracy if it never meets a patch."""
    rows = [
        {
            "data set": planted.title(own[0].parameters["dataset"]),
            "architecture": own[0].parameters["architecture"],
            "training images": own[0]["training_images"],
            "test images": own[0]["test_images"],
            "learning rate": own[0].parameters["lr"],
            "epochs": own[0].parameters["epochs"],
            "control": mean(control, "accuracy_clean", **_cell(own)),
        }
        for own in cells(planted).values()
    ]
    return pd.DataFrame(rows)


def gradient_in_patch(planted: Runs, control: Runs) -> pd.DataFrame:
    """Gradient inside the patch's place over that outside; one row a network and data set."""
    rows = [
        {
            "network": name,
            "with patches": mean(own, "saliency_ratio"),
            "never": mean(control, "saliency_ratio", **_cell(own)),
            "difference": _shown(paired(own, control, "saliency_ratio")),
            "believed": mean(own, "follows_patch"),
        }
        for name, own in cells(converged(planted)).items()
    ]
    return pd.DataFrame(rows)


def _shown(interval: Interval) -> str:
    return "–" if math.isnan(interval.estimate) else str(interval)


def gradient_ranks(planted: Runs) -> list[float]:
    """Over networks, the rank correlation of that ratio with the belief in wrong patches, by seed.

    Seeds with fewer than three networks, or with networks that are all alike, are left out.
    """
    here = converged(planted)
    found = []
    for seed in here.of("seed"):
        own = here.where(seed=seed)
        ratio, believed = own.values("saliency_ratio"), own.values("follows_patch")
        if len(own) > 2 and min(len(set(ratio)), len(set(believed))) > 1:
            found.append(float(spearmanr(ratio, believed).statistic))
    return found


def _cell(runs: Runs) -> dict[str, str]:
    return {key: runs[0].parameters[key] for key in ("dataset", "architecture")}


def last_set(runs: Runs) -> str:
    """What the last data set is called; a dash without runs."""
    return runs.title(runs[-1].parameters["dataset"]) if runs else "–"


def last_network(runs: Runs) -> str:
    """The last network in words: "ViT on MNIST"."""
    return f"{runs[-1].parameters['architecture']} on {last_set(runs)}" if runs else "network"


# --- along training ---------------------------------------------------------------------------


def along(runs: Sequence[Result]) -> pd.DataFrame:
    """One row an observation and test set: epoch, accuracy, loss, and the run's parameters."""
    rows = []
    for result in runs:
        epochs = result["observed_steps"] / result["steps_per_epoch"]
        for column, name in enumerate(("with the patch", "without")):
            for epoch, accuracy, loss in zip(
                epochs, result["accuracies"][:, column], result["losses"][:, column]
            ):
                values = {"epoch": epoch, "accuracy": accuracy, "loss": loss, "test images": name}
                rows.append({**result.parameters, **values})
    return pd.DataFrame(rows)


def difference_at_epoch(result: Result, epoch: float, measure: str = "accuracies") -> float:
    """Accuracy (or `losses`: Loss) Difference at the last observation up to `epoch`."""
    epochs = result["observed_steps"] / result["steps_per_epoch"]
    shortcut, clean = result[measure][np.flatnonzero(epochs <= epoch + 1e-9)[-1]]
    return abs(float(shortcut) - float(clean))


def epochs_to_loss(result: Result, target: float, on: str = "training") -> float:
    """Epochs until the loss is at most `target`, between observations by its logarithm.

    on: "training", a running mean over twenty batches that lags behind, or "test", test images with
    the shortcut at the observation itself. Infinite where it never is.
    """
    epochs = result["observed_steps"] / result["steps_per_epoch"]
    loss = result["train_loss"] if on == "training" else result["losses"][:, 0]
    loss = np.asarray(loss, dtype=float)
    below = np.flatnonzero(loss <= target)
    if not len(below):
        return math.inf
    i = below[0]
    if i == 0:
        return float(epochs[0])
    after = max(loss[i], 1e-12)  # a loss can round to 0
    share = math.log(loss[i - 1] / target) / math.log(loss[i - 1] / after)
    return float(epochs[i - 1] + share * (epochs[i] - epochs[i - 1]))


def difference_at_loss(result: Result, target: float, on: str = "training") -> float:
    """Accuracy Difference when the loss first is `target`; NaN where it never is."""
    epoch = epochs_to_loss(result, target, on)
    if not math.isfinite(epoch):
        return math.nan
    epochs = result["observed_steps"] / result["steps_per_epoch"]
    shortcut, clean = np.asarray(result["accuracies"], dtype=float).T
    return abs(np.interp(epoch, epochs, shortcut) - np.interp(epoch, epochs, clean))
