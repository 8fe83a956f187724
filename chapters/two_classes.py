"""Networks of two classes attacked for their training images: the task, and how candidates are scored."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from lib import data, kkt, margin, matching, rowspace

SHOWN_PAIRS = 12
CLOSE = 0.7  # correlation from which a pair looks alike
DRAWS = 5  # of the span null
# Later layers keep most of their initial values, which no training image explains.
LAYER_WEIGHTS = (1.0, 0.1, 0.1)

# The settings released for paper 004, the first of the two published for each set.
RELEASED = {
    "cifar": {"lr": 0.555, "sigma": 8.86e-4, "alpha": 19.1, "lambda_min": 0.498},
    "mnist": {"lr": 0.0305, "sigma": 0.0350, "alpha": 149.9, "lambda_min": 0.447},
}


def task(
    dataset: str,
    n: int,
    seed: int,
    labels: str | dict[str, list[str]] | None = None,
    held_out: int = 1000,
    device: str = "cpu",
) -> tuple[data.DataSet, data.DataSet]:
    """(training set of n images, held-out set) of a task with two classes, both balanced.

    labels: a scheme of `lib.data`, or {name: its classes, name: its classes}; None: the scheme of
    the data set, or the two classes that it has.  held_out: number of images never trained on.
    """
    binary = data.two_classes(data.load(dataset, device=device), dataset, labels)
    return data.split_held_out(binary, n, held_out, seed=seed)


def centred(training: data.DataSet) -> tuple[Tensor, Tensor, Tensor]:
    """Images minus their mean [n, c, h, w], signs in {-1, +1} [n], and the mean [c, h, w]."""
    mean = training.images.mean(0)
    return training.images - mean, 2.0 * training.labels - 1, mean


@dataclass(frozen=True)
class Found:
    """What an attack hands over: candidates [m, *shape], and how much it trusts each [m].

    scale_is_open: the attack leaves it open, so pictures fit it to the image beside them.
    """

    candidates: Tensor
    trust: Tensor
    scale_is_open: bool = False


Attack = Callable[[nn.Module, tuple[int, int, int], int, int], Found]


def first_layer(network: nn.Module, shape: tuple[int, int, int], n: int, seed: int) -> Found:
    """The rows null: mixtures of the training images as training left them."""
    rows = kkt.mlp_layers(network)[0][0]
    both = torch.cat([rows, -rows])
    return Found(both.reshape(-1, *shape), both.norm(dim=1), scale_is_open=True)


def similarities(
    training: data.DataSet, held_out: data.DataSet, candidates: Tensor
) -> tuple[Tensor, Tensor]:
    """NCC of the training and of the held-out images, without the training mean, with each."""
    x, _, mean = centred(training)
    return matching.ncc(x, candidates), matching.ncc(held_out.images - mean, candidates)


def nulls(
    network: nn.Module, training: data.DataSet, held_out: data.DataSet, count: int, seed: int
) -> dict[str, float]:
    """What mixtures of the training images score that nobody solved for.

    span: `count` random mixtures of the row space, mean of `DRAWS` draws.  rows: the rows of the
    first layer, all of them and both signs, which may be more candidates than the attack has.
    """
    shape = tuple(training.images.shape[1:])
    pools = [
        rowspace.random_mixtures(
            kkt.mlp_layers(network)[0][0], shape, count, seed=DRAWS * seed + draw
        )
        for draw in range(DRAWS)
    ]
    pools.append(first_layer(network, shape, 0, seed).candidates)
    on_train, on_held_out = (
        similarity.split([len(pool) for pool in pools], dim=1)
        for similarity in similarities(training, held_out, torch.cat(pools))
    )
    *drawn, rows = map(calibrated, on_train, on_held_out)
    span = {name: sum(one[name] for one in drawn) / DRAWS for name in rows}
    return {
        f"{null}_{name}": value
        for null, measures in (("span", span), ("rows", rows))
        for name, value in measures.items()
    }


def calibrated(on_train: Tensor, on_held_out: Tensor) -> dict[str, float]:
    """Calibration, distinct close images of either kind, and the median best correlation."""
    return {
        **asdict(matching.calibrate(on_train, on_held_out)),
        "close": matching.distinct(on_train, CLOSE),
        "close_held_out": matching.distinct(on_held_out, CLOSE),
        "median_ncc": on_train.amax(1).median().item(),
    }


def scores(
    network: nn.Module, training: data.DataSet, held_out: data.DataSet, found: Found
) -> dict:
    """Everything that compares candidates with the truth, after the attack."""
    x, signs, mean = centred(training)
    candidates = found.candidates
    on_train, on_held_out = similarities(training, held_out, candidates)
    matches = matching.match(training.images, candidates + mean, on_train)
    best = on_train.amax(1)
    with torch.no_grad():
        margins = margin.margins(network, x, signs)
    ssim = torch.empty_like(matches.ssim)
    ssim[matches.order] = matches.ssim
    fitted = {
        name: (mean + matching.scaled_to(images - mean, candidates, similarity)).clamp(0, 1)
        for name, images, similarity in (
            ("train", training.images, on_train),
            ("held_out", held_out.images, on_held_out),
        )
    }
    fitted_ssim = matching.ssim(training.images, fitted["train"])
    strangers_ssim = matching.ssim(held_out.images, fitted["held_out"])
    top = matches.order[:SHOWN_PAIRS]
    shown = matches.reconstructions[:SHOWN_PAIRS]
    if found.scale_is_open:
        top = fitted_ssim.argsort(descending=True)[:SHOWN_PAIRS]
        shown = fitted["train"][top]
    return {
        **calibrated(on_train, on_held_out),
        **trusted(found, on_train, on_held_out),
        "candidates": len(candidates),
        "ssim_above_0.4": int((ssim > 0.4).sum()),
        "fitted_ssim_above_0.4": int((fitted_ssim > 0.4).sum()),
        "fitted_ssim_above_0.4_held_out": int((strangers_ssim > 0.4).sum()),
        "rank_correlation_margin_score": float(
            spearmanr(margins.abs().cpu(), best.cpu()).statistic
        ),
        "smallest_margin": margins.min().item(),
        "best_ncc": best,
        "best_ncc_held_out": on_held_out.amax(1),
        "ssim": ssim,
        "fitted_ssim": fitted_ssim,
        "margins": margins,
        "shown_reconstructions": as_pixels(shown),
        "shown_images": as_pixels(training.images[top]),
        "shown_ncc": best[top],
        "shown_ssim": (fitted_ssim if found.scale_is_open else ssim)[top],
    }


def trusted(found: Found, on_train: Tensor, on_held_out: Tensor) -> dict:
    """Whether the candidates that the attack itself ranks first are training images.

    Distinct candidates by falling trust; `trusted_precision` is the share of the first n/2 with
    |NCC| above `CLOSE` to a training image, `trusted_held_out` to a held-out one.
    """
    order = matching.trusted(found.candidates, found.trust, len(on_train)).to(on_train.device)
    near, strange = (s.abs().amax(0)[order] for s in (on_train, on_held_out))
    first = slice(len(on_train) // 2)
    return {
        "trusted_precision": (near[first] > CLOSE).double().mean().item(),
        "trusted_held_out": (strange[first] > CLOSE).double().mean().item(),
        "trust": found.trust[order],
        "trusted_ncc": near,
        "trusted_ncc_held_out": strange,
    }


def as_pixels(images: Tensor) -> Tensor:
    return (255 * images).round().clamp(0, 255).to(torch.uint8)
