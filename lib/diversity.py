"""How varied images are, and how like others: of features, after an attack has ended."""

import numpy as np
import torch
from torch import Tensor


def unit_rows(features: Tensor) -> Tensor:
    """Rows [n, d] scaled to unit length, in float64; a row of zeros stays as it is."""
    rows = features.double()
    norms = rows.norm(dim=1, keepdim=True)
    return rows / norms.where(norms > 0, 1.0)


def effective_number(weights: Tensor) -> float:
    """exp of the Shannon entropy of weights ≥ 0 [k], scaled to sum to 1: in [1, k].

    The number of equal weights that have the same entropy (Hill 1973, order 1). Negative weights
    count as 0, since eigenvalues of a Gram matrix are negative only by rounding. If no weight is
    positive there is nothing to tell apart and the number is 1.
    """
    weights = weights.clamp(min=0)
    total = weights.sum()
    if total == 0:
        return 1.0
    return torch.special.entr(weights / total).sum().exp().item()


def vendi_score(features: Tensor) -> float:
    """Effective number of distinct rows of [n, d]: 1 if all are alike, at most min(n, d).

    exp of the Shannon entropy of the eigenvalues of K/n, K the cosine kernel (Friedman and Dieng
    2023, arXiv 2210.02410). Only the axis of a row counts: its scale does not matter, and
    opposite rows are alike. A row of zeros has no direction and is left out, that is, the
    eigenvalues are divided by the trace of K, the number of the other rows; 1 if all are zero.

    Raises:
        ValueError: without rows.
    """
    if len(features) == 0:
        raise ValueError("the Vendi score needs at least one row")
    unit = unit_rows(features)
    n, d = unit.shape
    kernel = unit.T @ unit if d < n else unit @ unit.T  # the same eigenvalues other than 0
    return effective_number(torch.linalg.eigvalsh(kernel))


def effective_rank(features: Tensor) -> float:
    """exp of the Shannon entropy of the singular values of rows [n, d] minus their mean.

    Roy and Vetterli 2007 (The effective rank, EUSIPCO), who do not centre; centring takes away
    the one large value that a common offset makes. In [1, min(n − 1, d)]; identical rows, and a
    single one, have no spread and give 1 by convention.

    Raises:
        ValueError: without rows.
    """
    if len(features) == 0:
        raise ValueError("the effective rank needs at least one row")
    rows = features.double()
    return effective_number(torch.linalg.svdvals(rows - rows.mean(0)))


def pairwise_cosine(features: Tensor) -> float:
    """Mean cosine over pairs i ≠ j of rows [n, d], in [−1/(n − 1), 1].

    (‖Σu‖² − Σ‖u‖²) / (n(n − 1)) over unit rows u: no pair is formed. A row of zeros has cosine 0
    with every other.

    Raises:
        ValueError: for fewer than two rows.
    """
    n = len(features)
    if n < 2:
        raise ValueError(f"{n} rows form no pair")
    unit = unit_rows(features)
    return ((unit.sum(0).square().sum() - unit.square().sum()) / (n * (n - 1))).item()


def diversity(features: Tensor, labels: Tensor, images: Tensor) -> dict[str, float]:
    """How varied labelled images are, within classes and between them.

    Args:
        features: [n, d] of the images; labels: [n]; images: [n, ...], for `pixel_std` only.
            Classes with fewer than two samples are left out of every value.

    Returns:
        intra: mean over classes of 1 − `pairwise_cosine` within the class, in [0, 2].
        inter: 1 − the mean cosine over all pairs from different classes, in [0, 2]; NaN if only
            one class is left, which has no such pair.
        vendi: mean over classes of the Vendi score within the class.
        vendi_all: the Vendi score of all samples of these classes together.
        effective_rank: mean over classes of the effective rank within the class.
        pixel_std: mean over classes and pixels of the standard deviation (population) of a pixel
            within the class.

    Raises:
        ValueError: if the lengths differ, or if no class has two samples.
    """
    if not len(features) == len(labels) == len(images):
        raise ValueError(
            f"{len(features)} features, {len(labels)} labels and {len(images)} images: not equal"
        )
    classes, counts = labels.unique(return_counts=True)
    members = [labels == k for k in classes[counts > 1]]
    if not members:
        raise ValueError("no class has two samples or more, so there is no diversity to measure")
    groups = [features[mine] for mine in members]
    stds = [images[mine].double().std(0, correction=0) for mine in members]
    sums = torch.stack([unit_rows(group).sum(0) for group in groups])
    sizes = counts[counts > 1]
    crossing = sums.sum(0).square().sum() - sums.square().sum()  # Σ cos, over ordered pairs
    pairs = sizes.sum() ** 2 - sizes.square().sum()
    return {
        "intra": float(np.mean([1 - pairwise_cosine(group) for group in groups])),
        "inter": (1 - crossing / pairs).item() if len(groups) > 1 else float("nan"),
        "vendi": float(np.mean([vendi_score(group) for group in groups])),
        "vendi_all": vendi_score(torch.cat(groups)),
        "effective_rank": float(np.mean([effective_rank(group) for group in groups])),
        "pixel_std": float(np.mean([std.mean().item() for std in stds])),
    }


def kid(a: Tensor, b: Tensor) -> float:
    """Kernel inception distance of two samples [n, d] and [m, d], in any features.

    The unbiased estimate of MMD² with the kernel (x·y/d + 1)³ (Bińkowski et al. 2018, arXiv
    1801.01401), over all rows at once and not over random blocks. Its mean is 0 for
    two samples of one distribution, so that it may be slightly negative.

    Raises:
        ValueError: for fewer than two rows in either, or different d.
    """
    n, m, d = len(a), len(b), a.shape[1]
    if n < 2 or m < 2:
        raise ValueError(f"{n} and {m} rows: each sample needs at least two")
    if b.shape[1] != d:
        raise ValueError(f"features of {d} and {b.shape[1]} dimensions cannot be compared")

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (x.double() @ y.double().T / d + 1) ** 3

    def within(x: Tensor) -> Tensor:
        values = kernel(x, x)
        return (values.sum() - values.trace()) / (len(x) * (len(x) - 1))

    return (within(a) + within(b) - 2 * kernel(a, b).mean()).item()


def nearest_distance(
    a: Tensor, b: Tensor, *, exclude_self: bool = False, pairs_at_once: int = 50_000_000
) -> Tensor:
    """Euclidean distance of each row of a [n, d] to the nearest row of b [m, d] -> [n], float64.

    Products select the neighbour and the difference of the two rows gives its distance. A
    distance taken from products, as `torch.cdist` does for large inputs, is off by up to 1e-8 of
    the rows' norm even in float64, and copies, which matter most here, would not be at 0.

    Args:
        exclude_self: a and b are the same rows, and none is its own neighbour; copies are.
        pairs_at_once: rows of a go in chunks that form at most so many pairs (400 MB), or m.

    Raises:
        ValueError: if b is empty, if d differs, or if `exclude_self` and a and b are not the
            same two or more rows.
    """
    if len(b) == 0:
        raise ValueError("there is no row to be near to")
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"rows of {a.shape[1]} and {b.shape[1]} dimensions cannot be compared")
    if exclude_self and (len(a) < 2 or not torch.equal(a, b)):
        raise ValueError("exclude_self needs the same two or more rows twice")
    others = b.double()
    squares = others.square().sum(1)
    distances, start = [], 0
    for rows in a.split(max(1, pairs_at_once // len(b))):
        rows = rows.double()
        scores = torch.addmm(squares, rows, others.T, alpha=-2)  # ‖x − y‖² − ‖x‖²
        if exclude_self:
            scores.diagonal(start).fill_(float("inf"))
        distances.append((rows - others[scores.argmin(1)]).norm(dim=1))
        start += len(rows)
    return torch.cat(distances)
