"""Unmixing a first layer: seconds and what is found, against FastICA and Picard on the same network.

    python benchmarks/unmixing.py                            # digits, n = 50
    python benchmarks/unmixing.py --data cifar10-jpeg -n 100   # photographs, where WWR_DATA has them
    python benchmarks/unmixing.py --quick                    # a small network, a few seconds
    python benchmarks/unmixing.py --threads 1   # where other work keeps the cores busy

The network is trained by the plain recipe of chapter 10, and only its first layer is attacked:

  FastICA          `rowspace.unmix`: orthogonal, the first derivatives of every channel
  Picard           maximum likelihood without orthogonality, density sech, on all derivatives that
                   `unmixing.derivatives` makes; left out where python-picard is not installed
  one start        `unmixing.Sources`: one energy for all derivatives at a pixel, full rank
  ladder           `unmixing.unmix`: several starts on each rung, and what they agree on

Every route gives its components in both signs. "found" counts the training images whose best
correlation with a candidate is above the 99 % quantile of held-out images, "close" those that a
candidate is nearest to, with a correlation above 0.7, and "trusted" is the share of the quarter of n
that come first which are as close to a training image; only the ladder ranks its candidates.
"""

import argparse
import importlib.util
from collections.abc import Callable

import torch
from timing import alternating, environment, table
from torch import Tensor

from chapters import recipes, two_classes
from lib import matching, rowspace, unmixing

LADDER, FAST_ICA, PICARD = "ladder", "FastICA", "Picard"


def picard_unmix(weight: Tensor, shape: tuple[int, int, int], seed: int) -> Tensor:
    """Components of the row space by Picard's maximum likelihood, not orthogonal [r, d]."""
    from picard import picard

    basis = rowspace.row_space(weight.double())
    maps = unmixing.derivatives(basis.reshape(-1, *shape)).flatten(1)
    whitener, turn, _ = picard(
        maps.numpy(), ortho=False, centering=False, max_iter=200, tol=1e-4, random_state=seed
    )
    return torch.from_numpy(turn @ whitener) @ basis


def one_start(weight: Tensor, shape: tuple[int, int, int], seed: int) -> Tensor:
    """Components of the row space by the energy model from one random start [r, d]."""
    basis = rowspace.row_space(weight.double()).float()
    problem = unmixing.Sources(unmixing.derivatives(basis.reshape(-1, *shape)))
    return problem.fitted(None, torch.Generator().manual_seed(seed)) @ basis


def both_signs(components: Tensor, shape: tuple[int, int, int]) -> Tensor:
    return torch.cat([components, -components]).reshape(-1, *shape)


def routes_for(weight: Tensor, shape: tuple[int, int, int], seed: int) -> dict[str, Callable]:
    """What each route runs to hand over its candidates [m, c, h, w], by its name."""
    routes = {FAST_ICA: lambda: rowspace.unmix(weight, shape, seed=seed)}
    if importlib.util.find_spec("picard"):
        routes[PICARD] = lambda: both_signs(picard_unmix(weight, shape, seed), shape)
    routes["one start"] = lambda: both_signs(one_start(weight, shape, seed), shape)
    routes[LADDER] = lambda: unmixing.unmix(weight, shape, seed=seed).candidates
    return routes


def quality(victim: recipes.Victim, candidates: Tensor, ranked: bool) -> list[str]:
    """found, close and trusted, as they are printed."""
    seen = two_classes.similarities(victim.training, victim.held_out, candidates)
    measures = two_classes.calibrated(*seen)
    n = len(victim.training)
    trust = torch.arange(len(candidates), 0, -1)  # in the order in which they come
    first = matching.trusted(candidates, trust, n // 4)
    near = (seen[0].abs().amax(0)[first] > two_classes.CLOSE).double().mean().item()
    return [
        f"{measures['hits']} of {n}",
        str(measures["close"]),
        f"{near:.0%}" if ranked else "",
    ]


def compare(dataset: str, n: int, seed: int, *, width: int, held_out: int, seconds: float) -> str:
    """Train one network, time the routes on it, and score what they hand over."""
    victim = recipes.victim(
        dataset, n, seed, recipes.RECIPES["plain"], width=width, held_out=held_out
    )
    weight = recipes.layers(victim.network)[0].weight.detach()
    shape = tuple(victim.training.images.shape[1:])
    routes = routes_for(weight, shape, seed)
    timings = alternating(f"{dataset}, n = {n}", routes, seconds=seconds)
    rows = [
        [
            name,
            f"{timings[name].median:.2f}",
            f"{timings[name].low:.2f} … {timings[name].high:.2f}",
            f"{timings[name].median / timings[FAST_ICA].median:.2f}",
            *quality(victim, route(), name == LADDER),
        ]
        for name, route in routes.items()
    ]
    rank = len(rowspace.row_space(weight))
    header = [f"n = {n}, rank {rank}, rounds {timings[LADDER].rounds}", "median s", "10 % … 90 %"]
    return table([*header, "÷ FastICA", "found", "close", "trusted"], rows)


def main(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    dataset, n, width, held_out, seconds = options.data, options.n, 1000, 1000, 10.0
    if options.quick:
        dataset, n, width, held_out, seconds = "digits", 20, 200, 200, 0.0
    print(environment())
    print(f"\nunmixing d-{width}-{width}-1, plain recipe, start not known, seed {options.seed}")
    print(
        compare(dataset, n, options.seed, width=width, held_out=held_out, seconds=seconds),
        flush=True,
    )
    if not importlib.util.find_spec("picard"):
        print("Picard is left out: pip install python-picard adds it")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small network, a few seconds")
    parser.add_argument("--data", default="digits", help="data set (digits)")
    parser.add_argument("-n", type=int, default=50, help="training images (50)")
    parser.add_argument("--seed", type=int, default=0, help="of images, network and starts (0)")
    parser.add_argument("--threads", type=int, default=2, help="of the matrix products (2)")
    main(parser.parse_args())
