"""One gradient of the bilevel attack: implicit against unrolled differentiation, equally accurate.

    python benchmarks/bilevel.py           # 3072 -> 1, n = 20
    python benchmarks/bilevel.py --quick   # 192 -> 1, n = 10, a few seconds

A step is the gradient of ‖θ* − θ(x)‖² with respect to n images x, where θ(x) minimises the mean
logistic loss with weight decay 0.01 (paper 003, eq 2), float64. Every route starts from θ = 0 and
gets the loosest setting with which its gradient is within 1e-3 of the reference, the implicit
gradient at a gradient norm of 1e-11:

  unrolled            Nesterov's accelerated gradient steps, and autograd through all of them; the
                      number of steps grows by a fifth until the gradient is accurate enough
  exact               `lib.lower_level` in the span of the images and the whole Hessian there; its
                      tolerance falls by tens until the gradient is accurate enough
  conjugate gradients the same, with products of Hessian and vector
  quasi-Newton        L-BFGS and its memory (the paper's eq 7). Its accuracy is that of the memory:
                      what it reaches at most is shown, and its ratio compares cost alone
"""

import argparse
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from timing import alternating, environment, table
from torch import Tensor

from lib import data
from lib.bilevel import INVERSES, hypergradient
from lib.lower_level import Change, Layers, lower_level, solve

DECAY, ACCURATE, REFERENCE = 0.01, 1e-3, 1e-11
TOLERANCES = [10.0**-k for k in range(1, 11)]
UNROLLED, QUASI = "unrolled", "quasi-Newton"
Gradient = Callable[[], Tensor]


def problem_of(d: int, n: int) -> tuple[Tensor, Tensor, Layers, Change]:
    """Images x [n, d], signs [n], zeros for θ⁰, and θ* trained on other images."""
    side = math.isqrt(d // 3)
    digits = data.relabel(data.load("digits", size=side), "odd-even")
    train, others = data.split_held_out(digits, n, n, seed=0)
    truth, x = (one.images.expand(-1, 3, -1, -1).flatten(1).double() for one in (train, others))
    signs = 2.0 * train.labels.double() - 1
    origin = [(torch.zeros(1, d).double(), torch.zeros(1).double())]
    trained = solve(lower_level(truth, signs, origin, decay=DECAY), tolerance=REFERENCE)
    return x, signs, origin, trained.change()


def implicit(
    x: Tensor, signs: Tensor, origin: Layers, given: Change, inverse: str, tolerance: float
) -> Gradient:
    """The gradient [n, d] by implicit differentiation."""

    def gradient() -> Tensor:
        problem = lower_level(x, signs, origin, decay=DECAY)
        solve(problem, tolerance=tolerance, by_lbfgs=inverse == QUASI)
        return hypergradient(problem, x, given, INVERSES[inverse])[1]

    return gradient


def unrolled(x: Tensor, signs: Tensor, given: Change, steps: int) -> Gradient:
    """The same by autograd through so many accelerated steps (Nesterov 1983).

    The loss is L-smooth, L a quarter of the largest eigenvalue of X̄ᵀX̄/n plus the decay, and
    strongly convex; both give its step 1/L and its momentum.
    """
    whole = torch.cat([x, torch.ones(len(x), 1).to(x)], dim=1)
    smooth = (torch.linalg.matrix_norm(whole, 2).item() ** 2) / (4 * len(x)) + DECAY
    root = math.sqrt(DECAY / smooth)
    momentum = (1 - root) / (1 + root)
    [(weight, bias)] = given.layers()
    target = torch.cat([weight[0], bias])

    def gradient() -> Tensor:
        leaf = x.clone().requires_grad_()
        images = torch.cat([leaf, torch.ones(len(x), 1).to(x)], dim=1)
        theta = ahead = torch.zeros_like(target)
        for _ in range(steps):
            errors = -torch.sigmoid(-signs * (images @ ahead)) * signs / len(x)
            moved = ahead - (errors @ images + DECAY * ahead) / smooth
            theta, ahead = moved, moved + momentum * (moved - theta)
        distance = F.mse_loss(theta, target, reduction="sum")
        return torch.autograd.grad(distance, leaf)[0]

    return gradient


def error(found: Tensor, reference: Tensor) -> float:
    return ((found - reference).norm() / reference.norm()).item()


def loosest(
    settings: list, route: Callable[[float], Gradient], reference: Tensor
) -> tuple[float, Gradient, float]:
    """The first setting that is accurate enough, or else the most accurate one; its error."""
    best = None
    for setting in settings:
        gradient = route(setting)
        off = error(gradient(), reference)
        if best is None or off < best[2]:
            best = setting, gradient, off
        if off <= ACCURATE:
            break
    return best


def compare(d: int, n: int, *, seconds: float) -> str:
    """Time every route, each with its loosest setting."""
    x, signs, origin, given = problem_of(d, n)
    reference = implicit(x, signs, origin, given, "exact", REFERENCE)()
    steps = [round(16 * 2 ** (k / 4)) for k in range(49)]
    routes = {UNROLLED: loosest(steps, lambda s: unrolled(x, signs, given, s), reference)}
    for inverse in INVERSES:
        routes[inverse] = loosest(
            TOLERANCES,
            lambda t, inverse=inverse: implicit(x, signs, origin, given, inverse, t),
            reference,
        )
    for name, (_, _, off) in routes.items():
        assert name == QUASI or off <= ACCURATE, f"{name} is off by {off:.1e}"
    timings = alternating(
        f"n = {n}", {name: gradient for name, (_, gradient, _) in routes.items()}, seconds=seconds
    )
    rows = [
        [
            name,
            f"{setting} steps" if name == UNROLLED else f"‖∇E‖ ≤ {setting:.0e}",
            f"{off:.0e}",
            f"{1e3 * timings[name].median:.1f}",
            f"{1e3 * timings[name].low:.1f} … {1e3 * timings[name].high:.1f}",
            f"{timings[UNROLLED].median / timings[name].median:.2f}",
        ]
        for name, (setting, _, off) in routes.items()
    ]
    rounds = timings[UNROLLED].rounds
    header = [f"n = {n}, rounds {rounds}", "setting", "error", "median ms", "10 % … 90 %"]
    return table([*header, "unrolled ÷ it"], rows)


def main(quick: bool, threads: int) -> None:
    torch.set_num_threads(threads)
    d, n, seconds = (192, 10, 0) if quick else (3072, 20, 20)
    print(environment())
    print(f"\nbilevel gradient, {d} -> 1, decay {DECAY:g}, float64, seed 0", flush=True)
    print(compare(d, n, seconds=seconds), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small network, a few seconds")
    parser.add_argument("--threads", type=int, default=2, help="of the matrix products (2)")
    options = parser.parse_args()
    main(options.quick, options.threads)
