"""What do penultimate features of a classifier show? Planes, sparse units, clusters.

    plane = features.principal_plane(penultimate)               # [n, d] -> two components
    xs, ys, labels = features.decision_regions(plane, head, plane.project(penultimate))
    autoencoder, losses = features.fit_sparse_autoencoder(penultimate)
    rates = features.firing_rates(autoencoder.encode(penultimate), classes_of, classes=10)
    features.cluster_count(penultimate[classes_of == 0])        # does a class fall apart?

Features are floating point [n, d], one row for each sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score
from torch import Tensor, nn


def _principal_axes(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean [d], singular values [r] of the centred rows, axes [r, d]; float64, r = min(n, d).

    Values that rounding alone can make are set to 0, so that equal rows have no variance.
    """
    exact = features.detach().double()
    mean = exact.mean(0)
    _, singular, axes = torch.linalg.svd(exact - mean, full_matrices=False)
    noise = torch.finfo(torch.float64).eps * max(exact.shape) * exact.norm()
    return mean, torch.where(singular > noise, singular, 0.0), axes


# --- the plane --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plane:
    """The plane of the first two principal components, in the dtype of the features."""

    mean: Tensor  # [d]
    components: Tensor  # orthonormal rows, the largest |entry| of each positive [2, d]
    explained: Tensor  # share of the variance, in [0, 1] [2]

    def project(self, features: Tensor) -> Tensor:
        """Coordinates in the plane, [n, d] -> [n, 2]."""
        return (features - self.mean) @ self.components.T

    def lift(self, points: Tensor) -> Tensor:
        """The features at points of the plane (inverse PCA), [m, 2] -> [m, d]."""
        return points @ self.components + self.mean


def principal_plane(features: Tensor) -> Plane:
    """The plane through the mean of features [n, d] that keeps most of their variance.

    Computed in float64. Raises ValueError for fewer than three rows or two columns, or for
    features without variance.
    """
    n, d = features.shape
    if n < 3 or d < 2:
        raise ValueError(f"a plane needs at least 3 features of 2 values, not {n} of {d}")
    mean, singular, axes = _principal_axes(features)
    variance = singular.square()
    if variance.sum() == 0:
        raise ValueError(f"all {n} features are equal, so that no plane is preferred")
    largest = axes[:2].gather(1, axes[:2].abs().argmax(1, keepdim=True))
    return Plane(
        mean=mean.to(features),
        components=(axes[:2] * largest.sign()).to(features),
        explained=(variance[:2] / variance.sum()).to(features),
    )


@torch.no_grad()
def decision_regions(
    plane: Plane,
    head: Callable[[Tensor], Tensor],
    points: Tensor,
    *,
    resolution: int = 150,
    margin: float = 0.05,
) -> tuple[Tensor, Tensor, Tensor]:
    """The class that `head` names at each node of a mesh in the plane (paper 001, §5.1).

    Args:
        head: features [m, d] -> logits [m, classes], as the last layer of a classifier does.
        points: [n, 2] in the plane; the mesh covers their range, widened on each side by the
            share `margin` of it (of 1 where all points agree).

    Returns:
        xs [r], ys [r], and labels int64 [r, r], where labels[i, j] belongs to ys[i] and xs[j].
    """
    low, high = points.amin(0), points.amax(0)
    width = torch.where(high > low, high - low, 1.0)
    (x0, y0), (x1, y1) = (low - margin * width).tolist(), (high + margin * width).tolist()
    xs = torch.linspace(x0, x1, resolution, dtype=points.dtype, device=points.device)
    ys = torch.linspace(y0, y1, resolution, dtype=points.dtype, device=points.device)
    y, x = torch.meshgrid(ys, xs, indexing="ij")
    mesh = torch.stack([x, y], dim=-1).flatten(0, 1)  # [r · r, 2]
    return xs, ys, head(plane.lift(mesh)).argmax(1).reshape(resolution, resolution)


@torch.no_grad()
def region_agreement(
    plane: Plane, head: Callable[[Tensor], Tensor], features: Tensor, predicted: Tensor
) -> float:
    """Share of features [n, d] that keep their class, predicted [n], when moved into the plane.

    In [0, 1]; 1 says that the regions drawn in the plane are the classifier's own for these
    samples.
    """
    flat = plane.lift(plane.project(features))
    return (head(flat).argmax(1) == predicted).double().mean().item()


# --- sparse units -----------------------------------------------------------------------------


class SparseAutoencoder(nn.Module):
    """k-sparse autoencoder (Makhzani & Frey 2014, arXiv 1312.5663).

    A linear encoder, of which only the `active` largest positive pre-activations survive, and a
    linear decoder whose dictionary has rows of norm 1. Deviations: negative pre-activations are
    zero even among the largest, and the decoder's bias is the stored mean, not learned.

    encoder, dictionary: [units, inputs]; bias: [units].  mean: [inputs] and scale: a scalar,
    which standardise the features, (x − mean) / scale.

    Without a generator the dictionary is drawn with seed 0. Raises ValueError unless
    1 <= active <= units.
    """

    def __init__(
        self, inputs: int, units: int, active: int, *, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        if not 1 <= active <= units:
            raise ValueError(f"{active} active units are not between 1 and all {units}")
        if generator is None:
            generator = torch.Generator().manual_seed(0)
        rows = F.normalize(torch.randn(units, inputs, generator=generator), dim=1)
        self.active = active
        self.encoder = nn.Parameter(rows.clone())
        self.bias = nn.Parameter(torch.zeros(units))
        self.dictionary = nn.Parameter(rows)
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(()))

    def encode(self, x: Tensor) -> Tensor:
        """Codes [n, units] >= 0 of features [n, inputs], at most `active` positive in a row."""
        standardised = (x - self.mean) / self.scale
        codes = F.relu(F.linear(standardised, self.encoder, self.bias))
        values, units = codes.topk(self.active, dim=1)
        return torch.zeros_like(codes).scatter(1, units, values)

    def decode(self, codes: Tensor) -> Tensor:
        """Features [n, inputs], in their own units, of codes [n, units]."""
        return self.mean + self.scale * (codes @ self.dictionary)

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))


def fit_sparse_autoencoder(
    features: Tensor,
    *,
    units: int = 256,
    active: int = 8,
    steps: int = 1500,
    lr: float = 1e-3,
    batch: int = 256,
    seed: int = 0,
) -> tuple[SparseAutoencoder, list[float]]:
    """Fit by Adam on batches drawn with replacement from features [n, d].

    Against dead units, encoder and dictionary start from random centred features of norm 1, plus
    noise a tenth as long; nothing else is done, and units can still die:
    `(codes > 0).float().mean(0) == 0`. The scale makes the mean squared norm of standardised
    features d.

    Returns:
        The autoencoder, and for each step the unexplained share of its batch before the update:
        the mean squared error over the variance of all features.

    Raises ValueError for features without variance, ArithmeticError when the loss is not finite.
    """
    random = torch.Generator().manual_seed(seed)
    n, d = features.shape
    features = features.detach()
    model = SparseAutoencoder(d, units, active, generator=random).to(features)
    mean = features.double().mean(0)
    centred = features.double() - mean
    scale = centred.square().mean().sqrt()
    if scale <= torch.finfo(torch.float64).eps * features.double().abs().max():
        raise ValueError(f"all {n} features are equal, so that there is nothing to encode")
    with torch.no_grad():
        model.mean.copy_(mean)
        model.scale.copy_(scale)
        chosen = torch.randperm(max(n, units), generator=random)[:units] % n
        drawn = F.normalize(centred[chosen.to(features.device)], dim=1).to(features)
        # the constructor's rows are the noise: random directions of norm 1
        rows = F.normalize(drawn + 0.1 * model.dictionary, dim=1)
        model.dictionary.copy_(rows)
        model.encoder.copy_(rows)
    optimiser = torch.optim.Adam(model.parameters(), lr=lr)
    losses = []
    for step in range(steps):
        x = features[torch.randint(n, (batch,), generator=random).to(features.device)]
        loss = ((model(x) - x) / model.scale).square().mean()
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise ArithmeticError(f"the loss is {losses[-1]} at step {step} of {steps}")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            model.dictionary.copy_(F.normalize(model.dictionary, dim=1))
    return model, losses


# --- which units fire -------------------------------------------------------------------------


def firing_rates(codes: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Share of the samples of each class in which a unit fires, i.e. its code is positive.

    Codes [n, u] and labels int64 [n] -> [classes, u] float32 in [0, 1]; a row of NaN for a class
    without samples.
    """
    members = F.one_hot(labels, classes).float()  # [n, classes]
    return (members.T @ (codes > 0).float()) / members.sum(0)[:, None]


def strongest_units(rates: Tensor, count: int) -> Tensor:
    """Indices of the units that fire most often, rates [classes, u] -> int64 [classes, count].

    Ties go to the lower index. Raises ValueError for a class without rates (NaN) or for more
    units than there are.
    """
    if count > rates.shape[1]:
        raise ValueError(f"{count} units asked for, of only {rates.shape[1]}")
    if rates.isnan().any():
        raise ValueError("a class without samples has no strongest units")
    return rates.argsort(dim=1, descending=True, stable=True)[:, :count]


def jaccard(a: Tensor, b: Tensor) -> float:
    """|a ∩ b| / |a ∪ b| of two index sets, [k] each, in [0, 1]; two empty sets are equal, 1."""
    first, second = set(a.tolist()), set(b.tolist())
    return len(first & second) / len(first | second) if first | second else 1.0


def firing_surprise(
    codes: Tensor, predicted: Tensor, rates: Tensor, *, floor: float = 0.01
) -> Tensor:
    """How unusual it is for the predicted class which units fire, in nats for each unit -> [n].

    Minus the mean over units of log p(fires or not), each an independent Bernoulli variable with
    the training rate of the predicted class, clamped to [floor, 1 − floor]. An anomaly score
    that has seen no anomaly.

    Args:
        codes: [n, u].  predicted: int64 [n].  rates: [classes, u], of training samples.

    Raises ValueError for a floor outside (0, 1/2], or a predicted class without rates (NaN).
    """
    if not 0 < floor <= 0.5:
        raise ValueError(f"the floor is a probability in (0, 1/2], not {floor}")
    expected = rates[predicted]  # [n, u]
    if expected.isnan().any():
        raise ValueError("a predicted class has no training samples to take rates from")
    p = expected.clamp(floor, 1 - floor)
    return -torch.where(codes > 0, p.log(), (1 - p).log()).mean(1)


# --- clusters ---------------------------------------------------------------------------------


def cluster_count(features: Tensor, *, most: int = 6, references: int = 10, seed: int = 0) -> int:
    """How many clusters the features [n, d] of a class form, in 1..most.

    One, unless the gap statistic (Tibshirani et al. 2001, §3) prefers two, i.e.
    gap(1) < gap(2) − s(2), with `references` uniform samples in the box aligned with the
    principal axes; otherwise the number with the largest mean silhouette (Rousseeuw 1987), the
    smallest of equals. Deviation: Tibshirani et al. go on with the gap for more than two. The
    clusters are of k-means, in the principal axes, which leaves distances as they are.

    Equal features form 1 cluster. Raises ValueError for fewer than 10 samples or `most` outside
    2..n − 1.
    """
    n = len(features)
    if n < 10:
        raise ValueError(f"{n} samples are too few to count clusters, at least 10 are needed")
    if not 2 <= most < n:
        raise ValueError(f"at most {most} clusters of {n} samples: not in 2..{n - 1}")
    mean, singular, axes = _principal_axes(features)
    if singular[0] == 0:
        return 1
    rotated = ((features.detach().double() - mean) @ axes[singular > 0].T).cpu().numpy()

    def k_means(x: np.ndarray, k: int) -> KMeans:
        return KMeans(k, n_init=3, random_state=seed).fit(x)

    def log_spread(x: np.ndarray) -> tuple[float, float]:
        """log W(1), log W(2): squares around the centres of one and of two clusters."""
        one, two = ((x - x.mean(0)) ** 2).sum(), k_means(x, 2).inertia_
        return math.log(one), math.log(max(two, 1e-30 * one))  # W(2) = 0 if two points repeat

    random = np.random.default_rng(seed)
    low, high = rotated.min(0), rotated.max(0)
    reference = [log_spread(random.uniform(low, high, rotated.shape)) for _ in range(references)]
    gap = np.mean(reference, axis=0) - log_spread(rotated)
    s = np.std(reference, axis=0)[1] * math.sqrt(1 + 1 / references)
    if gap[0] >= gap[1] - s:
        return 1
    # k-means finds no more clusters than there are different rows
    counts = range(2, min(most, len(features.unique(dim=0))) + 1)
    scores = [silhouette_score(rotated, k_means(rotated, k).labels_) for k in counts]
    return counts[int(np.argmax(scores))]
