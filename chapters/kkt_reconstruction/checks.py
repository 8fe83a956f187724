"""Chapter 7: numbers and tables of the checks of the paper's method, and of twins of its attack."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from chapters.kkt_reconstruction.reading import mean
from harness.results import Result, Runs
from harness.statistics import Interval, lowest, paired

ITERATIONS = 100_000  # of the paper's attack (B.1)
BASE = {"change": "released", "first": "1e-4"}  # what every twin is held against
FORMS = {
    "plain": "differentiated twice",
    "gram": "inner products in every layer",
    "mixed": "each layer's cheaper form",
}


# --- parts by themselves ----------------------------------------------------------------------


def padding(padded: Runs) -> str:
    """How far padding and duplicating move the loss of a solution, as a sentence."""
    if not padded:
        return "*Not run: padded and duplicated solutions.*"
    most = max(max(run["change_padded"], run["change_duplicated"]) for run in padded)
    left = np.mean([run["solution"] / run["squared_norm"] for run in padded])
    return (
        "The loss of a solution, the training images with fitted multipliers, moves by up to "
        f"{most:.1g} over {len(padded)} trained networks when it is padded with as many random points "
        "of multiplier 0, or when images are doubled and their multipliers halved. These solutions "
        f"leave {left:.2f} of the weights unexplained."
    )


def counts(counted: Runs) -> str:
    """Equations and unknowns of the paper's networks, as a sentence."""
    if not counted:
        return "*Not run: the counts of equations and unknowns.*"
    run = counted[0]
    return (
        f"A network of two layers of 1,000 for CIFAR-10 has {run['parameters_width_1000']:,} "
        f"parameters, one of two layers of 100 has {run['parameters_width_100']:,}; five hundred "
        f"images have {run['unknowns']:,} pixels."
    )


def minutes(step_seconds: float) -> float:
    """Of the paper's 100,000 iterations at so many seconds each."""
    return step_seconds * ITERATIONS / 60


def steps(timed: Runs) -> pd.DataFrame:
    """A row a form of the step: milliseconds, hours of the whole attack, and the gain."""
    return pd.DataFrame([
        {
            "candidates": run.parameters["m"],
            "form": title,
            "ms a step": 1000 * run[f"{form}_seconds"],
            "hours of 100,000": minutes(run[f"{form}_seconds"]) / 60,
            "gain": run["plain_seconds"] / run[f"{form}_seconds"],
        }
        for run in timed
        for form, title in FORMS.items()
    ])  # fmt: skip


def hardware(timed: Runs) -> str:
    """Where the steps were timed, with the number of threads."""
    made = {
        f"{run.provenance.get('device', 'unknown')}, threads: {run.provenance.get('threads')}"
        for run in timed
    }
    return "; ".join(sorted(made)) or "–"


def processing(processed: Runs) -> pd.DataFrame:
    """A row a data set, search and vote: pairs found, and mean SSIM by window."""
    frame = pd.DataFrame([
        {
            "data set": processed.title(run.parameters["dataset"]),
            "search": search,
            "vote": vote,
            "pairs found": found,
            "window": f"SSIM, window {window}",
            "ssim": ssim,
        }
        for run in processed
        for search, vote, window, found, ssim in zip(
            run["search"], run["vote"], run["window"], run["found"], run["mean_ssim"]
        )
    ])  # fmt: skip
    if frame.empty:
        return frame
    windows = list(dict.fromkeys(frame["window"]))
    keys = ["data set", "search", "vote", "pairs found"]
    wide = frame.pivot_table(index=keys, columns="window", values="ssim", sort=False)
    return wide[windows].reset_index().rename_axis(columns=None)


def convolution(convolved: Runs) -> pd.DataFrame:
    """A row a data set: what the attack on a convolutional network reaches, beside mixtures."""
    return pd.DataFrame([
        {
            "data set": convolved.title(dataset),
            "seeds": len(own),
            "residual": float(np.mean(own.values("residual"))),
            **{
                title: float(np.mean(own.values(prefix + name)))
                for prefix, words in (("", ""), ("mixtures_", "mixtures, "))
                for name, title in (
                    ("auroc", f"{words}AUROC"), ("hits", f"{words}found"),
                    ("close", f"{words}close"),
                )
            },
            "seconds": float(np.mean(own.values("attack_seconds"))),
        }
        for dataset in convolved.of("dataset")
        for own in [convolved.where(dataset=dataset)]
    ])  # fmt: skip


def plane(freed: Runs, circles: Runs) -> str:
    """What the paper's attack recovers in the plane, beside the search of this book."""
    if not freed:
        return "*Not run: the paper's attack in the plane.*"
    return (
        f"With its multipliers free the paper's attack recovers {mean(freed, 'recovered')} of 20 "
        f"points (mean of {len(freed)} networks); the filters leave {mean(freed, 'filtered_points')} "
        f"candidates, {mean(freed, 'filtered_precision', '.0%')} of them within 0.05 of a point. "
        f"With multipliers eliminated: {mean(circles, 'recovered')} recovered, "
        f"{mean(circles, 'filtered_points')} left, {mean(circles, 'filtered_precision', '.0%')} near."
    )


# --- twins ------------------------------------------------------------------------------------


def name_of(run: Result) -> str:
    """What a twin changes: "no prior", "first layer He"; "as released" for the base."""
    change, first = run.parameters["change"], run.parameters["first"]
    if change != BASE["change"]:
        return change
    return "as released" if first == BASE["first"] else f"first layer {first}"


def named(twins: Runs) -> dict[str, Runs]:
    """The runs of each twin, by what it changes."""
    names = dict.fromkeys(name_of(run) for run in twins)
    return {name: twins.filter(lambda run, n=name: name_of(run) == n) for name in names}


def pairs_of_twins(
    twins: Runs, one: Mapping[str, str], other: Mapping[str, str]
) -> list[tuple[Result, Result]]:
    """Runs of two twins on the same data set, number of images and seed."""

    def place(run: Result) -> tuple:
        return tuple(run.parameters[name] for name in ("dataset", "n", "seed"))

    others = {place(run): run for run in twins.where(**other)}
    return [(run, others[place(run)]) for run in twins.where(**one) if place(run) in others]


def gap(twins: Runs, measure: str, **changed: str) -> Interval:
    """The paired difference base − twin over seeds, on the data set where it reaches lowest."""
    found = []
    for dataset in twins.of("dataset"):
        pairs = pairs_of_twins(twins.where(dataset=dataset), BASE, BASE | changed)
        found.append(paired([a[measure] for a, _ in pairs], [b[measure] for _, b in pairs]))
    return lowest(found)


def twin_table(twins: Runs) -> pd.DataFrame:
    """A row a data set and twin, means over seeds."""
    columns = {
        "steps": "epochs_taken", "KKT residual": "kkt_residual", "loss left": "residual",
        "its own": "smoothed_residual", "excess": "excess", "found": "hits", "close": "close",
    }  # fmt: skip
    return pd.DataFrame([
        {
            "data set": twins.title(dataset),
            "twin": name,
            "seeds": len(runs),
            **{title: float(np.mean(runs.values(m))) for title, m in columns.items()},
            "null, found": float(
                np.mean([max(run["span_hits"], run["rows_hits"]) for run in runs])
            ),
        }
        for dataset in twins.of("dataset")
        for name, runs in named(twins.where(dataset=dataset)).items()
    ])  # fmt: skip
