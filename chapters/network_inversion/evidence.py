"""Chapter 3: from results to the measures of its claims, one function a claim.

`asked` are the runs of every question of `design.questions`; claims that rank settings use all of
their seeds, the others the seeds of the chapter.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from chapters.network_inversion.design import ALL_TERMS, CE_ONLY
from chapters.network_inversion.reading import (
    Asked,
    above_best,
    datasets,
    gap,
    per_seed,
    rank_by_seed,
)
from harness.results import Runs
from lib import losses
from lib.generator import hot_matrix, soft_vectors

Measures = dict[str, list[float]]


def I01(seeds: Sequence[int]) -> Measures:
    return loss_checks(seeds)


def I02(asked: Asked, seeds: Sequence[int]) -> dict[str, Measures]:
    told = asked["vector-matrix"].where(seed=list(seeds))
    agree = float(labels_agree())
    return _by_title(
        asked,
        lambda d: {
            "labels_agree": [agree] * len(per_seed(told, "inversion_accuracy", d)),
            "accuracy_lost_without_matrix": (
                per_seed(told, "inversion_accuracy", d) - per_seed(told, "accuracy_blank_matrix", d)
            ).dropna().tolist(),
        },
    )  # fmt: skip


def I03(asked: Asked) -> dict[str, Measures]:
    return _by_title(
        asked, lambda d: {"vector_minus_label": gap(asked, "vector", "label", "intra", d)}
    )


def I03_hot(asked: Asked) -> dict[str, Measures]:
    return _by_title(
        asked, lambda d: {"hot_vector_minus_label": gap(asked, "vector, hot", "label", "intra", d)}
    )


def I04(asked: Asked) -> dict[str, Measures]:
    return _by_title(
        asked,
        lambda d: {
            "matrix_minus_vector": gap(asked, "matrix", "vector", "intra", d),
            "steps_saved": gap(asked, "vector", "matrix", "steps_to_95", d),
        },
    )


def I05(asked: Asked) -> dict[str, Measures]:
    others = ("label", "vector", "matrix")
    return _by_title(
        asked,
        lambda d: {"vector_matrix_minus_best_other": above_best(asked, "vector-matrix", others, d)},
    )


def I06(asked: Asked) -> dict[str, Measures]:
    return _by_title(
        asked, lambda d: {"all_minus_ce_only": gap(asked, ALL_TERMS, CE_ONLY, "intra", d)}
    )


def I07(asked: Asked) -> dict[str, Measures]:
    return _by_title(
        asked,
        lambda d: {
            "later": gap(asked, "vector", "label", "steps_to_half", d),
            "more_of_a_jump": gap(asked, "vector", "label", "jump", d),
        },
    )


def I08(asked: Asked, seeds: Sequence[int]) -> dict[str, Measures]:
    return _of(asked, seeds, inversion_accuracy="inversion_accuracy")


def I09(asked: Asked, seeds: Sequence[int]) -> dict[str, Measures]:
    told = asked["vector-matrix"].where(seed=list(seeds))

    def on(d: str) -> Measures:
        kid = per_seed(told, "kid", d) - 5 * per_seed(told, "test_kid", d)
        return {
            "oracle_accuracy": per_seed(told, "oracle_accuracy", d).tolist(),
            "kid_minus_five_test": kid.tolist(),
            "nearest_auroc": per_seed(told, "nearest_auroc", d).tolist(),
        }

    return _by_title(asked, on)


def I10(asked: Asked, seeds: Sequence[int]) -> dict[str, Measures]:
    return _of(asked, seeds, confidence="confidence")


def I10_hot(asked: Asked, seeds: Sequence[int]) -> dict[str, Measures]:
    return _of(asked, seeds, "vector-matrix, hot", confidence="confidence")


def I11(asked: Asked) -> dict[str, Measures]:
    swept = asked["by cosine"]
    return _by_title(
        asked,
        lambda d: {
            "rho_intra": rank_by_seed(swept, "cosine", "intra", d),
            "rho_inter": rank_by_seed(swept, "cosine", "inter", d),
            "lowest_accuracy": lowest_accuracy(swept, d),
        },
    )


def I28(asked: Asked, seeds: Sequence[int]) -> Measures:
    told = asked["vector-matrix"].where(seed=list(seeds))
    seconds = [s for d in datasets(asked) for s in per_seed(told, "generator_seconds", d)]
    return {"seconds": seconds} if seconds else {}


def T14(asked: Asked, seeds: Sequence[int]) -> dict[str, Measures]:
    return _of(asked, seeds, worst_class_accuracy="worst_class_accuracy")


# --- what they share ----------------------------------------------------------------------------


def _by_title(asked: Asked, on: Callable[[str], Measures]) -> dict[str, Measures]:
    """{title: measures of that data set}, for the data sets that the main setting has."""
    return {asked["vector-matrix"].title(d): on(d) for d in datasets(asked)}


def _of(
    asked: Asked, seeds: Sequence[int], name: str = "vector-matrix", **measures: str
) -> dict[str, Measures]:
    told = asked[name].where(seed=list(seeds))
    return _by_title(
        asked, lambda d: {m: per_seed(told, scalar, d).tolist() for m, scalar in measures.items()}
    )


def lowest_accuracy(runs: Runs, dataset: str) -> list[float]:
    """The lowest inversion accuracy of each seed, over all values of what is varied."""
    own = [r for r in runs.where(dataset=dataset) if "inversion_accuracy" in r.scalars]
    found: dict[int, list[float]] = {}
    for r in own:
        found.setdefault(r.parameters["seed"], []).append(r["inversion_accuracy"])
    return [min(found[seed]) for seed in sorted(found)]


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
