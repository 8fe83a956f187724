"""Chapter 3: from results to the measures of its claims, one function a claim.

`asked` are the runs of every question of `design.questions`; a claim uses all seeds that it has.
A data set that stands for another counts where that other was not run.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from chapters.network_inversion.design import ALL_TERMS, CE_ONLY
from chapters.network_inversion.reading import (
    Asked,
    above_best,
    accuracy_gap,
    agree,
    datasets,
    gap,
    judged_on,
    lowest_accuracy,
    matched_arms,
    over_cosine,
    per_seed,
    rank_by_seed,
    steeper,
    sure,
    working,
)
from lib import losses
from lib.generator import hot_matrix, soft_vectors

Measures = dict[str, list[float]]
OTHERS = ("label", "vector", "matrix")  # that vector and matrix together are compared with


def I01(seeds: Sequence[int]) -> Measures:
    return loss_checks(seeds)


def I02(asked: Asked) -> dict[str, Measures]:
    told, agreed = asked["vector-matrix"], float(labels_agree())

    def on(d: str) -> Measures:
        lost = per_seed(told, "inversion_accuracy", d) - per_seed(told, "accuracy_blank_matrix", d)
        return {
            "labels_agree": [agreed] * len(per_seed(told, "inversion_accuracy", d)),
            "accuracy_lost_without_matrix": lost.dropna().tolist(),
        }

    return _by_title(asked, on)


# --- ways of telling: the rows, which ask for arms that agree within one point -------------------


def I03(asked: Asked) -> dict[str, Measures]:
    return _where_soft_vectors_agree(asked, ("vector", "label"), _vector_minus_label)


def I04(asked: Asked) -> dict[str, Measures]:
    return _where_soft_vectors_agree(asked, ("matrix", "vector"), _matrix_and_vector)


def I05(asked: Asked) -> dict[str, Measures]:
    """The gap with the width of its interval, which the row allows for, as one value a seed."""

    def on(asked: Asked, arms: Sequence[str], d: str) -> Measures:
        values = above_best(asked, arms[0], arms[1:], d)
        interval = sure(values)
        allowed = interval.estimate + (interval.high - interval.low)
        found = [allowed] * len(values) if interval.known else []
        return {"vector_matrix_minus_best_other_plus_width": found}

    return _where_soft_vectors_agree(asked, ("vector-matrix", *OTHERS), on)


# --- the same with arms that do not agree, and with hot vectors ---------------------------------


def I03_unmatched(asked: Asked) -> dict[str, Measures]:
    return _by_title(asked, lambda d: _vector_minus_label(asked, ("vector", "label"), d))


def I03_hot(asked: Asked) -> dict[str, Measures]:
    return _by_title(
        asked, lambda d: {"hot_vector_minus_label": gap(asked, "vector, hot", "label", "intra", d)}
    )


def I03_matched(asked: Asked) -> dict[str, Measures]:
    return _where_matched(asked, ("vector", "label"), _vector_minus_label)


def I04_unmatched(asked: Asked) -> dict[str, Measures]:
    return _by_title(asked, lambda d: _matrix_and_vector(asked, ("matrix", "vector"), d))


def I04_matched(asked: Asked) -> dict[str, Measures]:
    return _where_matched(asked, ("matrix", "vector"), _matrix_and_vector)


def I05_unmatched(asked: Asked) -> dict[str, Measures]:
    return _by_title(asked, lambda d: _above_others(asked, ("vector-matrix", *OTHERS), d))


def I05_matched(asked: Asked) -> dict[str, Measures]:
    return _where_matched(asked, ("vector-matrix", *OTHERS), _above_others)


# --- losses, convergence, images ----------------------------------------------------------------


def I06(asked: Asked) -> dict[str, Measures]:
    return _by_title(
        asked, lambda d: {"all_minus_ce_only": gap(asked, ALL_TERMS, CE_ONLY, "intra", d)}
    )


def I07(asked: Asked) -> dict[str, Measures]:
    return _by_title(
        asked,
        lambda d: {
            "later": gap(asked, "vector", "label", "steps_to_half", d),
            "steeper": steeper(asked, d),
        },
    )


def I07_tenths(asked: Asked) -> dict[str, Measures]:
    return _by_title(
        asked,
        lambda d: {
            "later": gap(asked, "vector", "label", "steps_to_half", d),
            "more_of_a_jump": gap(asked, "vector", "label", "jump", d),
        },
    )


def I08(asked: Asked) -> dict[str, Measures]:
    return _of(asked, inversion_accuracy="inversion_accuracy")


def I09(asked: Asked) -> dict[str, Measures]:
    told = asked["vector-matrix"]

    def on(d: str) -> Measures:
        kid = per_seed(told, "kid", d) - 5 * per_seed(told, "test_kid", d)
        return {
            "oracle_accuracy": per_seed(told, "oracle_accuracy", d).tolist(),
            "kid_minus_five_test": kid.tolist(),
            "nearest_auroc": per_seed(told, "nearest_auroc", d).tolist(),
        }

    return _by_title(asked, on)


def I10(asked: Asked) -> dict[str, Measures]:
    return _of(asked, confidence="confidence")


def I10_hot(asked: Asked) -> dict[str, Measures]:
    return _of(asked, "vector-matrix, hot", confidence="confidence")


def I11(asked: Asked) -> dict[str, Measures]:
    swept = over_cosine(asked)
    return _by_title(
        asked,
        lambda d: {
            "rho_intra": rank_by_seed(swept, "cosine", "intra", d),
            "rho_inter": rank_by_seed(swept, "cosine", "inter", d),
            "lowest_accuracy": lowest_accuracy(swept, "cosine", d),
        },
    )


def I11_working(asked: Asked) -> dict[str, Measures]:
    return _by_title(
        asked,
        lambda d: {
            "rho_intra": rank_by_seed(working(asked, d), "cosine", "intra", d),
            "rho_inter": rank_by_seed(working(asked, d), "cosine", "inter", d),
        },
    )


def I28(asked: Asked) -> Measures:
    told = asked["vector-matrix"]
    seconds = [s for d in datasets(asked) for s in per_seed(told, "generator_seconds", d)]
    return {"seconds": seconds} if seconds else {}


def T14(asked: Asked) -> dict[str, Measures]:
    return _of(asked, worst_class_accuracy="worst_class_accuracy")


# --- what they share ----------------------------------------------------------------------------


def _by_title(asked: Asked, on: Callable[[str], Measures]) -> dict[str, Measures]:
    """{title: measures of that data set}, where there are any, of those that are judged."""
    found = {asked["vector-matrix"].title(d): on(d) for d in judged_on(datasets(asked))}
    return {title: measures for title, measures in found.items() if measures}


def _of(asked: Asked, name: str = "vector-matrix", **measures: str) -> dict[str, Measures]:
    return _by_title(
        asked,
        lambda d: {m: per_seed(asked[name], scalar, d).tolist() for m, scalar in measures.items()},
    )


Compare = Callable[[Asked, Sequence[str], str], Measures]


def _vector_minus_label(asked: Asked, arms: Sequence[str], dataset: str) -> Measures:
    return {"vector_minus_label": gap(asked, *arms, "intra", dataset)}


def _matrix_and_vector(asked: Asked, arms: Sequence[str], dataset: str) -> Measures:
    matrix, vector = arms
    return {
        "matrix_minus_vector": gap(asked, matrix, vector, "intra", dataset),
        "steps_saved": gap(asked, vector, matrix, "steps_to_95", dataset),
    }


def _above_others(asked: Asked, arms: Sequence[str], dataset: str) -> Measures:
    first, *others = arms
    return {"vector_matrix_minus_best_other": above_best(asked, first, others, dataset)}


def _where_soft_vectors_agree(
    asked: Asked, arms: Sequence[str], compare: Compare
) -> dict[str, Measures]:
    """On the data sets where these arms agree within one point, however well they are obeyed."""

    def on(d: str) -> Measures:
        if not agree(asked, arms, d, at_least=0.0):
            return {}
        return {**compare(asked, arms, d), "accuracy_gap": accuracy_gap(asked, arms, d)}

    return _by_title(asked, on)


def _where_matched(asked: Asked, names: Sequence[str], compare: Compare) -> dict[str, Measures]:
    """On the data sets where they match, the hot vector in place of a soft one that does not."""

    def on(d: str) -> Measures:
        arms = matched_arms(asked, names, d)
        if not arms:
            return {}
        return {**compare(asked, arms, d), "accuracy_gap": accuracy_gap(asked, arms, d)}

    return _by_title(asked, on)


def labels_agree() -> bool:
    """Whether vector and matrix name the same label, for 2 to 49 classes."""
    return all(
        torch.equal(soft_vectors(torch.arange(k), k).argmax(1), torch.arange(k))
        and bool(hot_matrix(torch.arange(k), k)[range(k), 0, range(k)].all())
        for k in range(2, 50)
    )


def loss_checks(seeds: Sequence[int], n: int = 48, d: int = 12) -> Measures:
    """The terms of the loss against their formulas written out, on random input."""
    names = ("largest_deviation", "cosine_above_bound", "orthogonality_above_floor")
    found: Measures = {name: [] for name in names}
    for seed in seeds:
        random = np.random.default_rng(seed)
        rows, logits = random.normal(size=(n, d)), random.normal(size=(n, d))
        p = np.exp(random.normal(size=(n, d)))
        p /= p.sum(1, keepdims=True)
        q = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        labels = p.argmax(1)
        unit = [row / np.sqrt((row * row).sum()) for row in rows]
        cosines = np.array([[a @ b for b in unit] for a in unit])
        off = [cosines[i, j] for i in range(n) for j in range(n) if i != j]
        exact = [
            np.mean([sum(a * np.log(a / b) for a, b in zip(*pair)) for pair in zip(p, q)]),
            np.mean([-np.log(q[i, label]) for i, label in enumerate(labels)]),
            sum(off) / (n * (n - 1)),
            ((cosines - np.eye(n)) ** 2).sum() / n**2,
        ]
        x, z, t = (torch.from_numpy(a) for a in (rows, logits, p))
        cosine, orthogonality = losses.cosine_similarity(x), losses.orthogonality(x)
        ours = [
            losses.kl_divergence(t, z),
            losses.cross_entropy(z, torch.from_numpy(labels)),
            cosine,
            orthogonality,
        ]
        found["largest_deviation"].append(
            max(abs(a.item() - float(b)) for a, b in zip(ours, exact))
        )
        found["cosine_above_bound"].append(cosine.item() + 1 / (n - 1))
        found["orthogonality_above_floor"].append(orthogonality.item() - (1 / d - 1 / n))
    return found
