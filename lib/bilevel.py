r"""Training images as the ones whose training gives these weights (paper 003, eqs 2 and 7).

    min over x of ‖θ* − θ(x, y)‖²,   θ(x, y) the optimum of `lib.lower_level`

By implicit differentiation, ∇E(x; θ(x)) = 0 gives for v = 2 (θ(x) − θ*) the gradient

    −∇ₓ ⟨∇_θ E(x, y; θ), p⟩,   p = [∇²_θ E]⁻¹ v.

Equation 7 of the paper lacks the minus sign: with it left out each step goes uphill. θ* lies
outside of the span of the current images; there the Hessian is decay · I, so that its inverse is
1/decay, and the part of p is known without any solve.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.losses import NonFiniteLoss
from lib.lower_level import (
    Change,
    Layers,
    LowerLevel,
    LowerLevelStopped,
    activation,
    activation_slope,
    lower_level,
    solve,
    solve_by_products,
)

Inverse = Callable[[LowerLevel, Tensor], Tensor]

LARGEST_EXACT = 2000  # unknowns, for which a Hessian takes 32 MB
CG_TOLERANCE, MOST_CG_STEPS = 1e-10, 500


# --- three inverses of the Hessian: (problem at its optimum, v [p]) -> [∇²E]⁻¹ v [p] ---------------


def exact(problem: LowerLevel, vector: Tensor) -> Tensor:
    """From the whole Hessian, n + 1 unknowns for an affine classifier.

    Raises ValueError where that matrix would be too large.
    """
    if len(vector) > LARGEST_EXACT:
        raise ValueError(
            f"the Hessian of {len(vector)} unknowns is too large for the exact inverse, which "
            f"takes up to {LARGEST_EXACT}: take conjugate gradients"
        )
    hessian = torch.autograd.functional.hessian(problem.energy, problem.z, vectorize=True)
    return torch.linalg.solve(hessian, vector)


def conjugate_gradients(problem: LowerLevel, vector: Tensor) -> Tensor:
    """From products with the Hessian, to a relative residual of 1e-10."""
    return solve_by_products(problem.hessian_product, vector, CG_TOLERANCE, MOST_CG_STEPS)


def quasi_newton(problem: LowerLevel, vector: Tensor) -> Tensor:
    """From the pairs that L-BFGS left behind (paper 003, eq 7; Nocedal 1980, two loops).

    It starts from 1/decay, the inverse in every direction that no image touches.
    """
    result, kept = vector.clone(), []
    for step, change in reversed(problem.memory):
        share = (step @ result) / (step @ change)
        result = result - share * change
        kept.append((share, step, change))
    result = result / problem.decay
    for share, step, change in reversed(kept):
        result = result + (share - (change @ result) / (step @ change)) * step
    return result


INVERSES: dict[str, Inverse] = {
    "exact": exact,
    "conjugate gradients": conjugate_gradients,
    "quasi-Newton": quasi_newton,
}


# --- the gradient ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """θ(x) − θ* in the span of the images; outside of it W₁* − W₁⁰ leaves left · outside."""

    inside: Tensor  # [p]
    left: Tensor  # [k, r]
    outside: Tensor  # [r, d]

    def squared(self) -> Tensor:
        """‖θ* − θ(x)‖² -> scalar."""
        gram = self.outside @ self.outside.T
        return self.inside.square().sum() + ((self.left.T @ self.left) * gram).sum()


def difference(problem: LowerLevel, given: Change) -> Difference:
    """θ(x) − θ*, without ever forming W₁."""
    overlap = given.right @ problem.basis.T
    inside = problem.z - problem.coordinates(given)
    return Difference(inside, given.left, given.right - overlap @ problem.basis)


def directional_derivative(
    problem: LowerLevel, x: Tensor, inside: Tensor, left: Tensor, outside: Tensor
) -> Tensor:
    """⟨∇_θ E(x, y; θ), p⟩ up to a constant in x, differentiable in x [n, d] -> scalar.

    p has the coordinates `inside` [p] and W₁ gets left · outside besides. The network is swept
    once, each value h with its change ḣ under θ + εp.
    """
    (first, *rest), (turn, *turns) = problem.parts(problem.z), problem.parts(inside)
    bias, *rest = (a + b for a, b in zip(rest, problem.rest))
    inputs = x @ problem.basis.T
    value = x @ problem.weight.T + inputs @ first.T + bias
    change = inputs @ turn.T + turns[0] + (x @ outside.T) @ left.T
    for weight, bias, turn, shift in zip(rest[::2], rest[1::2], turns[1::2], turns[2::2]):
        change = activation_slope(value, problem.sharpness) * change
        value = activation(value, problem.sharpness)
        change = F.linear(change, weight) + F.linear(value, turn, shift)
        value = F.linear(value, weight, bias)
    margins, turned = (problem.signs * one[:, 0] for one in (value, change))
    return -(torch.sigmoid(-margins) * turned).mean()


def hypergradient(
    problem: LowerLevel, x: Tensor, given: Change, inverse: Inverse
) -> tuple[Tensor, Tensor]:
    """‖θ* − θ(x)‖² -> scalar, and its gradient with respect to the images [n, d].

    problem: solved for x [n, d]; given: θ* − θ⁰.
    """
    apart = difference(problem, given)
    inside = inverse(problem, 2 * apart.inside)
    x = x.detach().requires_grad_()
    value = directional_derivative(
        problem, x, inside, apart.left * (-2 / problem.decay), apart.outside
    )
    return apart.squared(), -torch.autograd.grad(value, x)[0]


# --- the attack ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bilevel:
    """Images at the end; how the distance fell; every lower level that was solved."""

    images: Tensor  # [n, d]
    change: Change  # θ(x) − θ⁰ at the end
    distances: list[float]  # ‖θ* − θ(x)‖², at the start and after each step
    gradient_norms: list[float]  # of each lower level, those of steps not kept included
    kept: list[bool]  # whether its images were
    lower_steps: int
    lower_seconds: float


def bilevel_attack(
    given: Change,
    origin: Layers,
    signs: Tensor,
    start: Tensor,
    *,
    steps: int,
    decay: float,
    tolerance: float,
    first: Change | None = None,
    inverse: str = "exact",
    sharpness: float | None = None,
) -> Bilevel:
    """Descend on ‖θ* − θ(x, y)‖² from `start`, labels known (paper 003, eq 7).

    A step is x − η g with Polyak's length η = c ‖θ* − θ‖² / ‖g‖² (Polyak 1969: the smallest value
    is known, 0). It is kept if the distance falls, and c doubles; else c becomes a quarter of
    itself and x stays; so it is for a step whose lower level stops far from its tolerance. Each
    lower level starts at the optimum of the best images so far.

    Args:
        given: θ* − θ⁰; origin: θ⁰, zeros for weight decay; signs: labels ±1 [n].
        start: images [n, d], in the dtype of the weights (float64 for small tolerances).
        steps: of x, kept or not.
        decay, tolerance, sharpness: of the lower level.
        first: θ − θ⁰ where the first lower level starts; None: θ = θ⁰.
        inverse: a key of `INVERSES`.

    Raises:
        LowerLevelStopped: by the lower level of the start.
        ValueError: as `lower_level` does, for an unknown inverse, or for steps below 0.
        NonFiniteLoss: for a step that is not finite; the message names it.
    """
    if inverse not in INVERSES:
        raise ValueError(f"inverse is {inverse!r}, known: {', '.join(map(repr, INVERSES))}")
    if steps < 0:
        raise ValueError(f"steps is {steps}, at least 0 are needed")
    tried: list[LowerLevel] = []
    kept: list[bool] = []

    def trained(x: Tensor, begin: Change | None) -> float:
        """‖θ* − θ(x)‖²; the problem is the last of those tried."""
        tried.append(lower_level(x, signs, origin, decay=decay, sharpness=sharpness))
        solve(tried[-1], begin, tolerance=tolerance, by_lbfgs=inverse == "quasi-Newton")
        return difference(tried[-1], given).squared().item()

    x, scale, gradient = start.detach(), 1.0, None
    value = trained(x, first)
    best, distances = tried[-1], [value]
    kept.append(True)
    for step in range(1, steps + 1):
        if gradient is None:
            _, gradient = hypergradient(best, x, given, INVERSES[inverse])
            squared = gradient.square().sum().item()
        if not math.isfinite(squared):
            raise NonFiniteLoss(f"the gradient in the images is not finite at step {step}")
        if squared > 0:
            moved = x - scale * value / squared * gradient
            try:
                distance = trained(moved, best.change())
            except LowerLevelStopped:
                distance = math.inf
            kept.append(distance < value)
            if kept[-1]:
                x, best, value, gradient, scale = moved, tried[-1], distance, None, 2 * scale
            else:
                scale /= 4
        distances.append(value)
    return Bilevel(
        x,
        best.change(),
        distances,
        [one.gradient_norm for one in tried],
        kept,
        sum(one.steps for one in tried),
        sum(one.seconds for one in tried),
    )
