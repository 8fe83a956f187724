r"""Train a small network to its optimum, in the few dimensions that its images span.

The lower level of the bilevel attack (paper 003, eq 1), with an L2 term that makes its optimum one
of finite weights and its Hessian invertible there:

    θ(x, y) = argmin E(x, y; θ),  E = (1/n) Σᵢ log(1 + exp(−yᵢ Φ(xᵢ; θ))) + decay/2 ‖θ − θ⁰‖².

θ⁰ = 0 is weight decay. For a network with a hidden layer θ⁰ is where training starts: with weight
decay the units of one sign turn alike and optima come in families, without an inverse Hessian.

Φ is an affine classifier or a ReLU network, biases in every layer. The images enter through W₁xᵢ
alone, so outside of their span the gradient of E is decay (W₁ − W₁⁰), and there W₁ = W₁⁰ at every
optimum: W₁ − W₁⁰ = V Q with an orthonormal basis Q of the span. A network of 3,072 inputs is
trained by 20 coordinates of each row, exactly. Everything here is about changes θ − θ⁰.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.losses import NonFiniteLoss

MEMORY = 30  # pairs that L-BFGS keeps
LBFGS_STEPS = 300
CHECKED_EVERY = 5  # steps of L-BFGS between two looks at the gradient norm
STALLED_AFTER = 3  # such looks in a row without a smaller norm or loss: all is rounding
MOST_PRODUCTS = 500  # with the Hessian, for each linear system
MOST_UNKNOWNS = 20_000_000  # a vector of them takes 160 MB, and some ten are held
LENGTHS = [2.0**-halvings for halvings in range(40)]


class LowerLevelStopped(RuntimeError):
    """The lower level ended far from its tolerance; the message says how far."""


Layers = Sequence[tuple[Tensor, Tensor]]  # (weight [k', k], bias [k']) of every layer


@dataclass(frozen=True)
class Change:
    """θ − θ⁰ of a network, that of the first matrix as a product left · right.

    left: [k, r]; right: [r, d]; rest: of the first bias [k], then of weight and bias of every
    further layer.
    """

    left: Tensor
    right: Tensor
    rest: tuple[Tensor, ...]

    def to(self, like: Tensor | torch.device | str) -> Change:
        """The same on another device, or with the device and dtype of a tensor."""
        return Change(self.left.to(like), self.right.to(like), tuple(p.to(like) for p in self.rest))

    def layers(self, origin: Layers | None = None) -> list[tuple[Tensor, Tensor]]:
        """θ, or θ − θ⁰ without `origin`: (weight [k', k], bias [k']) of every layer."""
        parts = [self.left @ self.right, *self.rest]
        if origin is not None:
            parts = [a + b for a, b in zip(parts, _parts(origin))]
        return list(zip(parts[::2], parts[1::2]))

    def squared_norm(self) -> Tensor:
        """‖θ − θ⁰‖² -> scalar."""
        first = ((self.left.T @ self.left) * (self.right @ self.right.T)).sum()
        return first + sum(part.square().sum() for part in self.rest)


def as_change(layers: Layers) -> Change:
    """Layers as a product, exactly; the identity takes the smaller side of the first matrix."""
    first, *rest = _parts(layers)
    identity = torch.eye(min(first.shape), dtype=first.dtype, device=first.device)
    left, right = (identity, first) if len(first) == len(identity) else (first, identity)
    return Change(left, right, tuple(rest))


def _parts(layers: Layers) -> list[Tensor]:
    """Raises ValueError if a layer has no bias."""
    parts = [part for layer in layers for part in layer]
    if any(part is None for part in parts):
        raise ValueError("the bilevel attack needs a bias in every layer")
    return parts


@dataclass
class LowerLevel:
    """E(x, y; θ) as a function of coordinates z [p]: V, then the other changes, all flattened.

    basis: Q, orthonormal rows [r, d]; inputs: x in that basis [n, r]; signs: yᵢ in {−1, +1} [n];
    weight: W₁⁰ [k, d]; base: W₁⁰ xᵢ [n, k]; rest: the rest of θ⁰; shapes: of the parts of z.
    sharpness: β of log(1 + exp(βz))/β in the place of max(z, 0); None: max(z, 0).
    After `solve`: z, gradient_norm, steps, seconds and memory are those of the optimum.
    """

    basis: Tensor
    inputs: Tensor
    signs: Tensor
    decay: float
    weight: Tensor
    base: Tensor
    rest: list[Tensor]
    shapes: list[torch.Size]
    sharpness: float | None = None
    z: Tensor | None = None
    gradient_norm: float = math.inf
    steps: int = 0
    seconds: float = 0.0
    memory: list[tuple[Tensor, Tensor]] = field(default_factory=list)  # (Δz, Δ∇E), oldest first
    _gradient: tuple[Tensor, Tensor] | None = None

    def parts(self, z: Tensor) -> list[Tensor]:
        """V [k, r] and the other changes in their shapes."""
        sizes = [shape.numel() for shape in self.shapes]
        return [part.reshape(shape) for part, shape in zip(z.split(sizes), self.shapes)]

    def coordinates(self, change: Change) -> Tensor:
        """z of a change; what W₁ has outside of the span is left out."""
        inside = change.left @ (change.right @ self.basis.T)
        return torch.cat([part.flatten() for part in (inside, *change.rest)])

    def change(self) -> Change:
        """θ − θ⁰ at the optimum."""
        first, *rest = self.parts(self.z)
        return Change(first, self.basis, tuple(rest))

    def outputs(self, z: Tensor) -> Tensor:
        """Φ(xᵢ; θ) [n]."""
        first, *rest = self.parts(z)
        bias, *rest = (a + b for a, b in zip(rest, self.rest))
        value = self.base + self.inputs @ first.T + bias
        for weight, bias in zip(rest[::2], rest[1::2]):
            value = F.linear(activation(value, self.sharpness), weight, bias)
        return value[:, 0]

    def energy(self, z: Tensor) -> Tensor:
        """E -> scalar."""
        loss = F.softplus(-self.signs * self.outputs(z)).mean()
        return loss + self.decay / 2 * z.square().sum()

    def move_to(self, z: Tensor, gradient_norm: float, steps: int) -> None:
        """Take z for the optimum."""
        self.z, self.gradient_norm, self.steps, self._gradient = z, gradient_norm, steps, None

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
    return z.relu() if sharpness is None else F.softplus(z, beta=sharpness, threshold=700)


def activation_slope(z: Tensor, sharpness: float | None) -> Tensor:
    """The derivative of `activation`."""
    return (z > 0).to(z) if sharpness is None else torch.sigmoid(sharpness * z)


def lower_level(
    x: Tensor, signs: Tensor, origin: Layers, *, decay: float, sharpness: float | None = None
) -> LowerLevel:
    """The problem of images x [n, d] with labels ±1 [n].

    origin: θ⁰, which also gives the network's shape; zeros for weight decay.  sharpness: of a
    smooth ReLU, which has the second derivatives that eq 7 of paper 003 needs; with the true one
    an optimum may lie at a kink, where no gradient norm falls.
    Raises ValueError for a decay that is not positive (no optimum would be finite, or no Hessian
    invertible), labels that are not ±1, shapes that do not fit, or too many unknowns.
    """
    if not decay > 0:
        raise ValueError(f"decay is {decay:g}: without it the lower level's Hessian is singular")
    if signs.shape != (len(x),) or not torch.equal(signs.abs(), torch.ones_like(signs)):
        raise ValueError(f"labels are one of -1 and +1 for each of the {len(x)} images")
    weight, *rest = _parts(origin)
    if x.ndim != 2 or x.shape[1] != weight.shape[1]:
        raise ValueError(f"images {list(x.shape)} do not fit a network of {weight.shape[1]} inputs")
    unknowns = len(weight) * min(x.shape) + sum(part.numel() for part in rest)
    if unknowns > MOST_UNKNOWNS:
        raise ValueError(
            f"n = {len(x)} images give the lower level {unknowns:,} unknowns, more than the "
            f"{MOST_UNKNOWNS:,} that memory is planned for"
        )
    x = x.detach()
    basis = torch.linalg.qr(x.T).Q.T
    shapes = [torch.Size((len(weight), len(basis))), *(part.shape for part in rest)]
    return LowerLevel(
        basis, x @ basis.T, signs, decay, weight, x @ weight.T, rest, shapes, sharpness
    )


def solve(
    problem: LowerLevel,
    start: Change | None = None,
    *,
    tolerance: float,
    by_lbfgs: bool = False,
    most_steps: int = 100,
) -> LowerLevel:
    """Minimise E until ‖∇E‖ ≤ tolerance; the problem keeps the optimum.

    By Newton's method, whose linear systems conjugate gradients solve: the Hessian is decay · I and
    a matrix of about n ranks, so that few products with it are needed.

    Args:
        start: from where; None: θ⁰.
        tolerance: of the gradient norm. E is strongly convex for an affine classifier, and θ is
            then within tolerance / decay of the optimum.
        by_lbfgs: L-BFGS first, for the memory that it leaves behind, and Newton's method only
            from where rounding ends it.
        most_steps: of Newton's method.

    Raises:
        LowerLevelStopped: if the norm is still above ten times the tolerance.
        NonFiniteLoss: if E is not finite.
    """
    began = time.perf_counter()
    if start is None:
        z = problem.inputs.new_zeros(sum(shape.numel() for shape in problem.shapes))
    else:
        z = problem.coordinates(start)
    problem.memory = []
    problem.move_to(z, problem.gradient(z).norm().item(), 0)
    if by_lbfgs:
        _by_lbfgs(problem, tolerance)
    _by_newton(problem, tolerance, most_steps)
    problem.seconds = time.perf_counter() - began
    if not problem.gradient_norm <= 10 * tolerance:
        raise LowerLevelStopped(
            f"the lower level's gradient norm is {problem.gradient_norm:.1e} after "
            f"{problem.steps} steps, its tolerance {tolerance:.1e}"
        )
    return problem


def _by_lbfgs(problem: LowerLevel, tolerance: float) -> None:
    z = problem.z.detach().clone().requires_grad_()
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

    steps, stalled, best = 0, 0, (math.inf, math.inf)
    while True:
        value, norm = energy().item(), z.grad.norm().item()
        if not math.isfinite(value + norm):
            raise NonFiniteLoss(f"the lower level's loss is {value} at step {steps}")
        stalled = 0 if value < best[0] or norm < best[1] else stalled + 1
        best = min(best[0], value), min(best[1], norm)
        if norm <= tolerance or steps >= LBFGS_STEPS or stalled >= STALLED_AFTER:
            break
        optimiser.step(energy)
        steps = optimiser.state[z]["n_iter"]
    kept = optimiser.state[z]
    problem.memory = list(zip(kept.get("old_stps", []), kept.get("old_dirs", [])))
    problem.move_to(z.detach(), norm, problem.steps + steps)


def _by_newton(problem: LowerLevel, tolerance: float, most_steps: int) -> None:
    """Truncated Newton steps (Dembo & Steihaug 1983), halved until E falls enough (Armijo 1966).

    Where differences of E are rounding whole steps are taken, until the gradient norm rises.
    """
    for _ in range(most_steps):
        z, norm = problem.z, problem.gradient_norm
        if norm <= tolerance:
            break
        gradient, value = problem.gradient(z), problem.energy(z).item()
        residual = min(0.1, math.sqrt(norm))
        step = solve_by_products(problem.hessian_product, gradient, residual, MOST_PRODUCTS)
        slope = (gradient @ step).item()
        rounding = 10 * torch.finfo(z.dtype).eps * abs(value)
        for length in LENGTHS:
            moved = z - length * step
            if problem.energy(moved).item() <= value - 1e-4 * length * slope + rounding:
                break
        smaller = problem.gradient(moved).norm().item()
        if not math.isfinite(smaller + value):
            raise NonFiniteLoss(f"the lower level's loss is {value} at step {problem.steps}")
        if smaller >= norm and length * slope <= rounding:
            break
        problem.move_to(moved, smaller, problem.steps + 1)


def solve_by_products(
    product: Callable[[Tensor], Tensor], vector: Tensor, tolerance: float, most_steps: int
) -> Tensor:
    """H⁻¹ · vector [p] from products with H, by conjugate gradients (Hestenes & Stiefel 1952).

    tolerance: of the residual beside the vector. Stops early at a direction without positive
    curvature (Steihaug 1983), with the vector itself if it is the first.
    """
    solution, residual = torch.zeros_like(vector), vector.clone()
    direction, squared = residual, residual @ residual
    target = tolerance**2 * squared
    for step in range(most_steps):
        if squared <= target:
            break
        image = product(direction)
        curvature = direction @ image
        if curvature <= 0:
            return solution if step else vector
        length = squared / curvature
        solution = solution + length * direction
        residual = residual - length * image
        before, squared = squared, residual @ residual
        direction = residual + squared / before * direction
    return solution
