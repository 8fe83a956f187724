r"""What the first layer spans: its rows are combinations of the training images.

Full-batch (or mini-batch) gradient steps change the first weight matrix only by Σᵢ δ₁ᵢ xᵢᵀ, so
W₁ − W₁(0) has its rows in the span of the training inputs, exactly and at every step, whether
or not the network is near a KKT point. With a small initialisation the span stands out of the
noise and can be read off the singular values.
"""

import math
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from sklearn.decomposition import FastICA
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor


def noise_edge(singular_values: Tensor, rows: int, columns: int) -> float:
    """Largest singular value that Gaussian noise of the matrix's own level would show.

    The level is estimated from the median singular value by the Marchenko-Pastur law of a
    rows × columns matrix (Gavish & Donoho 2014, §III.E), so that a few large values do not
    matter. Below half the rank of signal the median is one of the noise.
    """
    beta = min(rows, columns) / max(rows, columns)
    low, high = (1 - math.sqrt(beta)) ** 2, (1 + math.sqrt(beta)) ** 2
    grid = np.linspace(low, high, 20_001)[1:-1]
    density = np.sqrt((high - grid) * (grid - low)) / grid
    median = grid[np.searchsorted(density.cumsum(), density.sum() / 2)]
    return singular_values.median().item() * math.sqrt(high / median)


def row_space(weight: Tensor, rank: int | None = None) -> Tensor:
    """Orthonormal basis [r, d] of the rows of `weight` [k, d] that stand out of the noise.

    Args:
        rank: r; `None` counts the singular values more than 2 % above `noise_edge`. With
            r = min(k, d) nothing is lost: outside the row space of W₁ a candidate can only add
            to the stationarity residual.

    Raises:
        ValueError: when no singular value stands out, that is, nothing was learnt.
    """
    _, values, basis = torch.linalg.svd(weight, full_matrices=False)
    if rank is None:
        rank = int((values > 1.02 * noise_edge(values, *weight.shape)).sum())
        if rank == 0:
            raise ValueError("no singular value of the first layer stands out of its noise")
    if not 1 <= rank <= len(basis):
        raise ValueError(f"rank {rank} is not between 1 and {len(basis)}")
    return basis[:rank]


def random_mixtures(
    weight: Tensor, shape: tuple[int, ...], count: int, *, seed: int, rank: int | None = None
) -> Tensor:
    """Random vectors of the row space, the null of every attack that searches it [count, *shape].

    Coordinates are normal, alike in all directions; each vector is scaled so that its largest
    entry is ±1. They are mixtures of the training images that nobody solved for: what they
    score is due to the space, not to an attack. weight, rank: as for `row_space`.
    """
    basis = row_space(weight, rank)
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(count, len(basis), generator=generator).to(basis) @ basis
    return (mixed / mixed.abs().amax(1, keepdim=True)).reshape(count, *shape)


def agreement(found: Tensor, others: Sequence[Tensor]) -> Tensor:
    """How well each of `found` comes back in other runs of the same attack -> [m] in [0, 1].

    The mean over the other runs of the largest |correlation| with any of their candidates. An
    adversary can compute it: no image is needed.

    found: candidates [m, ...]; others: of other starts, each [k, ...].
    """

    def unit(candidates: Tensor) -> Tensor:
        flat = candidates.flatten(1)
        return torch.nn.functional.normalize(flat - flat.mean(1, keepdim=True), dim=1)

    return torch.stack([(unit(found) @ unit(o).T).abs().amax(1) for o in others]).mean(0)


def image_derivatives(images: Tensor) -> Tensor:
    """Horizontal and vertical differences of neighbouring pixels, [n, c, h, w] -> [n, features]."""
    horizontal = images[..., :-1, 1:] - images[..., :-1, :-1]
    vertical = images[..., 1:, :-1] - images[..., :-1, :-1]
    return torch.cat([horizontal.flatten(1), vertical.flatten(1)], dim=1)


def whitening(features: Tensor) -> Tensor:
    """Symmetric M [r, r] with M·features [r, q] of identity second moment over the q columns."""
    values, vectors = torch.linalg.eigh(features @ features.T / features.shape[1])
    values = values.clamp(min=1e-12 * values[-1].item())
    return (vectors / values.sqrt()) @ vectors.T


def unmix(
    weight: Tensor, shape: tuple[int, int, int], *, seed: int, rank: int | None = None
) -> Tensor:
    """Candidates for the training images from the first layer alone, [2r, c, h, w].

    The derivatives of natural images are sparse and those of different images are nearly
    independent, while any mixture of images is less sparse. Independent component analysis
    (FastICA, Hyvärinen 1999) of the derivatives of the row space therefore undoes the mixing.
    The sign is not determined, so each component appears twice, as x and −x; the scale is set
    so that the largest pixel is ±1, the range of centred images.

    Args:
        weight: the first layer's W₁ [k, c·h·w].
        shape: (c, h, w) of an image.
    """
    basis = row_space(weight, rank)
    features = image_derivatives(basis.reshape(-1, *shape)).double()
    white = whitening(features)
    ica = FastICA(
        fun="logcosh",
        whiten=False,
        random_state=seed,
        max_iter=1000,
        tol=1e-4,
    )
    with warnings.catch_warnings():
        # components without structure of their own keep turning; the others have settled by then
        warnings.simplefilter("ignore", ConvergenceWarning)
        ica.fit((white @ features).T.cpu().numpy())
    components = torch.from_numpy(ica.components_).to(features) @ white @ basis.double()
    candidates = torch.cat([components, -components])
    candidates = candidates / candidates.abs().amax(dim=1, keepdim=True)
    return candidates.to(weight).reshape(-1, *shape)
