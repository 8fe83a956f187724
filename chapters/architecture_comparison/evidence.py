"""Chapter 2: from results to the measures of its claims, one function a claim.

Where a row of the papers' claims is judged in several ways, they differ in the tables alone:
patches on the ViT's tokens or between them, Accuracy Difference or accuracy lost against controls.
"""

import pandas as pd

from chapters.architecture_comparison.design import ARCHITECTURES, MATCHED
from chapters.architecture_comparison.reading import (
    Tables,
    above_next,
    agreement,
    agreement_of_means,
    below_next,
    by_dataset,
    degradation,
    gap,
    removed,
)
from chapters.shortcut_injection.reading import in_four_sets, of_the_four
from harness.results import Runs

Measures = dict[str, list[float]]

DATA_SETS = 4  # of the paper


def _cells(tables: Tables, measure: str) -> dict[str, Measures]:
    """A measure of every architecture on every data set."""
    return {
        f"{a}, {title}": {measure: table[a].dropna().tolist()}
        for title, table in tables.items()
        for a in ARCHITECTURES
    }


def _vit_first(tables: Tables) -> dict[str, Measures]:
    return {t: {"vit_minus_next": above_next(v, "ViT").tolist()} for t, v in tables.items()}


def _cnn_last(tables: Tables) -> dict[str, Measures]:
    return {t: {"next_minus_cnn": below_next(v, "CNN").tolist()} for t, v in tables.items()}


def _order(tables: Tables) -> dict[str, Measures]:
    """The two gaps that make the order ViT, MLP, CNN, on every data set."""
    return {
        title: {
            "vit_minus_mlp": gap(table, "ViT", "MLP"),
            "mlp_minus_cnn": gap(table, "MLP", "CNN"),
        }
        for title, table in tables.items()
    }


def _agreement_of_means(tables: Tables) -> Measures:
    """Of ranks of means: one number, handed in once for every seed that it rests on.

    How many data sets are in order is open until all of the paper's were run.
    """
    found = agreement_of_means(of_the_four(tables))
    if not found:
        return {}
    measures = {"kendall_w": [found["kendall_w"]] * found["seeds"]}
    if found["datasets"] == DATA_SETS:
        measures["datasets_in_order"] = [found["datasets_in_order"]] * found["seeds"]
    return measures


@in_four_sets
def S03(fooled: Runs) -> dict[str, Measures]:
    return _cells(by_dataset(fooled, "accuracy_shortcut"), "accuracy_shortcut")


@in_four_sets
def S04(fooled: Runs, control: Runs) -> dict[str, Measures]:
    return _cells(degradation(control, fooled), "degradation")


@in_four_sets
def S05(fooled: Runs) -> dict[str, Measures]:
    return _vit_first(by_dataset(fooled))


@in_four_sets
def S05_offgrid(shifted: Runs) -> dict[str, Measures]:
    return _vit_first(by_dataset(shifted))


@in_four_sets
def S05_controlled(fooled: Runs, control: Runs) -> dict[str, Measures]:
    return _vit_first(degradation(control, fooled))


@in_four_sets
def S06(fooled: Runs) -> dict[str, Measures]:
    return _cnn_last(by_dataset(fooled))


@in_four_sets
def S06_offgrid(shifted: Runs) -> dict[str, Measures]:
    return _cnn_last(by_dataset(shifted))


@in_four_sets
def S06_controlled(fooled: Runs, control: Runs) -> dict[str, Measures]:
    return _cnn_last(degradation(control, fooled))


@in_four_sets
def S07(fooled: Runs) -> dict[str, Measures]:
    return _order(by_dataset(fooled))


@in_four_sets
def S07_matched(fooled: Runs, matched: Runs) -> dict[str, Measures]:
    if not matched:
        return {}
    return _order(by_dataset(fooled + matched, names={n.split()[0]: n for n in MATCHED}))


@in_four_sets
def S07_offgrid(shifted: Runs) -> dict[str, Measures]:
    return _order(by_dataset(shifted))


@in_four_sets
def S07_controlled(fooled: Runs, control: Runs) -> dict[str, Measures]:
    return _order(degradation(control, fooled))


@in_four_sets
def S08(fooled: Runs) -> dict[str, Measures]:
    return _order(by_dataset(fooled, "loss_difference"))


@in_four_sets
def S08_tempered(fooled: Runs) -> dict[str, Measures]:
    return _order(by_dataset(fooled, "tempered_loss_difference"))


@in_four_sets
def S08_offgrid(shifted: Runs) -> dict[str, Measures]:
    return _order(by_dataset(shifted, "loss_difference"))


def S09(fooled: Runs) -> Measures:
    return _agreement_of_means(by_dataset(fooled))


def S09_seeds(fooled: Runs) -> Measures:
    found = agreement(of_the_four(by_dataset(fooled)))
    if found.empty:
        return {}
    measures = ["kendall_w"]
    if (found["datasets"] == DATA_SETS).all():
        measures.append("datasets_in_order")
    return {measure: found[measure].tolist() for measure in measures}


def S09_offgrid(shifted: Runs) -> Measures:
    return _agreement_of_means(by_dataset(shifted))


def S09_controlled(fooled: Runs, control: Runs) -> Measures:
    return _agreement_of_means(degradation(control, fooled))


def _trend(trends: pd.DataFrame, measures: dict[str, str]) -> dict[str, Measures]:
    """measures: {measure of the claim: column}."""
    return {
        cell: {measure: rows[column].dropna().tolist() for measure, column in measures.items()}
        for cell, rows in trends.groupby("cell", sort=False)
    }


def S11(pooled: pd.DataFrame) -> dict[str, Measures]:
    measures = ("rho_epochs", "rho_loss", "p_epochs", "p_loss")
    return {
        a: {measure: rows[measure].dropna().tolist() for measure in measures}
        for a, rows in pooled.groupby("architecture", sort=False)
    }


@in_four_sets
def S11_cells(trends: pd.DataFrame) -> dict[str, Measures]:
    return _trend(trends, {"rho_epochs": "rho_epochs", "rho_loss": "rho_loss"})


@in_four_sets
def S11_test_loss(trends: pd.DataFrame) -> dict[str, Measures]:
    return _trend(trends, {"rho_epochs": "rho_epochs", "rho_test_loss": "rho_test_loss"})


@in_four_sets
def S12(trends: pd.DataFrame) -> dict[str, Measures]:
    return _trend(trends, {"rho_convergence": "rho_convergence"})


@in_four_sets
def S12_equal(trends: pd.DataFrame) -> dict[str, Measures]:
    return _trend(trends, {"rho_convergence": "rho_equal_convergence"})


def S15(survives: pd.DataFrame) -> Measures:
    if survives.empty:
        return {}
    return {"share_of_cells_in_order": survives.groupby("seed")["in order"].mean().tolist()}


@in_four_sets
def S15_removed(fooled: Runs, ablated: Runs) -> dict[str, Measures]:
    """How much an architecture's own Accuracy Difference moves; of two widths the larger change."""
    return {
        title: {
            "average_pooling_changes": changes["CNN average"].abs().dropna().tolist(),
            "no_positions_changes": changes["ViT no positions"].abs().dropna().tolist(),
            "width_changes": changes[["MLP narrow", "MLP wide"]]
            .dropna()
            .abs()
            .max(axis=1)
            .tolist(),
        }
        for title, changes in removed(fooled, ablated).items()
    }
