"""Chapter 2: from results to tables that its figures, claims and sentences share."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd
from scipy.stats import spearmanr

from chapters.architecture_comparison.design import ARCHITECTURES, MATCHED, VARIANTS
from chapters.shortcut_injection.reading import (
    difference_at_epoch,
    difference_at_loss,
    epochs_to_loss,
)
from harness.results import Runs
from harness.statistics import Interval, paired_bootstrap

PAPERS_ORDER = ("ViT", "MLP", "CNN")
PACED = ("at equal epochs", "at equal loss", "loss at equal epochs", "epochs to converge")


def converged(runs: Runs) -> Runs:
    """The runs that did not diverge."""
    return runs.filter(lambda result: not result["diverged"])


def per_seed(runs: Runs, measure: str, dataset: str, architecture: str) -> pd.Series:
    """A scalar of one cell by seed, in the order of the seeds; runs that diverged are left out."""
    cell = converged(runs).where(dataset=dataset, architecture=architecture)
    found = pd.Series({r.parameters["seed"]: r[measure] for r in cell}, dtype=float)
    return found.sort_index()


def gap(runs: Runs, measure: str, dataset: str, upper: str, lower: str) -> list[float]:
    """upper − lower on the seeds that both have."""
    difference = per_seed(runs, measure, dataset, upper) - per_seed(runs, measure, dataset, lower)
    return difference.dropna().tolist()


def by_architecture(
    runs: Runs, measure: str, dataset: str, names: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """One row a seed, one column an architecture; names: what takes an architecture's place."""
    columns = {
        a: per_seed(runs, measure, dataset, (names or {}).get(a, a)) for a in ARCHITECTURES
    }
    return pd.DataFrame(columns).dropna()


def ranked(runs: Runs, measure: str, dataset: str) -> list[str]:
    """Architectures from the largest mean to the smallest."""
    means = by_architecture(runs, measure, dataset).mean()
    return means.sort_values(ascending=False, kind="stable").index.tolist()


def gaps(fooled: Runs, measures: Mapping[str, str]) -> pd.DataFrame:
    """Differences between architectures, paired by seed; measures: {name shown: scalar}.

    One row a data set, measure and pair, with the interval as `gap`.
    """
    rows = [
        {
            "data set": fooled.title(dataset),
            "measure": shown,
            "pair": f"{upper} − {lower}",
            "gap": _over_zero(values),
        }
        for dataset in fooled.of("dataset")
        for shown, measure in measures.items()
        for upper, lower in (("ViT", "MLP"), ("ViT", "CNN"), ("MLP", "CNN"))
        if (values := gap(fooled, measure, dataset, upper, lower))
    ]
    return pd.DataFrame(rows, columns=["data set", "measure", "pair", "gap"])


def _over_zero(values: Sequence[float]) -> Interval:
    return paired_bootstrap(values, [0.0] * len(values))


def accuracies(fooled: Runs, control: Runs) -> pd.DataFrame:
    """Mean accuracies with the right patch, without, with a wrong one; one row a cell."""
    columns = {
        "right patch": "accuracy_shortcut",
        "no patch": "accuracy_clean",
        "wrong patch": "accuracy_conflict",
        "believed": "follows_patch",
    }
    rows = [
        {
            "data set": fooled.title(dataset),
            "architecture": a,
            **{
                name: per_seed(fooled, measure, dataset, a).mean()
                for name, measure in columns.items()
            },
            "control": per_seed(control, "accuracy_clean", dataset, a).mean(),
        }
        for dataset in fooled.of("dataset")
        for a in ARCHITECTURES
    ]
    return pd.DataFrame(rows, columns=["data set", "architecture", *columns, "control"])


def networks(fooled: Runs, control: Runs) -> pd.DataFrame:
    """Size, training images, learning rate and clean accuracy of every network."""
    rows = []
    for dataset in fooled.of("dataset"):
        for a in ARCHITECTURES:
            cell = fooled.where(dataset=dataset, architecture=a)
            if cell:
                rows.append(
                    {
                        "data set": fooled.title(dataset),
                        "architecture": a,
                        "parameters": cell[0]["parameters"],
                        "training images": cell[0]["training_images"],
                        "learning rate": cell[0].parameters["lr"],
                        "accuracy without any patch": per_seed(
                            control, "accuracy_clean", dataset, a
                        ).mean(),
                    }
                )
    return pd.DataFrame(rows)


# --- learning rates ---------------------------------------------------------------------------


def at_rates(
    paced: Runs, lengths: Mapping[str, int], *, compared_loss: float, converged_loss: float
) -> pd.DataFrame:
    """One row a run: its Accuracy Difference after equal epochs and at equal training loss.

    A loss that was never reached gives NaN, and infinitely many epochs.
    """
    keys = ["dataset", "architecture", "seed", "lr"]
    rows = []
    for result in converged(paced):
        dataset = result.parameters["dataset"]
        values = (
            difference_at_epoch(result, lengths[dataset]),
            difference_at_loss(result, compared_loss),
            difference_at_epoch(result, lengths[dataset], "losses"),
            epochs_to_loss(result, converged_loss),
        )
        which = {key: result.parameters[key] for key in keys}
        rows.append({**which, "data set": paced.title(dataset), **dict(zip(PACED, values))})
    return pd.DataFrame(rows, columns=[*keys, "data set", *PACED])


def trends(measured: pd.DataFrame) -> pd.DataFrame:
    """Spearman correlation of the learning rate with each measure, by cell and seed."""
    names = dict(zip(PACED, ("rho_epochs", "rho_loss", "rho_loss_difference", "rho_convergence")))
    rows = [
        {
            "cell": f"{a}, {shown}",
            "seed": seed,
            **{name: _rank_correlation(rows, column) for column, name in names.items()},
        }
        for (shown, a, seed), rows in measured.groupby(
            ["data set", "architecture", "seed"], sort=False
        )
    ]
    return pd.DataFrame(rows, columns=["cell", "seed", *names.values()])


def _rank_correlation(rows: pd.DataFrame, column: str) -> float:
    rows = rows.dropna(subset=[column])
    if len(rows) < 3 or rows[column].nunique() < 2:
        return math.nan
    return float(spearmanr(rows["lr"], rows[column]).statistic)


# --- taking the architectures apart -----------------------------------------------------------


def survival(fooled: Runs, matched: Runs, ablated: Runs, shifted: Runs) -> pd.DataFrame:
    """One row a change, data set and seed: is Accuracy Difference in the paper's order?"""
    pool = fooled + matched + ablated
    changes = {
        "equal parameters": (pool, {name.split()[0]: name for name in MATCHED}),
        **{shown: (pool, {name.split()[0]: name}) for shown, name in VARIANTS.items()},
        "patches between tokens": (shifted, {}),
    }
    rows = []
    for dataset in fooled.of("dataset"):
        for shown, (runs, names) in changes.items():
            values = by_architecture(runs, "accuracy_difference", dataset, names)
            for seed, row in values.iterrows():
                ordered = [row[a] for a in PAPERS_ORDER]
                rows.append(
                    {
                        "data set": fooled.title(dataset),
                        "change": shown,
                        "seed": seed,
                        "in order": ordered[0] > ordered[1] > ordered[2],
                    }
                )
    return pd.DataFrame(rows, columns=["data set", "change", "seed", "in order"])
