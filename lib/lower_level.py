r"""Train a small network to its optimum, in the few dimensions that its images span.

The lower level of the bilevel attack (paper 003, eq 1), with the weight decay that makes its
optimum one of finite weights:

    θ(x, y) = argmin E(x, y; θ),   E = (1/n) Σᵢ log(1 + exp(−yᵢ Φ(xᵢ; θ))) + decay/2 ‖θ‖².

Φ is an affine classifier or a ReLU network, biases in every layer. The images enter through W₁xᵢ
alone, so the part of W₁ outside of their span has the gradient decay · W₁ and vanishes at every
optimum: W₁ = V Q with an orthonormal basis Q of the span. A network of 3,072 inputs is trained by
20 coordinates of each, exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.losses import NonFiniteLoss

MEMORY = 50  # pairs that L-BFGS keeps
CHECKED_EVERY = 5  # steps of L-BFGS between two looks at the gradient norm
STALLED_AFTER = 20  # such looks in a row without a smaller norm or loss: rounding has the word


class LowerLevelStopped(RuntimeError):
    """The lower level ended far from its tolerance; the message says how far."""


@dataclass(frozen=True)
class Weights:
    """θ of a network, its first matrix as a product W₁ = left · right.

    left: [k, r]; right: [r, d]; rest: the first bias [k], then weight and bias of every further
    layer. A dense W₁ is the product of itself and an identity: see `dense_weights`.
    """

    left: Tensor
    right: Tensor
    rest: tuple[Tensor, ...]

    def to(self, like: Tensor | torch.device | str) -> Weights:
        """The same on another device, or with the device and dtype of a tensor."""
        return Weights(self.left.to(like), self.right.to(like), tuple(p.to(like) for p in self.rest))

    def layers(self) -> list[tuple[Tensor, Tensor]]:
        """(weight [k', k], bias [k']) of every layer, as `lib.kkt` takes them."""
        parts = [self.left @ self.right, *self.rest]
        return list(zip(parts[::2], parts[1::2]))

    def squared_norm(self) -> Tensor:
        """‖θ‖² -> scalar."""
        first = ((self.left.T @ self.left) * (self.right @ self.right.T)).sum()
        return first + sum(part.square().sum() for part in self.rest)


def dense_weights(layers: Sequence[tuple[Tensor, Tensor]]) -> Weights:
    """The same weights as a product, from (weight [k', k], bias [k']) of every layer.

    The identity takes the smaller side of W₁. Raises ValueError if a layer has no bias.
    """
    if any(bias is None for _, bias in layers):
        raise ValueError("the bilevel attack needs a bias in every layer")
    first, *rest = [part for layer in layers for part in layer]
    identity = torch.eye(min(first.shape), dtype=first.dtype, device=first.device)
    left, right = (identity, first) if len(first) == len(identity) else (first, identity)
    return Weights(left, right, tuple(rest))


@dataclass
class LowerLevel:
    """E(x, y; θ) as a function of coordinates z [p]: V, then the other weights, all flattened.

    basis: Q, orthonormal rows [r, d]; inputs: x in that basis [n, r]; signs: yᵢ in {−1, +1} [n].
    sharpness: β of the softplus log(1 + exp(βz))/β in the place of max(z, 0), which has second
    derivatives everywhere, as eq 7 needs; None: the true one, whose curvature at its kinks is lost.
    After `solve`: z, gradient_norm, steps and memory are those of the optimum.
    """

    basis: Tensor
    inputs: Tensor
    signs: Tensor
    decay: float
    shapes: list[torch.Size]
    sharpness: float | None = None
    z: Tensor | None = None
    gradient_norm: float = math.inf
    steps: int = 0
    memory: list[tuple[Tensor, Tensor]] = field(default_factory=list)  # (Δz, Δ∇E), oldest first
    _gradient: tuple[Tensor, Tensor] | None = None

    def parts(self, z: Tensor) -> list[Tensor]:
        """V [k, r] and the other weights in their shapes."""
        sizes = [shape.numel() for shape in self.shapes]
        return [part.reshape(shape) for part, shape in zip(z.split(sizes), self.shapes)]

    def coordinates(self, weights: Weights) -> Tensor:
        """z of given weights; what W₁ has outside of the span is left out."""
        inside = weights.left @ (weights.right @ self.basis.T)
        return torch.cat([part.flatten() for part in (inside, *weights.rest)])

    def weights(self) -> Weights:
        """θ at the optimum."""
        first, *rest = self.parts(self.z)
        return Weights(first, self.basis, tuple(rest))

    def energy(self, z: Tensor) -> Tensor:
        """E -> scalar."""
        hidden, parts = self.inputs, self.parts(z)
        for weight, bias in zip(parts[:-2:2], parts[1:-2:2]):
            hidden = activation(F.linear(hidden, weight, bias), self.sharpness)
        margins = self.signs * F.linear(hidden, *parts[-2:])[:, 0]
        return F.softplus(-margins).mean() + self.decay / 2 * z.square().sum()

    def gradient(self, z: Tensor) -> Tensor:
        """∇E [p]."""
        z = z.detach().requires_grad_()
        return torch.autograd.grad(self.energy(z), z)[0]

    def hessian_product(self, vector: Tensor) -> Tensor:
        """∇²E · vector at the optimum [p]."""
        if self._gradient is None:
            z = self.z.detach().requires_grad_()
            self._gradient = z, torch.autograd.grad(self.energy(z), z, create_graph=True)[0]
        z, gradient = self._gradient
        return torch.autograd.grad(gradient, z, vector, retain_graph=True)[0]


def activation(z: Tensor, sharpness: float | None) -> Tensor:
    """max(z, 0), or its smooth version of that sharpness."""
    return z.relu() if sharpness is None else F.softplus(z, beta=sharpness)


def slope(z: Tensor, sharpness: float | None) -> Tensor:
    """The derivative of `activation`."""
    return (z > 0).to(z) if sharpness is None else torch.sigmoid(sharpness * z)


def lower_level(
    x: Tensor, signs: Tensor, like: Weights, *, decay: float, sharpness: float | None = None
) -> LowerLevel:
    """The problem of images x [n, d] and labels ±1 [n] for a network of the shape of `like`.

    Raises ValueError for a decay that is not positive (the Hessian would be singular and no
    optimum finite), labels that are not ±1, or shapes that do not fit.
    """
    if not decay > 0:
        raise ValueError(f"decay is {decay:g}: without it the Hessian of the lower level is singular")
    if signs.shape != (len(x),) or not torch.equal(signs.abs(), torch.ones_like(signs)):
        raise ValueError(f"labels are one of -1 and +1 for each of the {len(x)} images")
    if x.ndim != 2 or x.shape[1] != like.right.shape[1]:
        raise ValueError(
            f"images {list(x.shape)} do not fit a network of {like.right.shape[1]} inputs"
        )
    basis = torch.linalg.qr(x.detach().T).Q.T
    shapes = [torch.Size((len(like.left), len(basis))), *(part.shape for part in like.rest)]
    return LowerLevel(basis, x.detach() @ basis.T, signs, decay, shapes, sharpness)


def solve(
    problem: LowerLevel,
    start: Weights,
    *,
    tolerance: float,
    most_steps: int = 5000,
    memory: Sequence[tuple[Tensor, Tensor]] = (),
) -> LowerLevel:
    """Minimise E from `start` until ‖∇E‖ ≤ tolerance, by L-BFGS; the problem keeps the optimum.

    Args:
        tolerance: of the gradient norm. E is strongly convex for an affine classifier, and θ is
            then within tolerance / decay of the optimum.
        most_steps: of L-BFGS.

    Raises:
        LowerLevelStopped: if the norm is still above ten times the tolerance.
        NonFiniteLoss: if E is not finite.
    """
    z = problem.coordinates(start).detach().clone().requires_grad_()
    optimiser = torch.optim.LBFGS(
        [z],
        max_iter=CHECKED_EVERY,
        history_size=MEMORY,
        tolerance_grad=tolerance / math.sqrt(len(z)),  # of the largest entry
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def energy() -> Tensor:
        optimiser.zero_grad()
        value = problem.energy(z)
        value.backward()
        return value

    steps, waited, best = 0, 0, (math.inf, math.inf)
    while True:
        value, norm = energy().item(), z.grad.norm().item()
        if not math.isfinite(value + norm):
            raise NonFiniteLoss(f"the lower level's loss is {value} at step {steps}")
        waited = 0 if value < best[0] or norm < best[1] else waited + 1
        best = min(best[0], value), min(best[1], norm)
        if norm <= tolerance or steps >= most_steps or waited >= STALLED_AFTER:
            break
        optimiser.step(energy)
        steps = optimiser.state[z]["n_iter"]
    if norm > 10 * tolerance:
        raise LowerLevelStopped(
            f"the lower level's gradient norm is {norm:.1e} after {steps} steps, "
            f"its tolerance {tolerance:.1e}"
        )
    problem.z, problem.gradient_norm, problem.steps = z.detach(), norm, steps
    kept = optimiser.state[z]
    problem.memory = list(zip(kept.get("old_stps", []), kept.get("old_dirs", [])))
    return problem
