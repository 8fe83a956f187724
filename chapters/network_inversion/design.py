"""What chapter 3 compares: weights of the loss, ways of telling, losses, and the runs of each."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness.results import Result
from harness.sweep import grid
from lib.inversion import LOSS_TERMS

# What every run has unless its question changes it.
SETTING = {
    "architecture": "regularised CNN",
    "conditioning": "vector-matrix",
    "vector": "soft",
    "matrix": "row and column",
}
TOLD = {  # ways of telling the generator its label
    "label": {"conditioning": "label"},
    "vector": {"conditioning": "vector"},
    "vector, hot": {"conditioning": "vector", "vector": "hot"},
    "matrix": {"conditioning": "matrix"},
    "matrix, row or column": {"conditioning": "matrix", "matrix": "row or column"},
    "vector-matrix": {},
    "vector-matrix, row or column": {"matrix": "row or column"},
    "vector-matrix, hot": {"vector": "hot"},
}
FOUR = ("label", "vector", "matrix", "vector-matrix")  # the papers'
ALL_TERMS, CE_ONLY = "all four terms", "cross-entropy only"
LEFT_OUT = {  # losses: the terms that they do without
    ALL_TERMS: (),
    "no KL divergence": ("kl",),
    "no cross-entropy": ("ce",),
    "no cosine": ("cosine",),
    "no orthogonality": ("orthogonality",),
    CE_ONLY: ("kl", "cosine", "orthogonality"),
}
# The answers that are compared on more seeds, because a claim or a sentence ranks them.
RANKED = {*TOLD, ALL_TERMS, CE_ONLY, "no cosine", "no orthogonality"}

Cases = list[dict[str, Any]]


# --- choosing the weights of the loss -----------------------------------------------------------

TRIED: dict[str, dict[str, list[float]]] = {  # by data set; any other has what MNIST has
    "digits": {"kl": [1.0], "cosine": [1.0], "orthogonality": [1.0, 4.0]},
    "mnist": {
        "kl": [0.25, 1.0],
        "cosine": [1.0, 4.0, 16.0],
        "orthogonality": [1.0, 4.0, 16.0],
    },
}
TUNING_SEED = 0  # of networks that appear nowhere else
EVERY_CLASS = 0.99  # inversion accuracy that the chosen weights must reach in every class


def tuning(on: str, **training: Any) -> Cases:
    """Runs that choose the weights of the loss, on one data set; β is 1.

    training: what all runs of a chapter share, such as n and steps.
    """
    return grid(
        dataset=on,
        seed=TUNING_SEED,
        ce=1.0,
        generator=0,
        **TRIED.get(on, TRIED["mnist"]),
        **SETTING,
        **training,
    )


def chosen_weights(tried: Sequence[Result]) -> dict[str, float]:
    """α, β, γ, δ: the largest Vendi score of those settings for which every class is accurate.

    The rule knows the generator and the classifier, no image of any data set. Means over the seeds
    of a setting; of equals the first. Without results, or if no setting is accurate enough, all
    weights are 1.
    """
    found: dict[tuple[float, ...], list[Result]] = {}
    for result in tried:
        if "vendi" in result.scalars:
            setting = tuple(result.parameters[term] for term in LOSS_TERMS)
            found.setdefault(setting, []).append(result)
    scores = {
        setting: float(np.mean([r["vendi"] for r in runs]))
        for setting, runs in found.items()
        if np.mean([r["worst_class_accuracy"] for r in runs]) >= EVERY_CLASS
    }
    best = max(scores, key=scores.get) if scores else (1.0,) * len(LOSS_TERMS)
    return dict(zip(LOSS_TERMS, best))


# --- the questions ------------------------------------------------------------------------------


def questions(
    weights: Mapping[str, float],
    datasets: Sequence[str],
    *,
    seeds: Sequence[int],
    order_seeds: Sequence[int],
    generators: int,
    other_classifiers: Sequence[str],
    kl_weights: Sequence[float],
    cosine_weights: Sequence[float],
    failing_weights: Sequence[float],
    **training: Any,
) -> dict[str, Cases]:
    """The runs of every question: each way of telling, each loss, and five more.

    weights: α, β, γ and δ where a question does not change them.  order_seeds: of what is ranked.
    generators: how many invert the first seed's classifier.  other_classifiers: architectures,
    on the first data set.  failing_weights: of the cosine term, at which generators fail.
    """

    def runs(**changes: Any) -> Cases:
        shared = {"dataset": datasets, "seed": seeds, "generator": 0, **SETTING, **weights}
        return grid(**{**shared, **training, **changes})

    def ranked(name: str, **changes: Any) -> Cases:
        return runs(**{"seed": order_seeds if name in RANKED else seeds, **changes})

    return {
        **{name: ranked(name, **change) for name, change in TOLD.items()},
        **{name: ranked(name, **dict.fromkeys(out, 0.0)) for name, out in LEFT_OUT.items()},
        "by kl": runs(kl=kl_weights),
        "by cosine": runs(seed=order_seeds, cosine=cosine_weights),
        "too much cosine": runs(cosine=failing_weights),
        "siblings": runs(seed=seeds[:1], generator=range(generators)),
        "other classifiers": runs(dataset=datasets[:1], architecture=other_classifiers),
    }
