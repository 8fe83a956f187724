"""Runs of chapter 8: could an attacker tell true reconstructions from invented ones (R23)?"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chapters.tellers import ATTACKS, SIGN_IS_OPEN, STEPS, Given, network_of
from chapters.two_classes import CLOSE, LAYER_WEIGHTS, as_pixels, centred, task
from lib import data, general_kkt, kkt, matching, naturalness, reconstruction, rowspace

SAME = 0.9  # correlation from which two candidates are one
FEWEST = 3  # of either kind, below which nothing is told apart
SETTLING = 20  # steps of the KKT attack from a candidate
MOST_SHOWN = 12  # of either kind, in the quiz


# --- what needs no training image ------------------------------------------------------------------


@dataclass(frozen=True)
class Judged:
    """Candidates to be judged [m, c, h, w], and the start that each comes from, -1 for none."""

    images: Tensor
    home: Tensor

    def with_others(self, *images: Tensor) -> Judged:
        """The same and further images, which come from no start."""
        count = sum(map(len, images))
        nowhere = self.home.new_full((count,), -1)
        return Judged(torch.cat([self.images, *images]), torch.cat([self.home, nowhere]))


def recurring(judged: Judged, pools: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """How a candidate comes back from the other starts, both [m] in [0, 1].

    The mean over these of its largest |correlation| with any of their candidates, and the share of
    them in which that is above `SAME`.
    """
    best = torch.stack([matching.ncc(pool, judged.images).abs().amax(0) for pool in pools], dim=1)
    others = judged.home[:, None] != torch.arange(len(pools), device=judged.home.device)
    count = others.sum(1)
    return (best * others).sum(1) / count, ((best > SAME) & others).sum(1) / count


def distinct(pools: Sequence[Tensor], most: int) -> Judged:
    """The candidates of all starts, without those that repeat one that comes back better."""
    starts = torch.cat([torch.full((len(pool),), i) for i, pool in enumerate(pools)])
    everything = Judged(torch.cat(list(pools)), starts.to(pools[0].device))
    order = matching.trusted(
        everything.images, recurring(everything, pools)[0], most, same=SAME
    ).to(starts.device)
    return Judged(everything.images[order], everything.home[order])


def signals(network: nn.Module, pools: Sequence[Tensor], judged: Judged) -> dict[str, Tensor]:
    """What an attacker can compute of each candidate [m]; a higher value speaks for a true one.

    agreement, repeats: `recurring`.  multiplier, contribution: the λ ≥ 0 with which all candidates
    together explain the weights best, and the share that each explains.  likelihood: of a natural
    image, `lib.naturalness`.  confidence: |Φ|.  gradient: minus the logarithm of the norm of its
    loss's gradient, with the label that the network gives it.  span: share of its squared norm
    inside the row space of W₁.  sensitivity: correlation with what becomes of it when the KKT
    attack starts from all of them.
    """
    images = judged.images
    layers = [
        (weight.double(), None if bias is None else bias.double())
        for weight, bias in kkt.mlp_layers(network)
    ]
    with torch.no_grad():
        terms = general_kkt.of_layers(layers)(images.flatten(1).double())
    signs = torch.where(terms.outputs < 0, -1.0, 1.0).to(terms.outputs)
    multipliers = terms.best_multipliers(signs)
    confidence = terms.outputs.abs()
    gradient = F.logsigmoid(-confidence) + terms.kernel.diagonal().clamp(min=1e-300).log() / 2
    agreement, repeats = recurring(judged, pools)
    return {
        "agreement": agreement,
        "repeats": repeats,
        "multiplier": multipliers,
        "contribution": terms.shares(multipliers * signs),
        "likelihood": naturalness.naturalness(images),
        "confidence": confidence,
        "gradient": -gradient,
        "span": _inside(layers[0][0], images.flatten(1).double()),
        "sensitivity": _settled(network, images),
    }


def _inside(weight: Tensor, images: Tensor) -> Tensor:
    basis = rowspace.row_space(weight)
    return (images @ basis.T).square().sum(1) / images.square().sum(1).clamp(min=1e-300)


def _settled(network: nn.Module, images: Tensor) -> Tensor:
    moved = reconstruction.eliminated_attack(
        network,
        len(images),
        tuple(images.shape[1:]),
        iterations=SETTLING,
        lr=0.03,
        alpha=(100.0, 1000.0),
        layer_weights=LAYER_WEIGHTS,
        start=images,
        seed=0,
    ).candidates
    return torch.stack([matching.ncc(a[None], b[None])[0, 0] for a, b in zip(images, moved)])


# --- what does -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Truth:
    """Training and held-out images as the network's inputs; whether either sign is a hit."""

    training: Tensor
    held_out: Tensor
    sign_is_open: bool

    def near(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Correlation of training and of held-out images with each [k, m]."""
        both = (matching.ncc(pool, images) for pool in (self.training, self.held_out))
        return tuple(one.abs() if self.sign_is_open else one for one in both)


@dataclass(frozen=True)
class Sorted:
    """Which candidates are hits, and which look natural, both [m]; the thresholds used."""

    hit: Tensor
    natural: Tensor
    threshold: float
    level: float


def sort(on_train: Tensor, on_held_out: Tensor, natural: Tensor, of_real: Tensor) -> Sorted:
    """A hit is close to a training image, and closer than 99 % of held-out images are to any.

    Natural is what scores at least the median of hits, or, without hits, of held-out images.

    on_train, on_held_out: correlations [k, m]; natural, of_real: naturalness of the candidates [m]
    and of held-out images.
    """
    threshold = max(CLOSE, on_held_out.amax(1).quantile(0.99).item())
    hit = on_train.amax(0) > threshold
    level = (natural[hit] if hit.any() else of_real).median().item()
    return Sorted(hit, natural >= level, threshold, level)


def apart(found: dict[str, Tensor], hit: Tensor, others: Tensor, kind: str = "") -> dict:
    """auroc_<kind><signal> of hits against others, masks [m]; nothing of fewer than `FEWEST`."""
    if min(hit.sum(), others.sum()) < FEWEST:
        return {}
    return {
        f"auroc_{kind}{name}": matching.auroc(values[hit], values[others])
        for name, values in found.items()
    }


def told(
    given: Given,
    pools: Sequence[Tensor],
    strangers: Tensor,
    elsewhere: Tensor,
    truth: Truth,
) -> tuple[dict, Judged, Sorted]:
    """Signals of the candidates, then the truth, then how well the one tells the other.

    strangers: real images that no network saw; elsewhere: candidates of the same attack on a network
    that was trained on another draw. Neither was in the training set, unless by chance: those of
    `elsewhere` that are close to a training image are left out.
    """
    judged = distinct(pools, 4 * given.n)
    wide = judged.with_others(strangers, elsewhere)
    own, everything = (signals(given.network, pools, some) for some in (judged, wide))

    sets = sort(
        *truth.near(judged.images),
        own["likelihood"],
        naturalness.naturalness(truth.held_out),
    )
    hit, miss = sets.hit, ~sets.hit & sets.natural
    first = own["agreement"].argsort(descending=True, stable=True)[: max(given.n // 4, 1)]
    group = torch.zeros(len(wide.images), dtype=torch.long, device=hit.device)
    group[len(judged.images) :] = 1
    group[len(judged.images) + len(strangers) :] = 2
    close = truth.near(wide.images)[0].amax(0) > CLOSE
    is_natural = everything["likelihood"] >= sets.level
    wide_hit = F.pad(hit, (0, len(group) - len(hit)))
    groups = {
        "held_out_": group == 1,
        "elsewhere_": (group == 2) & is_natural & ~close,
    }
    groups["invented_"] = groups["held_out_"] | groups["elsewhere_"]
    values = {
        "candidates": len(judged.images),
        "true_hits": int(hit.sum()),
        "hits_natural": int((hit & sets.natural).sum()),
        "misses_natural": int(miss.sum()),
        "threshold": sets.threshold,
        "natural_level": sets.level,
        "precision_top": hit[first].double().mean().item(),
        **{f"{kind}images": int(mask.sum()) for kind, mask in groups.items()},
        **apart(own, hit, miss),
        **apart(own, hit & sets.natural, miss, "natural_"),
    }
    for kind, mask in groups.items():
        values |= apart(everything, wide_hit, mask, kind)
    arrays = {f"signal_{name}": found.float() for name, found in own.items()}
    return values | arrays | {"is_hit": hit, "is_natural": sets.natural}, judged, sets


# --- the run ---------------------------------------------------------------------------------------


def tellings(
    dataset: str,
    seed: int,
    n: int,
    attack: str,
    starts: int = 3,
    protocol: str = "constant",
    epochs: int = 2000,
    steps: int | None = None,
    pictures: bool = False,
    labels: str | dict[str, list[str]] | None = None,
    held_out: int = 1000,
    device: str = "cpu",
) -> dict:
    """How well signals that need no training image tell an attack's hits from what looks like them.

    The candidates of all starts are judged together, those that repeat each other once.
    `auroc_<signal>`: hits against misses that look natural; `auroc_natural_…`: natural hits against
    these; `auroc_held_out_…`: hits against real images that no network saw; `auroc_elsewhere_…`:
    against natural candidates of the same attack on a network of another draw;
    `auroc_invented_…`: against both of these. Higher signals speak for a hit, as fixed beforehand.

    Args:
        attack: a key of `ATTACKS`.  starts: at least 2, as agreement needs another one.
        protocol, epochs: of the network, as for `lib.margin.fit_margin`.
        steps: of a KKT attack; None: `STEPS`.
        pictures: add a quiz of at most 12 hits and 12 others, with what comes nearest to each.

    Raises ValueError for an unknown attack, fewer starts than 2, or too few held-out images.
    """
    if attack not in ATTACKS:
        raise ValueError(f"unknown attack {attack!r}, known: {', '.join(ATTACKS)}")
    if starts < 2:
        raise ValueError(f"starts is {starts}: what comes back needs at least 2")
    training, others = task(dataset, n, seed, labels, held_out, device)
    elsewhere, _ = task(dataset, n, seed + 1000, labels, held_out, device)
    x, _, mean = centred(training)
    own, strangers, rest = _shared_out(others, n, starts, seed)
    given = Given(
        network_of(training, seed, protocol, epochs),
        n,
        tuple(x.shape[1:]),
        (own - mean).reshape(starts, n, *x.shape[1:]),
        seed,
        steps or STEPS.get(attack),
    )
    twin = replace(given, network=network_of(elsewhere, seed + 1000, protocol, epochs))
    began = time.perf_counter()
    pools = [ATTACKS[attack](given, start) for start in range(starts)]
    seconds = time.perf_counter() - began
    other = ATTACKS[attack](twin, 0)
    other = other[naturalness.naturalness(other).argsort(descending=True, stable=True)[:n]]
    truth = Truth(x, rest - mean, attack in SIGN_IS_OPEN)
    began = time.perf_counter()
    values, judged, sets = told(given, pools, strangers - mean, other, truth)
    told_seconds = time.perf_counter() - began
    shown = _quiz(judged, sets, other, truth, values, mean, seed) if pictures else {}
    return {"attack_seconds": seconds, "signal_seconds": told_seconds, **values, **shown}


def _shared_out(
    others: data.DataSet, n: int, starts: int, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Held-out images to start from [starts · n], to pass for training images [n], to compare with.

    Raises ValueError when fewer than n are left to compare with.
    """
    taken = n * (starts + 1)
    if len(others.images) < taken + n:
        raise ValueError(
            f"{len(others.images)} held-out images are fewer than the {taken + n} that {starts} "
            f"starts of {n} images need"
        )
    chosen, index = data.balanced_subset(others, taken, seed=seed)
    order = torch.randperm(taken, generator=torch.Generator().manual_seed(seed))
    images = chosen.images[order.to(chosen.images.device)]
    left = torch.ones(len(others.images), dtype=torch.bool)
    left[index] = False
    return images[: n * starts], images[n * starts :], others.images[left]


def _quiz(
    judged: Judged,
    sets: Sorted,
    elsewhere: Tensor,
    truth: Truth,
    values: dict,
    mean: Tensor,
    seed: int,
) -> dict:
    """The most natural hits, and as many of the most natural misses, then inventions of elsewhere.

    Pictures have the contrast of the training images and their mean, as the nearest ones have.
    """
    natural = values["signal_likelihood"].argsort(descending=True, stable=True)
    hits = natural[sets.hit[natural]][:MOST_SHOWN]
    misses = natural[(~sets.hit & sets.natural)[natural]][:MOST_SHOWN]
    strange = elsewhere[truth.near(elsewhere)[0].amax(0) <= CLOSE][: MOST_SHOWN - len(misses)]
    images = torch.cat([judged.images[hits], judged.images[misses], strange])
    agreement = F.pad(
        values["signal_agreement"][torch.cat([hits, misses])], (0, len(strange)), value=math.nan
    )
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    order = order.to(images.device)
    images, is_hit = images[order], (torch.arange(len(images), device=images.device) < len(hits))
    on_train, on_held_out = truth.near(images)
    nearest = [
        pool[near.argmax(0)]
        for pool, near in ((truth.training, on_train), (truth.held_out, on_held_out))
    ]
    turned = _turned_to(images, nearest[0]) if truth.sign_is_open else images
    spread = turned.flatten(1).std(1)[:, None, None, None].clamp(min=1e-12)
    return {
        "quiz_pictures": as_pixels(turned * truth.training.std() / spread + mean),
        "quiz_is_hit": is_hit[order],
        "quiz_nearest_training": as_pixels(nearest[0] + mean),
        "quiz_nearest_held_out": as_pixels(nearest[1] + mean),
        "quiz_ncc": torch.stack([on_train.amax(0), on_held_out.amax(0)], dim=1),
        "quiz_agreement": agreement[order],
    }


def _turned_to(images: Tensor, nearest: Tensor) -> Tensor:
    """Each image or its negative, whichever correlates with the image beside it."""
    sign = torch.stack([matching.ncc(a[None], b[None])[0, 0] for a, b in zip(images, nearest)])
    return images * torch.where(sign < 0, -1.0, 1.0).to(images)[:, None, None, None]
