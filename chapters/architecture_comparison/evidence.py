"""Chapter 2: from results to the measures of its claims, one function a claim."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from chapters.architecture_comparison.design import ARCHITECTURES, MATCHED
from chapters.architecture_comparison.reading import (
    PAPERS_ORDER,
    by_architecture,
    gap,
    per_seed,
)
from chapters.shortcut_injection.reading import converged
from harness.results import Runs

Measures = dict[str, list[float]]


def _cells(runs: Runs, measures: Callable[[str, str], Measures]) -> dict[str, Measures]:
    """Measures of every architecture on every data set."""
    return {
        f"{a}, {runs.title(dataset)}": measures(dataset, a)
        for dataset in converged(runs).of("dataset")
        for a in ARCHITECTURES
    }


def _order(runs: Runs, measure: str, names: dict[str, str] | None = None) -> dict[str, Measures]:
    """The two gaps that make the order ViT, MLP, CNN, on every data set."""
    own = {a: (names or {}).get(a, a) for a in ARCHITECTURES}
    return {
        runs.title(dataset): {
            "vit_minus_mlp": gap(runs, measure, dataset, own["ViT"], own["MLP"]),
            "mlp_minus_cnn": gap(runs, measure, dataset, own["MLP"], own["CNN"]),
        }
        for dataset in converged(runs).of("dataset")
    }


def S03(fooled: Runs) -> dict[str, Measures]:
    return _cells(
        fooled,
        lambda dataset, a: {
            "accuracy_shortcut": per_seed(fooled, "accuracy_shortcut", dataset, a).tolist()
        },
    )


def S04(fooled: Runs, control: Runs) -> dict[str, Measures]:
    def degradation(dataset: str, a: str) -> Measures:
        clean = (per_seed(runs, "accuracy_clean", dataset, a) for runs in (control, fooled))
        without, with_patches = clean
        return {"degradation": (without - with_patches).dropna().tolist()}

    return _cells(fooled, degradation)


def S05(fooled: Runs) -> dict[str, Measures]:
    return {
        fooled.title(dataset): {
            "vit_minus_next": (v["ViT"] - v[["MLP", "CNN"]].max(axis=1)).tolist()
        }
        for dataset in converged(fooled).of("dataset")
        for v in [by_architecture(fooled, "accuracy_difference", dataset)]
    }


def S06(fooled: Runs) -> dict[str, Measures]:
    return {
        fooled.title(dataset): {
            "next_minus_cnn": (v[["MLP", "ViT"]].min(axis=1) - v["CNN"]).tolist()
        }
        for dataset in converged(fooled).of("dataset")
        for v in [by_architecture(fooled, "accuracy_difference", dataset)]
    }


def S07(fooled: Runs) -> dict[str, Measures]:
    return _order(fooled, "accuracy_difference")


def S07_matched(fooled: Runs, matched: Runs) -> dict[str, Measures]:
    if not matched:
        return {}
    names = {name.split()[0]: name for name in MATCHED}
    return _order(fooled + matched, "accuracy_difference", names)


def S08(fooled: Runs) -> dict[str, Measures]:
    return _order(fooled, "loss_difference")


def S08_tempered(fooled: Runs) -> dict[str, Measures]:
    return _order(fooled, "tempered_loss_difference")


def S09(fooled: Runs) -> Measures:
    """Kendall's W over data sets, and how many of them show the paper's order, by seed."""
    here = converged(fooled)
    found: Measures = {"kendall_w": [], "datasets_in_order": []}
    for seed in here.of("seed"):
        table = pd.DataFrame(
            {
                dataset: by_architecture(
                    here.where(seed=seed), "accuracy_difference", dataset
                ).squeeze()
                for dataset in here.of("dataset")
            }
        ).T
        if table.shape != (len(here.of("dataset")), 3) or table.isna().any(axis=None):
            continue
        found["kendall_w"].append(kendall_w(table.rank(axis=1).to_numpy()))
        first, second, third = (table[a] for a in PAPERS_ORDER)
        found["datasets_in_order"].append(int(((first > second) & (second > third)).sum()))
    return found if found["kendall_w"] else {}


def kendall_w(ranks: np.ndarray) -> float:
    """Kendall's W of ranks [data sets, architectures]: 1 is one order everywhere."""
    m, k = ranks.shape
    return float(12 * ((ranks.sum(0) - m * (k + 1) / 2) ** 2).sum() / (m**2 * (k**3 - k)))


def _trend(trends: pd.DataFrame, *measures: str) -> dict[str, Measures]:
    return {
        cell: {measure: rows[measure].dropna().tolist() for measure in measures}
        for cell, rows in trends.groupby("cell", sort=False)
    }


def S11(trends: pd.DataFrame) -> dict[str, Measures]:
    return _trend(trends, "rho_epochs", "rho_loss")


def S12(trends: pd.DataFrame) -> dict[str, Measures]:
    return _trend(trends, "rho_convergence")


def S15(survives: pd.DataFrame) -> Measures:
    if survives.empty:
        return {}
    return {"share_of_cells_in_order": survives.groupby("seed")["in order"].mean().tolist()}
