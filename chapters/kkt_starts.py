"""Runs of chapter 8: the KKT attack from the starts of paper 003, and the landscape of both attacks."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from chapters.starting import NETWORKS, TOLERANCE, Pools, Victim, judged, pools, start, victim
from chapters.tellers import network_of, released_for
from chapters.two_classes import centred
from lib import bilevel, data, general_kkt, lower_level, margin
from lib import kkt as kkt_conditions

EPOCHS = 2000  # of the three-layer network, by the constant steps of paper 004
ONE_VALLEY = 0.1  # of the distance that two starts had: nearer end points are one
ON_A_LINE = 9  # points between two end points


# --- from a start ----------------------------------------------------------------------------------


def kkt(
    dataset: str,
    seed: int,
    n: int,
    network: str,
    truth_share: float,
    image_share: float,
    steps: int,
    sigma: float = 0.0,
    epochs: int = EPOCHS,
    pictures: bool = False,
    labels: str | dict[str, list[str]] | None = None,
    held_out: int = 1000,
    device: str = "cpu",
) -> dict:
    """The KKT attack for any loss from a mixture of truth, partition and noise (paper 003, eq 10).

    Args:
        network: "affine" or "hidden", with an L2 term as for the bilevel attack: λ is solved for,
            and steps are as long as the bilevel attack's. "three-layer", the paper's: the settings
            released for paper 004, on images without their mean.
        truth_share, image_share: λ₁ and λ₂ of eq 10: noise (0, 0), truth (1, 1), partition (0, 1).
        steps: of the images.
        sigma: above 0, start from noise N(0, σ²) instead (paper 003, §4.4): 1 where nobody tuned
            it, or a value released for paper 004.
        epochs: of the three-layer network.
        labels, held_out: as for `chapters.two_classes.task`.

    Raises ValueError for an unknown network, NonFiniteLoss for a loss that is not finite.
    """
    if network not in NETWORKS:
        raise ValueError(f"network is {network!r}, known: {', '.join(NETWORKS)}")
    images = pools(dataset, n, seed, labels, held_out, device, centred=network == "three-layer")
    trained = three_layer(images, seed, epochs) if images.centred else victim(network, images, seed)
    begin = start(images, truth_share, image_share, sigma=sigma, seed=seed)
    began = time.perf_counter()
    found = attack(trained, images.signs, begin, steps=steps, seed=seed)
    seconds = time.perf_counter() - began
    at_start, at_end = (
        explained(trained, images.signs, x) for x in (begin.flatten(1), found.images)
    )
    return {
        "residual": at_end.residual,
        "residual_at_start": at_start.residual,
        "residual_truth": explained(
            trained, images.signs, (images.training.images - images.offset).flatten(1)
        ).residual,
        "smallest_margin": trained.smallest_margin,
        **judged(
            found.images.reshape(begin.shape),
            begin,
            images,
            attacked=trained,
            pictures=pictures,
            seed=seed,
        ),
        "multiplier": at_end.multipliers.float(),
        "contribution": at_end.shares.float(),
        "confidence": at_end.outputs.abs().float(),
        "seconds": seconds,
        "along_step": list(range(steps + 1)),
        "along_residual": found.residuals,
    }


def attack(
    trained: Victim, signs: Tensor, begin: Tensor, *, steps: int, seed: int
) -> general_kkt.Descent:
    """Descend from inputs [m, c, h, w] with labels ±1 [m], in the precision of the weights.

    λ is solved for where the network has an L2 term: the smallest residual is then 0, as the length
    of those steps takes for granted. Without, the initial weights of later layers remain.
    """
    x = begin.flatten(1).to(trained.layers[0][0])
    signs = signs.to(x)
    exact = general_kkt.of_layers(trained.layers, trained.origin)
    if trained.decay:
        return general_kkt.descend_eliminated(exact, signs, x, steps=steps)
    settings = released_for(tuple(begin.shape[1:]))
    del settings["sigma"]
    return general_kkt.descend_released(
        general_kkt.of_layers(trained.layers, trained.origin, settings.pop("alpha")),
        signs,
        x,
        steps=steps,
        lr_multipliers=1e-4,
        gradient_scale=1 / len(x),
        exact=exact,
        seed=seed,
        **settings,
    )


def three_layer(images: Pools, seed: int, epochs: int) -> Victim:
    """The paper's network for this attack: biases in all hidden layers, no L2 term."""
    network = network_of(images.training, seed, "constant", epochs, homogeneous=False)
    layers = kkt_conditions.mlp_layers(network)
    x, signs, _ = centred(images.training)
    with torch.no_grad():
        return Victim(layers, margin.margins(network, x, signs).min().item())


@dataclass(frozen=True)
class Explained:
    """How well images explain the weights: unexplained share of ‖θ − θ⁰‖², and by image [m]."""

    residual: float
    multipliers: Tensor
    shares: Tensor
    outputs: Tensor


def explained(trained: Victim, signs: Tensor, x: Tensor) -> Explained:
    """Of inputs [m, d] with labels ±1 [m], with the best λ ≥ 0 for them; in float64."""
    with torch.no_grad():
        terms = explaining(trained)(x.double())
    multipliers = terms.best_multipliers(signs.double())
    c = multipliers * signs.double()
    residual = max(terms.residual(c).item(), 0.0)  # 0 but for rounding, where it is below
    return Explained(residual, multipliers, terms.shares(c), terms.outputs)


def explaining(trained: Victim) -> general_kkt.System:
    """The system of a victim, in float64."""
    layers, origin = (
        some
        and [(weight.double(), None if bias is None else bias.double()) for weight, bias in some]
        for some in (trained.layers, trained.origin)
    )
    return general_kkt.of_layers(layers, origin)


# --- the landscape ---------------------------------------------------------------------------------

Objective = Callable[[Tensor], float]  # inputs [n, d] -> what an attack makes small, over ‖θ*‖²


def landscape(
    dataset: str,
    seed: int,
    n: int,
    attack: str,
    starts: int,
    steps: int,
    grid: int,
    labels: str | dict[str, list[str]] | None = None,
    held_out: int = 1000,
    device: str = "cpu",
) -> dict:
    """Where an attack on the affine network ends from many starts, and what lies between (R22).

    Both attacks have the same network, starts, rule of steps and unit: what they make small is
    ‖θ* − θ(x)‖² or ‖θ* − Σ λᵢyᵢ∇Φᵢ‖², as a share of ‖θ*‖². End points count as one when they are
    nearer to each other than `ONE_VALLEY` of what their starts were, in the mean distance of
    images paired within their class so that it is smallest; so do all that such pairs link. A
    barrier is by how much the highest of `ON_A_LINE` points between two end points exceeds the
    straight line from one's value to the other's.

    Args:
        attack: "bilevel" or "kkt".
        starts: truth, partition, noise; then other held-out images and other noise in turn.
        grid: points along each side of the slice through truth, partition and noise.

    Raises ValueError for an unknown attack or fewer starts than 3.
    """
    if attack not in OBJECTIVES:
        raise ValueError(f"attack is {attack!r}, known: {', '.join(OBJECTIVES)}")
    images = pools(dataset, n, seed, labels, held_out, device)
    trained = victim("affine", images, seed)
    objective = OBJECTIVES[attack](trained, images.signs.double())
    begins = several(images, starts, seed)
    ends = [descended(attack, trained, images, begin, steps) for begin in begins]
    losses = torch.tensor([objective(end) for end in ends], dtype=torch.float64)
    before = torch.tensor([objective(begin) for begin in begins], dtype=torch.float64)
    between = barriers(objective, ends, images.signs)
    apart, at_start = (distances(some, images.signs) for some in (ends, begins))
    plane, axis, points = slice_through(objective, begins[:3], grid)
    return {
        "end_points": valleys(apart, at_start),
        "starts": len(begins),
        "barriers": between.mean().item(),
        "highest_barrier": between.max().item(),
        "barriers_over_start": (between.mean() / before.mean()).item(),
        "mean_end_loss": losses.mean().item(),
        "mean_start_loss": before.mean().item(),
        "moved": torch.stack([(a - b).norm(dim=1).mean() for a, b in zip(ends, begins)]).mean().item(),
        "end_losses": losses,
        "start_losses": before,
        "end_distances": apart,
        "start_distances": at_start,
        "barrier_between": between,
        "slice": plane,
        "slice_x": axis,
        "slice_y": axis,
        "slice_points": points,
    }  # fmt: skip


def several(images: Pools, count: int, seed: int) -> list[Tensor]:
    """So many starts, as inputs [n, d]; the i-th images of all have one label.

    Raises ValueError for less than three.
    """
    if count < 3:
        raise ValueError(f"starts is {count}: truth, partition and noise are three")
    found = [images.training.images, images.partition.images, images.noise]
    for extra in range(count - 3):
        if extra % 2:
            generator = torch.Generator().manual_seed(seed + 1000 + extra)
            found.append(torch.rand(images.noise.shape, generator=generator).to(images.noise))
        else:
            drawn, _ = data.balanced_subset(images.held_out, len(images.noise), seed=seed + extra)
            found.append(drawn.images)
    return [(one - images.offset).flatten(1).double() for one in found]


def descended(attack: str, trained: Victim, images: Pools, begin: Tensor, steps: int) -> Tensor:
    """The end point of an attack on the affine network from inputs [n, d]."""
    signs = images.signs.double()
    if attack == "kkt":
        system = explaining(trained)
        return general_kkt.descend_eliminated(system, signs, begin, steps=steps).images
    return bilevel.bilevel_attack(
        trained.change,
        trained.origin,
        signs,
        begin,
        steps=steps,
        decay=trained.decay,
        tolerance=TOLERANCE["affine"],
    ).images


def _bilevel_objective(trained: Victim, signs: Tensor) -> Objective:
    """‖θ* − θ(x)‖² / ‖θ*‖²."""

    def value(x: Tensor) -> float:
        problem = lower_level.lower_level(x, signs, trained.origin, decay=trained.decay)
        lower_level.solve(problem, tolerance=TOLERANCE["affine"])
        apart = bilevel.difference(problem, trained.change).squared()
        return (apart / trained.change.squared_norm()).item()

    return value


def _kkt_objective(trained: Victim, signs: Tensor) -> Objective:
    """‖θ* − Σ λᵢyᵢ∇Φᵢ‖² / ‖θ*‖² with the best λ ≥ 0."""

    def value(x: Tensor) -> float:
        return explained(trained, signs, x).residual

    return value


OBJECTIVES: dict[str, Callable[[Victim, Tensor], Objective]] = {
    "bilevel": _bilevel_objective,
    "kkt": _kkt_objective,
}


def paired(one: Tensor, other: Tensor, signs: Tensor) -> Tensor:
    """Positions [n] in `other` of the partner of each image of `one`, within its class.

    The partners have the smallest sum of distances (Kuhn 1955). one, other: [n, d]; signs: [n].
    """
    cost = torch.cdist(one, other).cpu()
    partner = torch.empty(len(one), dtype=torch.long)
    for sign in signs.unique():
        own = (signs == sign).nonzero()[:, 0].cpu()
        rows, columns = linear_sum_assignment(cost[own][:, own].numpy())
        partner[own[rows]] = own[columns]
    return partner.to(one.device)


def distances(sets: list[Tensor], signs: Tensor) -> Tensor:
    """Mean distance of the images of two sets, paired, for every pair of sets [k, k]."""
    found = torch.zeros(len(sets), len(sets), dtype=torch.float64)
    for i, j in itertools.combinations(range(len(sets)), 2):
        partner = paired(sets[i], sets[j], signs)
        found[i, j] = found[j, i] = (sets[i] - sets[j][partner]).norm(dim=1).mean()
    return found


def valleys(apart: Tensor, at_start: Tensor) -> int:
    """Number of groups of end points that pairs nearer than `ONE_VALLEY` of their starts link.

    apart, at_start: distances of all pairs, of end points and of their starts [k, k].
    """
    linked = (apart <= ONE_VALLEY * at_start).double()
    for _ in range(len(linked)):  # whatever a chain of any length links
        linked = ((linked @ linked) > 0).double()
    return len({tuple(row) for row in linked.tolist()})


def barriers(objective: Objective, ends: list[Tensor], signs: Tensor) -> Tensor:
    """By how much the way between each two end points rises above the line of their values.

    0 where it does not. -> [k (k − 1) / 2]
    """
    values = [objective(end) for end in ends]
    shares = torch.linspace(0, 1, ON_A_LINE + 2)[1:-1].tolist()
    found = []
    for i, j in itertools.combinations(range(len(ends)), 2):
        other = ends[j][paired(ends[i], ends[j], signs)]
        rises = [
            objective((1 - t) * ends[i] + t * other) - (1 - t) * values[i] - t * values[j]
            for t in shares
        ]
        found.append(max(0.0, *rises))
    return torch.tensor(found, dtype=torch.float64)


def slice_through(
    objective: Objective, corners: list[Tensor], grid: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The objective in the plane of three sets of images, [grid, grid] with rows along y.

    The point (x, y) is first + x (second − first) + y (third − first). Also the values of x, the
    same as of y, [grid] and where the corners are, [3, 2].
    """
    first, second, third = corners
    axis = torch.linspace(-0.25, 1.25, grid, dtype=torch.float64)
    plane = [
        [objective(first + x * (second - first) + y * (third - first)) for x in axis.tolist()]
        for y in axis.tolist()
    ]
    where = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    return torch.tensor(plane, dtype=torch.float64), axis, where
