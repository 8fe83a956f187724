"""Runs of chapter 10: a network trained by a recipe, and its training images read off a layer."""

import time
from dataclasses import replace

import torch
from torch import Tensor, nn

from chapters import recipes
from chapters.two_classes import CLOSE, DRAWS, SHOWN_PAIRS, Found, as_pixels, calibrated, trusted
from lib import matching, rowspace, unmixing

FIRST = (20, 50)  # most trusted candidates; and the first half as many as there are images


def read_off(
    dataset: str,
    n: int,
    seed: int,
    recipe: str,
    start_known: bool = False,
    rank: int | None = None,
    width: int = 1000,
    steps: int | None = None,
    labels: str | dict[str, list[str]] | None = None,
    held_out: int = 1000,
    pictures: bool = False,
    device: str = "cpu",
) -> dict:
    """Train a network, unmix a layer of it without any image, then compare with the images.

    Args:
        recipe: a key of `recipes.KNOWN`.  width: of its two hidden layers.  steps: None takes
            the recipe's number; fewer make a quick look.
        start_known: the attacker has the network from before training, as with a public one that
            was fine-tuned, and unmixes what changed.
        rank: of the row space that is unmixed; None lets the attack choose.
        pictures: keep the `SHOWN_PAIRS` training images that come back best, and what came back.
    """
    how = recipes.named(recipe)
    if steps is not None:
        how = replace(how, steps=steps)
    of = recipes.victim(
        dataset, n, seed, how, width=width, labels=labels, held_out=held_out, device=device
    )
    network = recipes.publish(of.network, how, seed)
    change, bias = published_change(network, of, how.layer, start_known)
    seen = Seen(of, network, how.layer)
    started = time.perf_counter()
    if start_known and rank is None:
        rank = rank_of_change(change, recipes.layers(network)[how.layer].weight.detach())
    found, used = attack(change, seen.shape, seed, rank, bias)
    seconds = time.perf_counter() - started
    on_train, on_held_out = seen.similarities(found.candidates)
    return {
        "attack_seconds": seconds,
        "rank": used,
        "candidates": len(found.candidates) if used else 0,
        **calibrated(on_train, on_held_out),
        **precisions(found, on_train, on_held_out),
        **nulls(change, seen, len(found.candidates), used, seed),
        **performance(of, network),
        "best_ncc": on_train.amax(1),
        **(shown(of, found.candidates, on_train) if pictures and seen.are_images else {}),
    }


def published_change(
    network: nn.Module, of: recipes.Victim, layer: int, start_known: bool
) -> tuple[Tensor, Tensor | None]:
    """What an attacker has of a layer: its weight [k, d] and bias [k], less a known start."""
    attacked = recipes.layers(network)[layer]
    weight, bias = attacked.weight.detach(), attacked.bias
    bias = None if bias is None else bias.detach()
    if start_known:
        before, bias_before = of.start[layer]
        weight, bias = weight - before, None if bias is None else bias - bias_before
    return weight.flatten(1), bias


def rank_of_change(change: Tensor, weight: Tensor) -> int | None:
    """Directions of a known change that neither noise nor the rounding of the weights explains.

    Weights in float32 are rounded to a relative eps at each step, so their change is known up to
    about eps ‖W‖, also after thousands of steps; that noise is not alike in all entries, and its
    edge alone would count some of it.  None where nothing stands out, which `attack` finds, too.
    """
    values = torch.linalg.eigvalsh(change.double() @ change.double().T).clamp(min=0).sqrt()
    values = values.flip(0)[: min(change.shape)]
    above = values > 1.02 * rowspace.noise_edge(values, *change.shape)
    exact = values > torch.finfo(torch.float32).eps * weight.double().norm()
    return min(int((above & exact).sum()), unmixing.HIGHEST) or None


def attack(
    change: Tensor, shape: tuple[int, int, int], seed: int, rank: int | None, bias: Tensor | None
) -> tuple[Found, int]:
    """What unmixing finds, and the rank it used.

    Where nothing stands out of the noise that is one candidate without content, and rank 0.
    """
    try:
        found = unmixing.unmix(change, shape, seed=seed, rank=rank, bias=bias)
    except ValueError as error:
        if "stands out" not in str(error):
            raise
        return Found(change.new_zeros(1, *shape), change.new_zeros(1)), 0
    return Found(found.candidates, found.trust), found.rank


class Seen:
    """What enters the attacked layer for training and held-out images, to compare with."""

    def __init__(self, of: recipes.Victim, network: nn.Module, layer: int):
        self.training, self.held_out = (
            recipes.entering(network, layer, some.images - of.mean)
            for some in (of.training, of.held_out)
        )
        self.shape = tuple(self.training.shape[2:])
        self.are_images = self.shape == tuple(of.training.images.shape[1:])

    def similarities(self, candidates: Tensor) -> tuple[Tensor, Tensor]:
        """NCC of training and of held-out images with candidates [m, ...]; by the best part."""
        return tuple(
            torch.stack([matching.ncc(part, candidates) for part in parts.unbind(1)]).amax(0)
            for parts in (self.training, self.held_out)
        )


def precisions(found: Found, on_train: Tensor, on_held_out: Tensor) -> dict:
    """Shares of the most trusted candidates that are close to a training, or held-out, image."""
    told = trusted(found, on_train, on_held_out)
    shares = {}
    for name, count in [*((str(k), k) for k in FIRST), ("half", len(on_train) // 2)]:
        for ending, ncc in (("", "trusted_ncc"), ("_held_out", "trusted_ncc_held_out")):
            shares[f"trusted_{name}{ending}"] = (told[ncc][:count] > CLOSE).double().mean().item()
    arrays = ("trust", "trusted_ncc", "trusted_ncc_held_out")
    return shares | {name: told[name].float() for name in arrays}


def nulls(change: Tensor, seen: Seen, count: int, rank: int, seed: int) -> dict[str, float]:
    """What mixtures score that nobody solved for, as `two_classes.nulls`, of any layer.

    span: as many random mixtures of the row space that the attack used, of the whole where it found
    none; mean of `DRAWS` draws.  rows: the layer's rows, both signs.
    """
    mixtures = rowspace.random_mixtures(
        change, seen.shape, DRAWS * count, seed=seed, rank=rank or min(change.shape)
    )
    rows = torch.cat([change, -change]).reshape(-1, *seen.shape)
    pools = [*mixtures.split(count), rows]
    on_train, on_held_out = (
        both.split([len(pool) for pool in pools], dim=1)
        for both in seen.similarities(torch.cat(pools))
    )
    *drawn, of_rows = map(calibrated, on_train, on_held_out)
    span = {name: sum(one[name] for one in drawn) / DRAWS for name in of_rows}
    return {
        f"{null}_{name}": values[name]
        for null, values in (("span", span), ("rows", of_rows))
        for name in ("hits", "close", "auroc", "median_ncc")
    }


def performance(of: recipes.Victim, network: nn.Module) -> dict:
    """What the published network is good for, and how far its training went.

    Accuracy on training images is by the labels that it was trained with. epsilon is left out
    without DP-SGD.
    """
    x = of.training.images - of.mean
    with torch.no_grad():
        smallest = (of.signs * network(x)).min().item()
    return {
        "strangers": len(of.held_out),
        "train_accuracy": recipes.accuracy(network, x, of.signs),
        "test_accuracy": recipes.accuracy(
            network, of.held_out.images - of.mean, 2.0 * of.held_out.labels - 1
        ),
        "smallest_margin": smallest,
        **({"epsilon": of.epsilon} if of.epsilon < float("inf") else {}),
    }


def shown(of: recipes.Victim, candidates: Tensor, on_train: Tensor) -> dict:
    """The training images that come back best, by correlation, above the candidate of each.

    The candidate is scaled to the image by one number, as the attack leaves the scale open.
    """
    best = on_train.amax(1)
    top = best.argsort(descending=True)[:SHOWN_PAIRS]
    images = of.training.images[top]
    fitted = matching.scaled_to(images - of.mean, candidates, on_train[top])
    return {
        "shown_images": as_pixels(images),
        "shown_reconstructions": as_pixels((of.mean + fitted).clamp(0, 1)),
        "shown_ncc": best[top],
    }
