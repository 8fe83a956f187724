"""Chapters 1 and 2: from results to measures."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

# --- reading the results ----------------------------------------------------------------------


def tuned_runs(
    rates: Mapping[tuple[str, str], float],
    lengths: Mapping[str, int],
    *,
    architectures: Sequence[str] = ("MLP", "CNN", "ViT"),
    times: float = 1.0,
    **axes: Any,
) -> list[dict[str, Any]]:
    """Runs of every architecture on every data set in `lengths`, at its tuned learning rate.

    rates: from `tuned`; a variant has the rate of the architecture that it takes the place of,
    and a data set without a rate is left with a rate of 0, a run that nobody made.
    lengths: {data set: epochs}, of which `times` as many are trained.  axes: as for `grid`.
    """
    return [
        run
        for dataset, epochs in lengths.items()
        for architecture in architectures
        for run in grid(
            dataset=dataset,
            architecture=architecture,
            lr=rates.get((dataset, architecture.split()[0]), 0.0),
            epochs=max(1, int(times * epochs)),
            **axes,
        )
    ]


def tuned(results: Sequence[Result]) -> dict[tuple[str, str], float]:
    """{(data set, architecture): learning rate} with the best mean validation accuracy.

    Diverged runs are left out; of equals the smaller rate is taken.
    """
    scores: dict[tuple[str, str], dict[float, list[float]]] = {}
    for result in results:
        p = result.parameters
        if not result["diverged"]:
            of_cell = scores.setdefault((p["dataset"], p["architecture"]), {})
            of_cell.setdefault(p["lr"], []).append(result["accuracy_validation"])
    return {
        cell: max(sorted(rates), key=lambda lr: np.mean(rates[lr]))
        for cell, rates in scores.items()
    }


def along(results: Sequence[Result]) -> pd.DataFrame:
    """One row an observation and test set: epoch, accuracy, loss, and the run's parameters."""
    rows = []
    for result in results:
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


def epochs_to_loss(result: Result, target: float) -> float:
    """Epochs until the training loss is at most `target`, between observations by its logarithm.

    Infinite where it never is.
    """
    epochs = result["observed_steps"] / result["steps_per_epoch"]
    loss = np.asarray(result["train_loss"], dtype=float)
    below = np.flatnonzero(loss <= target)
    if not len(below):
        return math.inf
    i = below[0]
    if i == 0:
        return float(epochs[0])
    share = math.log(loss[i - 1] / target) / math.log(loss[i - 1] / loss[i])
    return float(epochs[i - 1] + share * (epochs[i] - epochs[i - 1]))


def difference_at_loss(result: Result, target: float, measure: str = "accuracies") -> float:
    """The same difference when the training loss first is `target`; NaN where it never is."""
    epoch = epochs_to_loss(result, target)
    if not math.isfinite(epoch):
        return math.nan
    epochs = result["observed_steps"] / result["steps_per_epoch"]
    shortcut, clean = np.asarray(result[measure], dtype=float).T
    return abs(np.interp(epoch, epochs, shortcut) - np.interp(epoch, epochs, clean))
