"""Chapter 2: from results to tables that its figures, claims and sentences share."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from chapters.architecture_comparison.design import ARCHITECTURES, MATCHED, VARIANTS
from chapters.shortcut_injection.reading import (
    clear,
    converged,
    difference_at_epoch,
    difference_at_loss,
    epochs_to_loss,
    of_the_four,
)
from harness.results import Runs
from harness.statistics import over_seeds

PAPERS_ORDER = ("ViT", "MLP", "CNN")
ON, OFF, AGAINST_CONTROLS = "on the tokens", "between tokens", "against controls"
TRENDS = {  # a measure of a run, and what its rank correlation with the learning rate is called
    "at equal epochs": "rho_epochs",
    "at equal loss": "rho_loss",
    "at equal test loss": "rho_test_loss",
    "loss at equal epochs": "rho_loss_difference",
    "epochs to converge": "rho_convergence",
    "epochs to converge, all given the same": "rho_equal_convergence",
}

Tables = dict[str, pd.DataFrame]  # {title of a data set: one row a seed, one column a network}


# --- by architecture ----------------------------------------------------------------------------


def per_seed(runs: Runs, measure: str, dataset: str, architecture: str) -> pd.Series:
    """A scalar of one cell by seed, in the order of the seeds; runs that diverged are left out."""
    cell = converged(runs).where(dataset=dataset, architecture=architecture)
    found = pd.Series({r.parameters["seed"]: r[measure] for r in cell}, dtype=float)
    return found.sort_index()


def by_dataset(
    runs: Runs, measure: str = "accuracy_difference", names: Mapping[str, str] | None = None
) -> Tables:
    """A measure of the three architectures by seed, on each data set.

    names: what takes an architecture's place.
    """
    return {
        runs.title(dataset): pd.DataFrame(
            {a: per_seed(runs, measure, dataset, (names or {}).get(a, a)) for a in ARCHITECTURES}
        )
        for dataset in converged(runs).of("dataset")
    }


def degradation(control: Runs, fooled: Runs) -> Tables:
    """Clean accuracy lost against the same network, data and seed without patches."""
    without, with_patches = (by_dataset(r, "accuracy_clean") for r in (control, fooled))
    return {
        title: without[title] - with_patches[title] for title in with_patches if title in without
    }


def three_ways(fooled: Runs, shifted: Runs, control: Runs) -> dict[str, Tables]:
    """Three ways to ask which architecture relies most, each by data set.

    Accuracy Difference with patches on the ViT's tokens and between them, and clean accuracy lost
    against controls.
    """
    return {
        ON: by_dataset(fooled),
        OFF: by_dataset(shifted),
        AGAINST_CONTROLS: degradation(control, fooled),
    }


def gap(table: pd.DataFrame, upper: str, lower: str) -> list[float]:
    """upper − lower on the seeds that both have."""
    return (table[upper] - table[lower]).dropna().tolist()


def above_next(table: pd.DataFrame, name: str) -> pd.Series:
    """One architecture − the larger of the other two, on the seeds that all have."""
    whole = table.dropna()
    return whole[name] - whole.drop(columns=name).max(axis=1)


def below_next(table: pd.DataFrame, name: str) -> pd.Series:
    """The smaller of the other two − one architecture, on the seeds that all have."""
    whole = table.dropna()
    return whole.drop(columns=name).min(axis=1) - whole[name]


def order(table: pd.DataFrame) -> str:
    """The architectures by their means: `>` where five seeds carry it, else `≈`."""
    means = table.dropna().mean().dropna().sort_values(ascending=False, kind="stable")
    if means.empty:
        return "not run"
    text = means.index[0]
    for upper, lower in zip(means.index, means.index[1:]):
        text += f" {'>' if clear(gap(table, upper, lower)) else '≈'} {lower}"
    return text


def gaps(fooled: Runs, measures: Mapping[str, str]) -> pd.DataFrame:
    """Differences between architectures, paired by seed; measures: {name shown: scalar}.

    One row a data set, measure and pair.
    """
    rows = [
        {
            "data set": title,
            "measure": shown,
            "pair": f"{upper} − {lower}",
            "gap": over_seeds(values),
        }
        for shown, measure in measures.items()
        for title, table in by_dataset(fooled, measure).items()
        for upper, lower in (("ViT", "MLP"), ("ViT", "CNN"), ("MLP", "CNN"))
        if (values := gap(table, upper, lower))
    ]
    found = pd.DataFrame(rows, columns=["data set", "measure", "pair", "gap"])
    return found.sort_values("data set", kind="stable", key=_as_they_come)


def _as_they_come(names: pd.Series) -> pd.Series:
    return names.map({name: i for i, name in enumerate(names.unique())})


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


# --- do the data sets agree? --------------------------------------------------------------------


def agreement(tables: Tables) -> pd.DataFrame:
    """Kendall's W over data sets, and how many show the paper's order, by seed.

    Of the seeds that all data sets have; empty for fewer than two data sets.
    """
    whole = {title: table.dropna() for title, table in tables.items() if len(table.dropna())}
    shared = sorted(set.intersection(*(set(t.index) for t in whole.values()))) if whole else []
    rows = [
        {"seed": seed, **_agree(pd.DataFrame({t: table.loc[seed] for t, table in whole.items()}).T)}
        for seed in shared
        if len(whole) > 1
    ]
    return pd.DataFrame(rows, columns=["seed", "kendall_w", "datasets_in_order", "datasets"])


def agreement_of_means(tables: Tables) -> dict[str, float]:
    """The same of the means over the seeds of each data set, and the smallest number of seeds."""
    whole = {title: table.dropna() for title, table in tables.items() if len(table.dropna())}
    if len(whole) < 2:
        return {}
    means = pd.DataFrame({title: table.mean() for title, table in whole.items()}).T
    return {**_agree(means), "seeds": min(map(len, whole.values()))}


def _agree(table: pd.DataFrame) -> dict[str, float]:
    """table: one row a data set, one column an architecture."""
    first, second, third = (table[a] for a in PAPERS_ORDER)
    return {
        "kendall_w": kendall_w(table.rank(axis=1).to_numpy()),
        "datasets_in_order": int(((first > second) & (second > third)).sum()),
        "datasets": len(table),
    }


def kendall_w(ranks: np.ndarray) -> float:
    """Kendall's W of ranks [data sets, architectures]: 1 is one order everywhere."""
    m, k = ranks.shape
    return float(12 * ((ranks.sum(0) - m * (k + 1) / 2) ** 2).sum() / (m**2 * (k**3 - k)))


# --- learning rates ---------------------------------------------------------------------------


def at_rates(
    paced: Runs, lengths: Mapping[str, int], *, compared_loss: float, converged_loss: float
) -> pd.DataFrame:
    """One row a run: its Accuracy Difference after equal epochs and at equal loss.

    A loss that was never reached gives NaN, and infinitely many epochs.
    """
    keys = ["dataset", "architecture", "seed", "lr"]
    rows = []
    for result in converged(paced):
        length = lengths[result.parameters["dataset"]]
        on_test = epochs_to_loss(result, converged_loss, on="test")
        values = (
            difference_at_epoch(result, length),
            difference_at_loss(result, compared_loss),
            difference_at_loss(result, compared_loss, on="test"),
            difference_at_epoch(result, length, "losses"),
            epochs_to_loss(result, converged_loss),
            on_test if on_test <= length else math.inf,
        )
        which = {key: result.parameters[key] for key in keys}
        title = paced.title(result.parameters["dataset"])
        rows.append({**which, "data set": title, **dict(zip(TRENDS, values))})
    return pd.DataFrame(rows, columns=[*keys, "data set", *TRENDS])


def trends(measured: pd.DataFrame) -> pd.DataFrame:
    """Spearman correlation of the learning rate with each measure, by cell and seed.

    Where all are given the same epochs and no rate gets there, all tie: a correlation of 0. What
    was not measured is NaN.
    """
    rows = [
        {
            "cell": f"{a}, {shown}",
            "seed": seed,
            **{name: _rank_correlation(rows, column) for column, name in TRENDS.items()},
        }
        for (shown, a, seed), rows in measured.groupby(
            ["data set", "architecture", "seed"], sort=False
        )
    ]
    return pd.DataFrame(rows, columns=["cell", "seed", *TRENDS.values()])


def _rank_correlation(rows: pd.DataFrame, column: str) -> float:
    rows = rows.dropna(subset=[column])
    if len(rows) < 3:
        return math.nan
    if rows[column].nunique() < 2:
        return 0.0 if TRENDS[column] == "rho_equal_convergence" else math.nan
    return float(spearmanr(rows["lr"], rows[column]).statistic)


def pooled_trends(measured: pd.DataFrame) -> pd.DataFrame:
    """The rank correlation over all data sets, with its p-value, by architecture and seed.

    Learning rate and Accuracy Difference are ranked within each data set, so that the level of a
    data set plays no part.
    """
    four = measured[measured["data set"].isin(of_the_four(dict.fromkeys(measured["data set"])))]
    rows = []
    for (a, seed), own in four.groupby(["architecture", "seed"], sort=False):
        found = {"architecture": a, "seed": seed}
        for column, name in (("at equal epochs", "epochs"), ("at equal loss", "loss")):
            here = own.dropna(subset=[column])
            ranks = here.groupby("data set")[["lr", column]].rank(pct=True)
            if len(here) > 2 and ranks[column].nunique() > 1:
                test = spearmanr(ranks["lr"], ranks[column])
                found |= {f"rho_{name}": float(test.statistic), f"p_{name}": float(test.pvalue)}
        rows.append(found)
    columns = ["architecture", "seed", "rho_epochs", "rho_loss", "p_epochs", "p_loss"]
    return pd.DataFrame(rows, columns=columns)


def trend_table(trends: pd.DataFrame) -> pd.DataFrame:
    """Mean rank correlation with the learning rate, one row a cell."""
    shown = {
        "rho_epochs": "equal epochs",
        "rho_loss": "equal training loss",
        "rho_test_loss": "equal test loss",
        "rho_loss_difference": "Loss Difference",
        "rho_convergence": "epochs to converge",
        "rho_equal_convergence": "the same, equal epochs",
    }
    means = trends.groupby("cell", sort=False)[list(shown)].mean().reset_index()
    return means.rename(columns=shown)


# --- taking the architectures apart -----------------------------------------------------------


def survival(fooled: Runs, matched: Runs, ablated: Runs, shifted: Runs) -> pd.DataFrame:
    """One row a change, data set and seed: is Accuracy Difference in the paper's order?"""
    pool = fooled + matched + ablated
    changes = {
        "equal parameters": by_dataset(pool, names={name.split()[0]: name for name in MATCHED}),
        **{
            shown: by_dataset(pool, names={name.split()[0]: name})
            for shown, name in VARIANTS.items()
        },
        "patches between tokens": by_dataset(shifted),
    }
    rows = [
        {
            "data set": title,
            "change": shown,
            "seed": seed,
            "in order": row["ViT"] > row["MLP"] > row["CNN"],
        }
        for title in by_dataset(fooled)
        for shown, tables in changes.items()
        if title in tables
        for seed, row in tables[title].dropna().iterrows()
    ]
    return pd.DataFrame(rows, columns=["data set", "change", "seed", "in order"])


def survival_table(survives: pd.DataFrame) -> pd.DataFrame:
    """Share of seeds in the paper's order; one row a change, one column a data set."""
    if survives.empty:
        return pd.DataFrame(columns=["change"])
    shares = survives.groupby(["change", "data set"], sort=False)["in order"].mean()
    return shares.unstack("data set", sort=False).reset_index()


def removed(fooled: Runs, ablated: Runs) -> Tables:
    """Change of an architecture's own Accuracy Difference when a part is replaced, by seed.

    One column a variant.
    """
    pool, measure = fooled + ablated, "accuracy_difference"
    return {
        fooled.title(dataset): pd.DataFrame(
            {
                name: per_seed(pool, measure, dataset, name)
                - per_seed(pool, measure, dataset, name.split()[0])
                for name in VARIANTS.values()
            }
        )
        for dataset in converged(fooled).of("dataset")
    }


def removal_table(changes: Tables) -> pd.DataFrame:
    """Mean change, with half the width of its interval; one row a variant, a column a data set."""
    if not any(len(table.dropna(how="all")) for table in changes.values()):
        return pd.DataFrame(columns=["change"])
    rows = [
        {
            "change": shown,
            **{title: _plus_minus(t[name].dropna().tolist()) for title, t in changes.items()},
        }
        for shown, name in VARIANTS.items()
    ]
    return pd.DataFrame(rows)


def _plus_minus(values: Sequence[float]) -> str | None:
    found = over_seeds(values)
    if math.isnan(found.estimate):
        return None
    half = f" ± {found.high - found.estimate:.2f}" if found.known else ""
    return f"{found.estimate:+.2f}{half}"
