"""Chapter 3: from results to the measures of its claims."""

from collections.abc import Sequence

import numpy as np
import torch

from lib import losses

TERMS = ("kl", "ce", "cosine", "orthogonality")

# --- reading the results ------------------------------------------------------------------------

EVERY_CLASS = 0.99  # inversion accuracy that the chosen weights must reach in every class


def chosen_weights(results: Sequence[Result]) -> dict[str, float]:
    """α, β, γ, δ: the largest Vendi score of those settings for which every class is accurate.

    The rule knows the generator and the classifier, no image of any data set. Means over the seeds
    of a setting; of equals the first. Without results, or if no setting is accurate enough, all
    weights are 1.
    """
    found: dict[tuple[float, ...], list[Result]] = {}
    for result in results:
        if "vendi" in result.scalars:
            found.setdefault(tuple(result.parameters[term] for term in TERMS), []).append(result)
    scores = {
        setting: float(np.mean([r["vendi"] for r in runs]))
        for setting, runs in found.items()
        if np.mean([r["worst_class_accuracy"] for r in runs]) >= EVERY_CLASS
    }
    best = max(scores, key=scores.get) if scores else (1.0,) * len(TERMS)
    return dict(zip(TERMS, best))


def loss_checks(seeds: Sequence[int], n: int = 48, d: int = 12) -> dict[str, list[float]]:
    """The terms of the loss against their formulas written out, on random input: I01."""
    names = ("largest_deviation", "cosine_above_bound", "orthogonality_above_floor")
    found: dict[str, list[float]] = {name: [] for name in names}
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
