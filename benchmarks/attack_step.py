"""One step of the stationarity attack against plain double backward, of the same loss.

    python benchmarks/attack_step.py           # 3072-1000-1000-1, m = 100 and m = 1,000
    python benchmarks/attack_step.py --quick   # a small network, a few seconds
    python benchmarks/attack_step.py --threads 1   # where other work keeps the cores busy

A step is the value of ‖θ − Σ cᵢ∇Φ(θ; xᵢ)‖² with the smoothed ReLU derivative (α = 100) and its
gradient with respect to the candidates and c, float32. The candidates lie in the row space of
W₁, where `eliminated_attack` keeps them, and are the same for all routes but the last:

  plain       autograd through autograd in all d dimensions: `stationarity_autograd`
  parameters  closed form in parameter space, all d dimensions
  gram        closed form by Gram matrices, all d dimensions
  lossless    `stationarity` (each layer's cheaper form) in coordinates of the full row space;
              value and gradient equal those of `plain`, which is asserted before timing
  truncated   `stationarity` on a trained network, in the few dimensions that `row_space` picks;
              the other directions of W₁ hold no more than noise and are left out of the loss, so
              its ratio compares the cost of two steps, not two ways to the same numbers

Operations are counted in multiply-adds of matrix products, two operations each, element-wise
work left out. With m candidates and layers kₗ × kₗ₋₁ the forward sweep and its gradient cost
2·m·kₗ·kₗ₋₁ per layer, the backward sweep and its gradient the same for all layers but the first,
and the residual term 3·m·kₗ·kₗ₋₁ (parameters) or 2·m²·(kₗ + kₗ₋₁) (Gram). Plain double backward
does the work of the parameter form. "of peak" divides by the rate of one large matrix product,
timed as one more candidate of the same rounds.
"""

import argparse
import math
from collections.abc import Callable

import torch
from timing import alternating, environment, table
from torch import Tensor

from lib import data
from lib.kkt import (
    Layers,
    gram_is_cheaper,
    mlp_layers,
    signals,
    smoothed_relu,
    stationarity,
    stationarity_autograd,
    stationarity_gram,
    stationarity_parameters,
)
from lib.margin import fit_margin
from lib.models import MLP
from lib.rowspace import row_space

ALPHA = 100.0
PRODUCT = "matrix product"
Step = Callable[[], list[Tensor]]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def projected(layers: Layers, basis: Tensor) -> Layers:
    """The layers in coordinates u of the row space, x = u @ basis, as in `eliminated_attack`."""
    return [(layers[0][0] @ basis.T, layers[0][1]), *layers[1:]]


def plain_step(layers: Layers, x: Tensor, c: Tensor) -> Step:
    """Value and gradients by differentiating twice: the straightforward implementation."""
    parameters = [p.clone().requires_grad_() for pair in layers for p in pair if p is not None]

    def forward(x: Tensor) -> Tensor:
        remaining = iter(parameters)
        for depth, (_, bias) in enumerate(layers):
            weight = next(remaining)
            x = torch.nn.functional.linear(x, weight, None if bias is None else next(remaining))
            x = smoothed_relu(x, ALPHA) if depth < len(layers) - 1 else x
        return x.squeeze(1)

    def step() -> list[Tensor]:
        loss = stationarity_autograd(forward, parameters, x, c)
        return [loss.detach(), *torch.autograd.grad(loss, (x, c))]

    return step


def closed_step(loss_of: Callable[..., Tensor], layers: Layers, x: Tensor, c: Tensor) -> Step:
    """Value and gradients of one of the closed forms."""

    def step() -> list[Tensor]:
        loss = loss_of(layers, x, c)
        return [loss.detach(), *torch.autograd.grad(loss, (x, c))]

    return step


def mixed(layers: Layers, x: Tensor, c: Tensor) -> Tensor:
    return stationarity(layers, x, c, ALPHA)


def by_parameters(layers: Layers, x: Tensor, c: Tensor) -> Tensor:
    return stationarity_parameters(layers, signals(layers, x, ALPHA), c)


def by_gram(layers: Layers, x: Tensor, c: Tensor) -> Tensor:
    return stationarity_gram(layers, signals(layers, x, ALPHA), c)


def operations(layers: Layers, m: int, form: str) -> float:
    """Floating-point operations of one step by the formula above; form: parameters, gram or mixed."""
    total = 0
    for depth, (weight, _) in enumerate(layers):
        fan_out, fan_in = weight.shape
        as_gram = form == "gram" or (form == "mixed" and gram_is_cheaper(m, fan_in, fan_out))
        sweeps = 2 if depth == 0 else 4  # W₁ is not needed for the back-signals
        total += sweeps * m * fan_in * fan_out
        total += 2 * m * m * (fan_in + fan_out) if as_gram else 3 * m * fan_in * fan_out
    return 2.0 * total


def assert_equal(plain: list[Tensor], ours: list[Tensor], basis: Tensor) -> None:
    """Same value, same gradient in c, same gradient in x after projection."""
    value, in_x, in_c = plain
    expected = [value, in_x @ basis.T, in_c]
    for name, one, other in zip(("value", "gradient in x", "gradient in c"), expected, ours):
        error = (one - other).norm() / one.norm()
        assert error < 1e-3, f"{name} differs by {error:.1e}"
    outside = (in_x - in_x @ basis.T @ basis).norm() / in_x.norm()
    assert outside < 1e-3, f"{outside:.1e} of the gradient points out of the row space"


def trained_layers(d: int, width: int, *, n: int, epochs: int) -> Layers:
    """A network trained on n digits (odd or even), enlarged and repeated to d inputs."""
    side = math.isqrt(d // 3)
    digits = data.relabel(data.load("digits", size=side), "odd-even")
    train, _ = data.balanced_subset(digits, n, seed=0)
    x = train.images.expand(-1, 3, -1, -1).flatten(1)
    model = MLP(d, (width, width), generator=seeded(0))
    fit_margin(model, x - x.mean(0), 2.0 * train.labels - 1, epochs=epochs)
    return mlp_layers(model)


def points(basis: Tensor, m: int) -> tuple[Tensor, Tensor, Tensor]:
    """Candidates x [m, d], their coordinates u [m, r] and c [m], leaves of the graph."""
    u = torch.randn(m, len(basis), generator=seeded(1)) / len(basis) ** 0.5
    c = torch.randn(m, generator=seeded(2)) / m
    return (u @ basis).requires_grad_(), u.requires_grad_(), c.requires_grad_()


def compare(d: int, width: int, m: int, trained: Layers, *, seconds: float, product: int) -> str:
    """Time all routes for m candidates, and a product of two product × product matrices."""
    layers = mlp_layers(MLP(d, (width, width), first_std=None, generator=seeded(0)))
    basis = row_space(layers[0][0], min(width, d))
    x, u, c = points(basis, m)
    inner = projected(layers, basis)
    few = row_space(trained[0][0])
    _, v, _ = points(few, m)
    truncated = projected(trained, few)
    a, b = torch.randn(2, product, product, generator=seeded(0))
    plain, lossless = plain_step(layers, x, c), closed_step(mixed, inner, u, c)
    assert_equal(plain(), lossless(), basis)
    in_parameters = operations(layers, m, "parameters")
    routes = {
        PRODUCT: (lambda: a @ b, 2.0 * product**3),
        "plain": (plain, in_parameters),
        "parameters": (closed_step(by_parameters, layers, x, c), in_parameters),
        "gram": (closed_step(by_gram, layers, x, c), operations(layers, m, "gram")),
        f"lossless, rank {len(basis)}": (lossless, operations(inner, m, "mixed")),
        f"truncated, rank {len(few)}": (
            closed_step(mixed, truncated, v, c),
            operations(truncated, m, "mixed"),
        ),
    }
    steps = {name: step for name, (step, _) in routes.items()}
    timings = alternating(f"m = {m}", steps, seconds=seconds)
    rates = {name: count / timings[name].median for name, (_, count) in routes.items()}
    rows = [
        [
            name,
            f"{1e3 * timings[name].median:.1f}",
            f"{1e3 * timings[name].low:.1f} … {1e3 * timings[name].high:.1f}",
            "" if name == PRODUCT else f"{timings['plain'].median / timings[name].median:.2f}",
            f"{count / 1e9:.3g}",
            f"{rates[name] / 1e9:.3g}",
            f"{rates[name] / rates[PRODUCT]:.0%}",
        ]
        for name, (_, count) in routes.items()
    ]
    rounds = timings[PRODUCT].rounds
    header = [
        f"m = {m}, rounds {rounds}",
        "median ms",
        "10 % … 90 %",
        "plain ÷ it",
        "Gflop",
        "Gflop/s",
        "of peak",
    ]
    return table(header, rows)


def main(quick: bool, threads: int) -> None:
    torch.set_num_threads(threads)
    d, width, sizes, n, epochs, seconds, product = 3072, 1000, (100, 1000), 100, 300, 10, 2000
    if quick:
        d, width, sizes, n, epochs, seconds, product = 192, 100, (10, 100), 10, 100, 0, 200
    print(environment())
    print(f"\nattack step, {d}-{width}-{width}-1, α = {ALPHA:g}, float32, seeds 0, 1, 2")
    print(f"training on {n} images, {epochs} epochs", flush=True)
    trained = trained_layers(d, width, n=n, epochs=epochs)
    for m in sizes:
        print(compare(d, width, m, trained, seconds=seconds, product=product), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small network, a few seconds")
    parser.add_argument("--threads", type=int, default=2, help="of the matrix products (2)")
    options = parser.parse_args()
    main(options.quick, options.threads)
