"""Runs of chapter 8: the theory of paper 003 in small networks, and its bilevel attack."""

import time

from chapters import equations
from chapters.starting import TOLERANCE, as_module, judged, pools, start, uniform_weights, victim
from lib import general_kkt
from lib.bilevel import Bilevel, bilevel_attack
from lib.lower_level import as_change

INVERSE = {"affine": "exact", "hidden": "conjugate gradients"}


def bilevel(
    dataset: str,
    seed: int,
    n: int,
    network: str,
    truth_share: float,
    image_share: float,
    steps: int,
    pictures: bool = False,
    tolerance: float | None = None,
    inverse: str | None = None,
    labels: str | dict[str, list[str]] | None = None,
    held_out: int = 1000,
    device: str = "cpu",
) -> dict:
    """The bilevel attack from a mixture of truth, partition and noise (paper 003, eq 10).

    Args:
        network: "affine", trained with weight decay from U(0, 1), or "hidden", with an L2 term
            around its start θ⁰. The attacker knows labels, decay, shape and, of "hidden", θ⁰.
        truth_share, image_share: λ₁ and λ₂ of eq 10: noise (0, 0), truth (1, 1), partition (0, 1).
        steps: of the images.
        tolerance: of the attacker's lower level; None: as the attacked network was trained.
        inverse: of the Hessian, a key of `lib.bilevel.INVERSES`; None: `INVERSE`.
        labels, held_out: as for `chapters.two_classes.task`.
    """
    if network not in INVERSE:
        raise ValueError(f"network is {network!r}, known: {', '.join(INVERSE)}")
    images = pools(dataset, n, seed, labels, held_out, device)
    trained = victim(network, images, seed)
    begin = start(images, truth_share, image_share)
    tolerance = tolerance or TOLERANCE[network]
    first = None
    if network == "affine":
        first = as_change(uniform_weights(network, begin[0].numel(), seed + 1000)).to(begin.device)
    started = time.perf_counter()
    found = bilevel_attack(
        trained.change,
        trained.origin,
        images.signs.double(),
        begin.flatten(1).double(),
        steps=steps,
        decay=trained.decay,
        tolerance=tolerance,
        first=first,
        inverse=inverse or INVERSE[network],
    )
    seconds = time.perf_counter() - started
    squared = sum(part.square().sum() for layer in trained.layers for part in layer).item()
    return {
        "distance": found.distances[-1],
        "distance_at_start": found.distances[0],
        "relative_distance": found.distances[-1] / squared,
        "relative_distance_at_start": found.distances[0] / squared,
        "squared_norm": squared,
        "squared_change": trained.change.squared_norm().item(),
        "smallest_margin": trained.smallest_margin,
        "decay": trained.decay,
        "tolerance": tolerance,
        **judged(
            found.images.reshape(begin.shape),
            begin,
            images,
            attacked=trained,
            pictures=pictures,
            seed=seed,
        ),
        **met(found, tolerance),
        "lower_seconds": found.lower_seconds,
        "seconds": seconds,
        "along_step": list(range(steps + 1)),
        "along_distance": found.distances,
    }


def widths(
    dataset: str,
    seed: int,
    n: int,
    width: int,
    steps: int,
    attack: str,
    labels: str | dict[str, list[str]] | None = None,
    held_out: int = 1000,
    device: str = "cpu",
) -> dict:
    """Either attack from noise on the "smooth" network of a width (R05).

    Not the paper's network: with positive starting weights all units of that are active, and W₁
    changes by a single mixture of the images however wide it is.

    attack: "bilevel" or "kkt", λ ≥ 0 eliminated.  steps: of the images.  labels, held_out: as for
    `bilevel`.
    """
    if attack not in ("bilevel", "kkt"):
        raise ValueError(f"attack is {attack!r}, known: 'bilevel', 'kkt'")
    images = pools(dataset, n, seed, labels, held_out, device)
    trained = victim("smooth", images, seed, width=width)
    begin = start(images, 0.0, 0.0)
    given, signs = begin.flatten(1).double(), images.signs.double()
    started = time.perf_counter()
    if attack == "bilevel":
        found = bilevel_attack(
            trained.change,
            trained.origin,
            signs,
            given,
            steps=steps,
            decay=trained.decay,
            tolerance=TOLERANCE["smooth"],
            inverse="conjugate gradients",
            sharpness=trained.sharpness,
        )
        along = found.distances
    else:
        origin = [part for layer in trained.origin for part in layer]
        system = general_kkt.of_model(as_module(trained), origin)
        found = general_kkt.descend_eliminated(system, signs, given, steps=steps)
        along = found.residuals
    parameters = sum(part.numel() for layer in trained.layers for part in layer)
    return {
        "parameters": parameters,
        "parameters_per_pixel": parameters / given.numel(),
        "smallest_margin": trained.smallest_margin,
        "objective": along[-1],
        "objective_at_start": along[0],
        "seconds": time.perf_counter() - started,
        **judged(found.images.reshape(begin.shape), begin, images, attacked=trained, seed=seed),
    }


def met(found: Bilevel, tolerance: float) -> dict[str, float]:
    """How well the lower levels were solved: the largest norm of those whose images were kept."""
    norms = found.gradient_norms
    return {
        "lower_gradient_norm": max(norm for norm, kept in zip(norms, found.kept) if kept),
        "lower_steps": found.lower_steps,
        "converged": sum(norm <= tolerance for norm in norms) / len(norms),
    }


def theory(
    dataset: str,
    seed: int,
    n: int,
    sets: int = 1000,
    labels: str | dict[str, list[str]] | None = None,
    held_out: int = 1000,
    device: str = "cpu",
) -> dict:
    """What the paper proves or says in passing, in small networks: R01 to R04 and R17.

    sets: of random images, for the bound of R02.  labels, held_out: as for `bilevel`. Images are
    averaged down to 8 x 8 pixels; see `chapters.equations` for what each number means.
    """
    images = equations.small(pools(dataset, n, seed, labels, held_out, device))
    started = time.perf_counter()
    return {
        **equations.same_objective(images, seed),
        **equations.majoriser(images, seed, sets),
        **equations.other_optimum(images),
        **equations.repeated(images, seed),
        **equations.count_starts(images),
        "seconds": time.perf_counter() - started,
    }
