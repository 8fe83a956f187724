r"""Training images from the change of a first layer, whose rows are mixtures of them.

Whatever the optimiser, W₁ − W₁(0) = Σᵢ dᵢ xᵢᵀ: its rows span the training images (`lib.rowspace`). The
derivatives of photographs are sparse, those of a mixture less so, and independent component analysis
undoes the mixing; the idea is that of the cocktail party attack on gradients (Kariyappa et al. 2023).
Three things make it scale here.

One density for a pixel: the derivatives of an image at one pixel, in all directions and colours, are
small or large together, so a source has the energy e(p) of all of them, and the negative log-likelihood
of sources s = W F is, with rows of W scaled so that each source has unit power,

    L(W) = Σᵢ mean over p of ½ log(ε + eᵢ(p)) − log |det W|.

No orthogonality: sources of one network are correlated, so W may be any invertible matrix.

A ladder of ranks: the strongest directions of the row space are unmixed first, and what several starts
agree on seeds the next rung. Agreement also ranks the candidates, without any image to compare with.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lib.rowspace import row_space

# Settings, fixed on networks and images that no published run has.
LOWEST, HIGHEST = 0.2, 300  # the first rung, as a share of the rank; the largest rank
GAP, MOST_RUNGS = 15, 9  # ranks from rung to rung, or more where there would be more rungs
FLOORS = (0.1, 0.01, 0.001)  # ε, one after the other
ITERATIONS = 60  # of L-BFGS, for each
WITNESSES = 3  # starts whose agreement counts, the best of them
AGREED = 0.7  # agreement from which a component seeds the next rung
SEEDED = 0.9  # the largest share of a rung's components that are seeded
NEW = 0.3  # of a seed's length, outside of the span of the others
KEPT = 2  # components handed over, over the rank
SAME = 0.9  # |correlation| from which two components are one
TINY = 1e-12


@dataclass(frozen=True)
class Unmixed:
    """What the attack hands over: candidates and how much it trusts each of them."""

    candidates: Tensor  # [2m, c, h, w], each component and its negative; the largest |pixel| is 1
    trust: Tensor  # agreement over starts, in [0, 1], falling [2m]
    rank: int  # of the row space, at the top of the ladder
    seconds: float


def unmix(
    change: Tensor,
    shape: tuple[int, int, int],
    *,
    seed: int,
    rank: int | None = None,
    bias: Tensor | None = None,
    starts: int = 2,
) -> Unmixed:
    """Candidates for the training images, from a first layer alone.

    Args:
        change: W₁ [k, d], or W₁ − W₁(0) where the start is known.
        shape: (c, h, w) of an image, c·h·w = d.
        rank: of the row space; None takes what stands out of the noise, at most `HIGHEST`.
        bias: the same of the layer's bias [k], for the sign that comes first (`likelier_sign`); both
            signs are handed over.
        starts: on each rung, half of them random and half from what was agreed on before.

    Raises:
        ValueError: for a change that is not a finite matrix, a shape that does not fit it, a rank
            above that of the row space, a number of starts below 2, or when no direction stands out
            of the noise.
    """
    _require(change, shape, bias, starts)
    began = time.perf_counter()
    basis = row_space(change.double(), rank)
    basis = basis[: HIGHEST if rank is None else rank].to(torch.float32)
    maps = derivatives(basis.reshape(-1, *shape))
    found: list[Tensor] = []  # coefficients in the basis [components, rank], one for each start
    agreed = basis.new_zeros(0, len(basis))
    generator = torch.Generator().manual_seed(seed)
    for height in rungs(len(basis)):
        problem = Sources(maps[:height])
        for start in range(starts):
            seeds = agreed[: int(SEEDED * height), :height] if start % 2 else None
            found.append(_widened(problem.fitted(seeds, generator), len(basis)))
        pooled, trust = consensus([one @ basis for one in found])
        coefficients = torch.cat(found)[pooled]
        agreed = coefficients[trust > AGREED]
    kept = slice(KEPT * len(basis))
    candidates, trust = coefficients[kept] @ basis, trust[kept]
    return _handed_over(candidates, trust, change, bias, shape, len(basis), began)


def _widened(coefficients: Tensor, columns: int) -> Tensor:
    return torch.nn.functional.pad(coefficients, (0, columns - coefficients.shape[1]))


def _handed_over(
    flat: Tensor,
    trust: Tensor,
    change: Tensor,
    bias: Tensor | None,
    shape: tuple[int, int, int],
    rank: int,
    began: float,
) -> Unmixed:
    """Both signs of each component, that of the bias first, scaled to a largest pixel of 1."""
    flat = flat / flat.abs().amax(1, keepdim=True).clamp(min=TINY)
    if bias is not None:
        flat = flat * likelier_sign(flat, change, bias)[:, None]
    both = torch.stack([flat, -flat], dim=1).flatten(0, 1).reshape(-1, *shape)
    return Unmixed(
        both.to(change), trust.repeat_interleave(2).to(change), rank, time.perf_counter() - began
    )


def _require(change: Tensor, shape: tuple[int, int, int], bias: Tensor | None, starts: int) -> None:
    if change.ndim != 2:
        raise ValueError(
            f"the change of a layer is a matrix [neurons, inputs], not {list(change.shape)}"
        )
    if math.prod(shape) != change.shape[1] or len(shape) != 3 or min(shape[1:]) < 3:
        raise ValueError(
            f"images {tuple(shape)} do not fit a layer of {change.shape[1]} inputs; (channels, "
            "height, width) with sides of at least 3 are needed"
        )
    if not change.isfinite().all():
        raise ValueError("the change of the layer holds values that are not finite")
    if bias is not None and bias.shape != change.shape[:1]:
        raise ValueError(
            f"a bias {list(bias.shape)} does not belong to a layer of {len(change)} neurons"
        )
    if starts < 2:
        raise ValueError(f"starts is {starts}: agreement needs at least 2")


def rungs(rank: int) -> list[int]:
    """The ranks that are unmixed one after the other, the last one the whole."""
    count = min(MOST_RUNGS, max(1, round((1 - LOWEST) * rank / GAP)))
    shares = [1 - (1 - LOWEST) * step / max(1, count - 1) for step in range(count)]
    return sorted({round(share * rank) for share in shares})


# --- the features ----------------------------------------------------------------------------------


def derivatives(images: Tensor) -> Tensor:
    """Seven derivatives of each opponent channel at the inner pixels, [m, c, h, w] -> [m, f, p].

    First ones along rows, columns and both diagonals, second ones along rows, columns and mixed.
    Colours are turned into brightness and two opponents first.
    """
    if images.shape[1] == 3:
        opponents = images.new_tensor([[1, 1, 1], [1, -1, 0], [1, 1, -2]])
        opponents = opponents / opponents.norm(dim=1, keepdim=True)
        images = torch.einsum("oc,mchw->mohw", opponents, images)
    kernels = images.new_tensor(
        [
            [[0, 0, 0], [0, -1, 1], [0, 0, 0]],
            [[0, 0, 0], [0, -1, 0], [0, 1, 0]],
            [[0, 0, 0], [0, -1, 0], [0, 0, 1]],
            [[0, 0, 0], [0, -1, 0], [1, 0, 0]],
            [[0, 0, 0], [1, -2, 1], [0, 0, 0]],
            [[0, 1, 0], [0, -2, 0], [0, 1, 0]],
            [[1, 0, -1], [0, 0, 0], [-1, 0, 1]],
        ]
    )
    m, c, h, w = images.shape
    maps = torch.nn.functional.conv2d(images.reshape(m * c, 1, h, w), kernels[:, None])
    return maps.reshape(m, 7 * c, -1)


# --- the likelihood --------------------------------------------------------------------------------


class Sources:
    """L(W) for the features [r, f, p] of a basis, in coordinates in which their power is white."""

    def __init__(self, maps: Tensor) -> None:
        flat = maps.flatten(1)
        power = (flat @ flat.T).double() / flat.shape[1]
        values, vectors = torch.linalg.eigh(power)
        values = values.clamp(min=1e-9 * values[-1].item()).sqrt()
        self.root = ((vectors * values) @ vectors.T).to(maps)  # coefficients -> W
        self.inverse_root = ((vectors / values) @ vectors.T).to(maps)
        self.white = self.inverse_root @ flat  # [r, f p]
        self.shape = maps.shape

    def value_and_gradient(self, w: Tensor, floor: float) -> tuple[Tensor, Tensor]:
        """L -> scalar, and its gradient with respect to w [r, r], whose rows have any length.

        floor: ε, the energy that counts as none.
        """
        _, features, pixels = self.shape
        norms = w.norm(dim=1, keepdim=True)
        unit = w / norms
        sources = (unit @ self.white).reshape(len(w), features, pixels)
        energy = floor + sources.square().mean(1)
        factors, pivots = torch.linalg.lu_factor(unit)
        value = energy.log().mean(1).sum() / 2 - factors.diagonal().abs().log().sum()
        slope = (sources / energy[:, None]).flatten(1) @ self.white.T / (features * pixels)
        slope = slope - torch.linalg.lu_solve(factors, pivots, torch.eye(len(w)).to(w)).T
        slope = (slope - (slope * unit).sum(1, keepdim=True) * unit) / norms
        return value, slope

    def fitted(self, seeds: Tensor | None, generator: torch.Generator) -> Tensor:
        """Components as coefficients of the basis [r, r], from seeds [k, r] and random directions.

        The random ones are orthogonal to the seeds and to each other.
        """
        rank = len(self.white)
        w = torch.randn(rank, rank, generator=generator).to(self.white)
        if seeds is not None and len(seeds):
            given, span = independent(torch.nn.functional.normalize(seeds @ self.root))
            rest = w[len(given) :]
            rest = torch.linalg.qr((rest - rest @ span.T @ span).T).Q.T
            w = torch.cat([given, rest])
        else:
            w = torch.linalg.qr(w).Q.contiguous()
        w = w.contiguous().requires_grad_()
        for floor in FLOORS:
            self._descend(w, floor)
        unit = torch.nn.functional.normalize(w.detach())
        return unit @ self.inverse_root

    def _descend(self, w: Tensor, floor: float) -> None:
        optimiser = torch.optim.LBFGS(
            [w], max_iter=ITERATIONS, history_size=10, line_search_fn="strong_wolfe",
            tolerance_grad=1e-6, tolerance_change=1e-7,
        )  # fmt: skip

        def evaluate() -> Tensor:
            value, w.grad = self.value_and_gradient(w.detach(), floor)
            return value

        optimiser.step(evaluate)


def independent(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The rows [k, r] that are not nearly combinations of earlier ones, and an orthonormal basis.

    Those with less than `NEW` of their length outside of the span so far are left out.
    """
    basis = rows.new_zeros(0, rows.shape[1])
    chosen: list[int] = []
    for index, row in enumerate(rows):
        outside = row - (row @ basis.T) @ basis
        outside = outside - (outside @ basis.T) @ basis  # once more, for rounding
        if outside.norm() > NEW * row.norm():
            chosen.append(index)
            basis = torch.cat([basis, (outside / outside.norm())[None]])
    return rows[chosen], basis


# --- what starts agree on --------------------------------------------------------------------------


def consensus(starts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """(indices of distinct components, their agreement), the most agreed on first.

    A component's agreement is its largest |correlation| with one of another start, the mean over
    the `WITNESSES` starts that have the largest. Of components that correlate above `SAME` the most
    agreed on stands for all.

    starts: components [m, d] of each start; indices count through all of them together.
    """
    everything = torch.cat(list(starts))
    centred = everything - everything.mean(1, keepdim=True)
    alike = torch.nn.functional.normalize(centred)
    alike = (alike @ alike.T).abs()
    owner = torch.cat([torch.full((len(one),), i) for i, one in enumerate(starts)])
    best = torch.stack(
        [alike[:, (owner == i).to(alike.device)].amax(1) for i in range(len(starts))]
    )
    best[owner, torch.arange(len(owner))] = 0
    trust = best.topk(min(WITNESSES, len(starts) - 1), dim=0).values.mean(0)
    chosen: list[int] = []
    left = torch.ones_like(trust, dtype=torch.bool)
    for index in trust.argsort(descending=True, stable=True).tolist():
        if left[index]:
            chosen.append(index)
            left &= alike[index] <= SAME
    indices = torch.tensor(chosen, device=trust.device)
    return indices, trust[indices].clamp(max=1)


def likelier_sign(components: Tensor, change: Tensor, bias: Tensor) -> Tensor:
    """The sign of each component by the bias, ±1 [m].

    A gradient step that adds dᵢ xᵢᵀ to the weights adds dᵢ to the bias, so the column of a
    component's mixing and the bias agree in sign when the component has the image's and its mixing
    is known. Pooled over starts there are more components than directions, and no mixing is the
    only one: on trained networks this is right for about half of the images, which is chance.

    components: [m, d]; change: [k, d]; bias: [k].
    """
    solved = torch.linalg.lstsq(components.double().T, change.double().T).solution  # [m, k]
    agreement = solved @ bias.double()
    return torch.where(agreement < 0, -1.0, 1.0).to(components)
