"""Chapter 2: from results to tables that its figures, claims and sentences share."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd
from scipy.stats import spearmanr

from chapters.architecture_comparison.design import (
    ARCHITECTURES,
    KNOW_NO_PLACES,
    MATCHED,
    VARIANTS,
)
from chapters.shortcut_injection.reading import (
    converged,
    difference_at_epoch,
    difference_at_loss,
    epochs_to_loss,
)
from harness.results import Runs
from harness.statistics import Interval, paired_bootstrap

PAPERS_ORDER = ("ViT", "MLP", "CNN")
PACED = ("at equal epochs", "at equal loss", "loss at equal epochs", "epochs to converge")


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
    columns = {a: per_seed(runs, measure, dataset, (names or {}).get(a, a)) for a in ARCHITECTURES}
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


def survival_table(survives: pd.DataFrame) -> pd.DataFrame:
    """Share of seeds in the paper's order; one row a change, one column a data set."""
    if survives.empty:
        return pd.DataFrame(columns=["change"])
    shares = survives.groupby(["change", "data set"], sort=False)["in order"].mean()
    return shares.unstack("data set", sort=False).reset_index()


def trend_table(trends: pd.DataFrame) -> pd.DataFrame:
    """Mean rank correlation with the learning rate, one row a cell."""
    shown = {
        "rho_epochs": "equal epochs",
        "rho_loss": "equal loss",
        "rho_loss_difference": "Loss Difference",
        "rho_convergence": "epochs to converge",
    }
    means = trends.groupby("cell", sort=False)[list(shown)].mean().reset_index()
    return means.rename(columns=shown)


# --- sentences --------------------------------------------------------------------------------


def _agreed_order(runs: Runs, dataset: str) -> str:
    """The order of the means, `>` where all of the paired interval says so, else `≈`."""
    order = ranked(runs, "accuracy_difference", dataset)
    text = order[0]
    for upper, lower in zip(order, order[1:]):
        values = gap(runs, "accuracy_difference", dataset, upper, lower)
        clear = len(values) > 1 and _over_zero(values).low > 0
        text += f" {'>' if clear else '≈'} {lower}"
    return text


def answer(fooled: Runs) -> str:
    """The chapter's answer in at most 60 words."""
    datasets = converged(fooled).of("dataset")
    if not datasets:
        return "Not run: no network of this chapter is there; the end of the page says why."
    orders: dict[str, list[str]] = {}
    for name in datasets:
        orders.setdefault(_agreed_order(fooled, name), []).append(fooled.title(name))
    listed = "; ".join(f"{order} on {', '.join(names)}" for order, names in orders.items())
    held = len(orders.get(" > ".join(PAPERS_ORDER), []))
    believed = [
        mean for name in datasets for mean in by_architecture(fooled, "follows_patch", name).mean()
    ]
    return (
        f"**Yes.** By Accuracy Difference: {listed}. The paper's order, ViT over MLP over CNN, "
        f"holds on {held} of {len(datasets)}. But no architecture is safe: on average "
        f"{min(believed):.0%} to {max(believed):.0%} of *wrong* patches are believed."
    )


def consistency(fooled: Runs, agreement: Mapping[str, Sequence[float]]) -> str:
    """How well the data sets agree on an order."""
    datasets = converged(fooled).of("dataset")
    if len(datasets) < 2 or not agreement:
        return "With one data set there is no agreement between data sets to speak of."
    w = sum(agreement["kendall_w"]) / len(agreement["kendall_w"])
    counts = agreement["datasets_in_order"]
    return (
        "Kendall's W, which is 1 when all data sets rank the architectures alike and 0 when they "
        f"have nothing in common, is {w:.2f} (mean of {len(counts)} seeds). The paper's order "
        f"holds on {min(counts)} of {len(datasets)} data sets in the worst seed and on "
        f"{max(counts)} in the best."
    )


def rising(trends: pd.DataFrame, paced: Runs) -> str:
    """In how many cells reliance rises with the learning rate."""
    table = trend_table(trends)
    if table.empty:
        return "Not run: learning rates."
    epochs, loss = ((table[name] > 0.5).sum() for name in ("equal epochs", "equal loss"))
    diverged = len(paced) - len(converged(paced))
    return (
        "The mean rank correlation of learning rate and Accuracy Difference is above 0.5 in "
        f"{epochs} of {len(table)} cells of architecture and data set after equal epochs, and in "
        f"{loss} at equal training loss ({{numref}}`tab-rates`). {diverged} of {len(paced)} runs "
        "diverged and are left out."
    )


def whom_it_believes(fooled: Runs, ablated: Runs) -> str:
    """What the networks that know no places, and the most gullible one, say of the measure."""
    blind = converged(ablated).where(architecture=sorted(KNOW_NO_PLACES))
    if not blind or not converged(fooled):
        return "Not run: networks that know no places."
    believed, fallen = blind.values("follows_patch"), blind.values("accuracy_difference")
    guessed = [(1 - wrong) / 9 for wrong in blind.values("accuracy_conflict")]
    table = accuracies(fooled, fooled)
    table["difference"] = table["right patch"] - table["no patch"]
    torn = table.loc[(table["believed"] - table["difference"]).idxmax()]
    return (
        f"The networks that know no places name the class of a wrong patch in "
        f"{_mean(believed):.1%} of cases; guessing where the object is not recognised would make "
        f"it {_mean(guessed):.1%}. Their Accuracy Difference is {_mean(fallen):.2f} on average and "
        f"up to {max(fallen):.2f}. The measure errs in the other direction, too: the "
        f"{torn['architecture']} on {torn['data set']} believes {torn['believed']:.0%} of wrong "
        f"patches, with an Accuracy Difference of {torn['difference']:.2f}. **Accuracy Difference "
        "measures what a network can do without the patch, not whom it believes when the two "
        "disagree.**"
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def two_versions(fooled: Runs, measured: pd.DataFrame) -> str:
    """Which statements of the paper's two versions hold on which data sets."""
    datasets = converged(fooled).of("dataset")
    if not datasets or measured.empty:
        return "Not run: the comparison of the two versions."
    orders = {name: _agreed_order(fooled, name) for name in datasets}
    ordered = [name for name in datasets if orders[name] == " > ".join(PAPERS_ORDER)]
    first = [name for name in datasets if orders[name].startswith("ViT >")]
    low, high = measured["lr"].min(), measured["lr"].max()
    reserved = {lr: _cnn_smallest(measured, lr) for lr in (low, high)}

    def names(of: Sequence[str]) -> str:
        return ", ".join(fooled.title(name) for name in of) or "none of the data sets"

    return (
        f"- **The unconditional order** ViT, MLP, CNN holds on: {names(ordered)}. ViTs have the "
        f"largest Accuracy Difference on: {names(first)}. (Both: the paired intervals say so.)\n"
        f"- **CNNs at low learning rates.** At the smallest rate ({low:g}) the CNN's mean Accuracy "
        f"Difference is the smallest of the three on: {names(reserved[low])}; at the largest "
        f"({high:g}) on: {names(reserved[high])}.\n"
        "- **ViTs without positions** have nothing but the surroundings of the patch to go by "
        "({numref}`fig-belief`), which is a property of the network."
    )


def _cnn_smallest(measured: pd.DataFrame, lr: float) -> list[str]:
    """Data sets on which the CNN is below both others in the mean, at a learning rate."""
    rows = measured[measured["lr"] == lr]
    means = rows.groupby(["dataset", "architecture"], sort=False)["at equal epochs"].mean()
    table = means.unstack("architecture")
    if not set(ARCHITECTURES) <= set(table.columns):
        return []
    return table.index[table["CNN"] < table[["MLP", "ViT"]].min(axis=1)].tolist()
