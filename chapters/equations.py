"""What paper 003 proves or says in passing, checked in small networks of float64 (chapter 8).

Every function takes the images of `chapters.starting.pools` at most `SIDE` pixels wide, so that
whole Jacobians fit.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from chapters.starting import DECAY, SHARES, Pools, origin_of, start
from lib import general_kkt, lower_level, margin, models
from lib.lower_level import Layers

SIDE = 8
WIDTH = 50  # of the hidden layer
EXACT = 1e-10  # tolerance of the lower level
CLOSE = 1e-8  # the same where it is solved a thousand times
SETS_OF_R01 = 20
EPOCHS = 2000  # of the network whose confident images are repeated, constant steps


def small(pools: Pools) -> Pools:
    """The same images, averaged down to `SIDE` pixels where they are larger."""

    def shrunk(images: Tensor) -> Tensor:
        larger = max(images.shape[-2:]) > SIDE
        return F.adaptive_avg_pool2d(images, SIDE) if larger else images

    sets = {
        name: replace(one, images=shrunk(one.images))
        for name in ("training", "partition", "held_out")
        for one in [getattr(pools, name)]
    }
    noise = torch.rand(sets["training"].images.shape, generator=torch.Generator().manual_seed(0))
    return replace(pools, **sets, noise=noise.to(sets["training"].images))


def random_set(pools: Pools, generator: torch.Generator) -> Tensor:
    """Images [n, d] drawn anew: truth, partition and fresh noise, mixed in random shares."""
    noise = torch.rand(pools.noise.shape, generator=generator).to(pools.noise)
    truth_share, image_share = torch.rand(2, generator=generator).tolist()
    return start(replace(pools, noise=noise), truth_share, image_share).flatten(1).double()


def loss_gradient(layers: Layers, x: Tensor, signs: Tensor, decay: float) -> list[Tensor]:
    """∇_θ [(1/n) Σ log(1 + exp(−yᵢΦᵢ)) + decay/2 ‖θ‖²] by autograd, one tensor a parameter."""
    parameters = [part.detach().clone().requires_grad_() for layer in layers for part in layer]
    value = x
    for weight, bias in zip(parameters[:-2:2], parameters[1:-2:2]):
        value = F.linear(value, weight, bias).relu()
    outputs = F.linear(value, *parameters[-2:])[:, 0]
    loss = F.softplus(-signs * outputs).mean()
    loss = loss + decay / 2 * sum(part.square().sum() for part in parameters)
    return list(torch.autograd.grad(loss, parameters))


def squared(parts: list[Tensor]) -> Tensor:
    """The sum of all squares -> scalar."""
    return sum(part.square().sum() for part in parts)


def trained_affine(x: Tensor, signs: Tensor) -> tuple[Layers, lower_level.LowerLevel]:
    """θ* of an affine classifier with weight decay, as layers and as the problem solved."""
    origin = [
        (weight.to(x), bias.to(x)) for weight, bias in origin_of("affine", x.shape[1], seed=0)
    ]
    problem = lower_level.lower_level(x, signs, origin, decay=DECAY["affine"])
    lower_level.solve(problem, tolerance=EXACT)
    return problem.change().layers(), problem


# --- R01, R02: both objectives ---------------------------------------------------------------------


def same_objective(pools: Pools, seed: int) -> dict[str, float]:
    """R01: with the λ that the loss gives, the KKT residual is ‖∇E‖² up to scale.

    The residual comes from Gram matrices, ‖∇E‖² from autograd. relative_difference_fixed: the
    largest of random sets of images and two networks; relative_difference_free: the smallest,
    when λ ≥ 0 is chosen to make the residual small.
    """
    generator = torch.Generator().manual_seed(seed)
    signs = pools.signs.double()
    x = pools.training.images.flatten(1).double()
    decay = DECAY["affine"]
    networks = [trained_affine(x, signs)[0], hidden_layers(x.shape[1], generator)]
    fixed, free = [], []
    for layers in networks:
        system = general_kkt.of_layers([(w.to(x), b.to(x)) for w, b in layers])
        for _ in range(SETS_OF_R01):
            drawn = random_set(pools, generator)
            terms = system(drawn)
            by_loss = general_kkt.loss_multipliers(signs * terms.outputs, decay)
            residual = terms.residual(by_loss * signs) * terms.norm
            direct = squared(loss_gradient(layers, drawn, signs, decay)) / decay**2
            best = terms.residual(terms.best_multipliers(signs) * signs) * terms.norm
            fixed.append(((residual - direct).abs() / direct).item())
            free.append(((best - direct).abs() / direct).item())
    return {"relative_difference_fixed": max(fixed), "relative_difference_free": min(free)}


def hidden_layers(inputs: int, generator: torch.Generator) -> Layers:
    """A network with one hidden layer of `WIDTH` units, biases in both, U(±1/√fan_in)."""

    def drawn(*shape: int, fan_in: int) -> Tensor:
        return (2 * torch.rand(*shape, generator=generator, dtype=torch.float64) - 1) * fan_in**-0.5

    return [
        (drawn(WIDTH, inputs, fan_in=inputs), drawn(WIDTH, fan_in=inputs)),
        (drawn(1, WIDTH, fan_in=WIDTH), drawn(1, fan_in=WIDTH)),
    ]


def majoriser(pools: Pools, seed: int, sets: int) -> dict[str, float]:
    """R02: ‖θ* − θ(x)‖² ≤ ‖∇E(x; θ*)‖² / decay², for E is decay-strongly convex if Φ is affine.

    violations: how many of so many random sets exceed the bound, by more than what the tolerance
    of the lower level leaves open.  tightest: the largest distance over its bound.
    """
    generator = torch.Generator().manual_seed(seed)
    signs, decay = pools.signs.double(), DECAY["affine"]
    x = pools.training.images.flatten(1).double()
    layers, trained = trained_affine(x, signs)
    begin = trained.change()
    origin = [(torch.zeros_like(weight), torch.zeros_like(bias)) for weight, bias in layers]
    ratios, violations = [], 0
    for _ in range(sets):
        drawn = random_set(pools, generator)
        bound = squared(loss_gradient(layers, drawn, signs, decay)).sqrt() / decay
        problem = lower_level.lower_level(drawn, signs, origin, decay=decay)
        lower_level.solve(problem, begin, tolerance=CLOSE)
        apart = squared(
            [
                a - b
                for pair, own in zip(layers, problem.change().layers())
                for a, b in zip(pair, own)
            ]
        ).sqrt()
        violations += int(apart > bound + problem.gradient_norm / decay)
        ratios.append((apart / bound).item())
    return {"violations": violations, "sets": sets, "tightest": max(ratios)}


# --- R03: an underdetermined system ----------------------------------------------------------------


def other_optimum(pools: Pools) -> dict[str, float]:
    """R03: images that give exactly the same affine classifier, one rank away from the partition.

    With N w = 0 no output changes, and with Σ cᵢ nᵢ = 0 the gradient does not, c being what the
    loss makes of the outputs. Of partition − truth, N keeps all but one row and one column.
    gradient_norm: of E at θ* with truth + N.  rank_above_bound: of the Jacobian of ∇E(x; θ*) in
    the images, above min(parameters, n + d + 1); unknowns: n d.
    """
    signs, decay = pools.signs.double(), DECAY["affine"]
    truth, partition = (one.images.flatten(1).double() for one in (pools.training, pools.partition))
    layers, problem = trained_affine(truth, signs)
    [(weight, bias)] = layers
    coefficients = torch.sigmoid(-signs * problem.outputs(problem.z)) * signs
    c, w = (one / one.norm() for one in (coefficients.flatten(), weight[0]))
    apart = partition - truth
    apart = apart - torch.outer(c, c @ apart)
    apart = apart - torch.outer(apart @ w, w)
    made = truth + apart
    gradients = loss_gradient(layers, made, signs, decay)

    def conditions(x: Tensor) -> Tensor:
        outputs = F.linear(x, weight, bias)[:, 0]
        c = -torch.sigmoid(-signs * outputs) * signs / len(x)
        return torch.cat([c @ x, c.sum()[None]])  # and decay θ*, which does not depend on x

    jacobian = torch.func.jacrev(conditions)(truth).flatten(1)
    n, d = truth.shape
    rank = int(torch.linalg.matrix_rank(jacobian))
    return {
        "gradient_norm": squared(gradients).sqrt().item(),
        "distance_to_training": torch.cdist(made, truth).amin(1).mean().item(),
        "distance_to_partition": torch.cdist(made, partition).amin(1).mean().item(),
        "rank": rank,
        "unknowns": n * d,
        "rank_above_bound": rank - min(d + 1, n + d + 1),
    }


# --- R04: one image, repeated ----------------------------------------------------------------------


def repeated(pools: Pools, seed: int) -> dict[str, float]:
    """R04: one confident image of each class, repeated, has a smaller gradient than the truth.

    A network with one hidden layer, trained on the mean logistic loss alone, as in the paper's
    eq 4. Of each class the held-out image with the largest margin is taken.
    """
    signs = pools.signs.double()
    network = models.MLP(
        pools.noise[0].numel(),
        (WIDTH,),
        first_std=None,
        homogeneous=False,
        generator=torch.Generator().manual_seed(seed),
        dtype=torch.float64,
    )
    network = network.to(signs.device)
    truth = pools.training.images.flatten(1).double()
    margin.fit_margin(network, truth, signs, epochs=EPOCHS, protocol="constant", lr=0.1)
    held_out = pools.held_out.images.flatten(1).double()
    labels = 2.0 * pools.held_out.labels.double() - 1
    with torch.no_grad():
        confidence = margin.margins(network, held_out, labels)
    best = [torch.where(labels == sign, confidence, -torch.inf).argmax() for sign in (-1, 1)]
    repeats = held_out[torch.stack(best)][(signs > 0).long()]
    norms = [_loss_gradient_norm(network, images, signs) for images in (repeats, truth)]
    return {
        "gradient_norm_over_training": norms[0] / norms[1],
        "distinct_images_in_class": max(len(repeats[signs == y].unique(dim=0)) for y in (-1, 1)),
    }


def _loss_gradient_norm(network: models.MLP, x: Tensor, signs: Tensor) -> float:
    """‖∇_θ‖ of the mean logistic loss, without any L2 term."""
    loss = F.softplus(-margin.margins(network, x, signs)).mean()
    return squared(torch.autograd.grad(loss, list(network.parameters()))).sqrt().item()


# --- R17: twenty-five starts -----------------------------------------------------------------------


def count_starts(pools: Pools) -> dict[str, int]:
    """R17: how many settings eq 10 has on five by five shares, and how many starts they give."""
    made = torch.stack(
        [start(pools, truth, image).flatten() for truth in SHARES for image in SHARES]
    )
    return {"settings": len(made), "distinct_starts": len(made.unique(dim=0))}
