"""Refusing foreign images: a class for garbage, detectors, and how well either tells them apart.

    taught = ood.train_refusing(model, images, labels, classes=10, rounds=10, garbage=noise)
    known, foreign = (ood.confidence(predict.logits(model, x), 10) for x in (test, others))
    ood.separation(known, foreign)             # AUROC, AUPR, FPR at 95 % TPR

Images are [n, channels, size, size] in [−1, 1]. A larger score means everywhere: more like the known
images. Training has no parameter for foreign images, so it cannot have seen any.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from sklearn.metrics import average_precision_score
from torch import Tensor, nn

from lib import inversion, matching
from lib.generator import Generator, generate
from lib.losses import NonFiniteLoss
from lib.predict import modes_kept, watched
from lib.train import PRECISIONS

# --- scores and their metrics -------------------------------------------------------------------


def confidence(logits: Tensor, classes: int) -> Tensor:
    """Largest probability among the first `classes` outputs, [n, outputs] -> [n] float64 in [0, 1].

    Outputs beyond them, such as a garbage class, take their share of the probability. In float64,
    as many confidences would be equal to 1 otherwise.
    """
    return logits.double().softmax(1)[:, :classes].amax(1)


def refused(logits: Tensor, classes: int) -> Tensor:
    """Whether the largest output is none of the first `classes`, [n, outputs] -> bool [n]."""
    return logits.argmax(1) >= classes


def separation(known: Tensor, foreign: Tensor) -> dict[str, float]:
    """How well a score tells known from foreign images, [n] and [m] -> three numbers in [0, 1].

    auroc: P(a known image has the larger score), ties counting half.  aupr: average precision of
    finding known images, both kinds weighing the same.  fpr95: share of foreign images whose score
    reaches what 95 % of the known ones reach (Hendrycks & Gimpel 2017; Liang et al. 2018).
    Raises ValueError when one kind is missing or a score is not finite.
    """
    if not len(known) or not len(foreign):
        raise ValueError(f"{len(known)} known and {len(foreign)} foreign scores: both are needed")
    scores = torch.cat([known, foreign]).double().cpu()
    if not torch.isfinite(scores).all():
        raise ValueError("a score is not finite, so images cannot be ranked by it")
    is_known = torch.arange(len(scores)) < len(known)
    weight = torch.where(is_known, 1 / len(known), 1 / len(foreign))
    passed = known.double().quantile(0.05, interpolation="lower")
    return {
        "auroc": matching.auroc(known, foreign),
        "aupr": float(average_precision_score(is_known, scores, sample_weight=weight)),
        "fpr95": (foreign >= passed).double().mean().item(),
    }


def gap(known: Tensor, accepted: Tensor, *, cut: float = 0.0) -> float:
    """Least confident known minus most confident accepted foreign image, in [−1, 1].

    Above 0 a threshold separates them (paper 001, §5.2).  cut: share of the images that is left
    out at that end of either kind; 0 is the paper's.  known, accepted: confidences [n], [m]; if
    no foreign image was accepted, the most confident one counts as 0.
    Raises ValueError without a known image.
    """
    if not len(known):
        raise ValueError("a gap needs known images, and there is none")
    least = known.double().quantile(cut).item()
    return least - (accepted.double().quantile(1 - cut).item() if len(accepted) else 0.0)


DETECTORS = ("energy", "odin", "knn", "norm")  # beside the largest probability itself


def detect(
    model: nn.Module, training: Tensor, images: Tensor, *, layer: str | None = None
) -> dict[str, Tensor]:
    """Scores of `DETECTORS` for images [n, ...], each [n] float64, from a classifier as it is.

    energy: log-sum-exp of the logits (Liu et al. 2020).  odin: largest probability at temperature
    1,000 after a step of 0.0014 towards it (Liang et al. 2018).  knn: minus the distance to the
    50th neighbour among the features of `training`, at length 1 (Sun et al. 2022).  norm: length of
    the feature vector (Park et al. 2023).  Nothing is tuned.  The first three are those of
    pytorch-ood (Kirchheim et al. 2022).
    layer: see `lib.predict.watched`.  Raises LookupError for a layer that there is not.
    """
    from pytorch_ood.detector import KNN, ODIN, EnergyBased  # only detectors need it

    with watched(model, layer) as look, torch.no_grad():
        logits, features = _looked(look, images)
        _, seen = _looked(look, training)
    with modes_kept(model):
        odin = ODIN(model.eval())
        stepped = torch.cat([odin.predict(some) for some in images.split(500)])
    neighbours = KNN(None, k=min(50, len(seen)))
    neighbours.fit_features(seen.cpu(), torch.zeros(len(seen), dtype=torch.long))
    scores = {
        "energy": -EnergyBased.score(logits.double()),
        "odin": -stepped,
        "knn": -neighbours.predict_features(features),
        "norm": features.norm(dim=1),
    }
    return {name: score.double() for name, score in scores.items()}


def _looked(look: Callable, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and features of many images."""
    return tuple(torch.cat(part) for part in zip(*(look(some) for some in images.split(500))))


def require_alike(known: Tensor, foreign: Tensor) -> None:
    """Raises ValueError when a classifier of known images cannot take the foreign ones."""
    if known.shape[1:] != foreign.shape[1:]:
        mine, other = (" × ".join(map(str, x.shape[1:])) for x in (known, foreign))
        raise ValueError(
            f"foreign images are {other}, known ones {mine} (channels × height × width): they must "
            "be alike to be told apart"
        )


# --- garbage ------------------------------------------------------------------------------------


def noise(n: int, shape: Sequence[int], *, seed: int, std: float = 0.5) -> Tensor:
    """Gaussian noise around 0, cut off at −1 and 1, [n, *shape].

    Paper 001 gives no width; 0.5 is that of Hendrycks et al. (2019).
    """
    random = torch.Generator().manual_seed(seed)
    return (std * torch.randn(n, *shape, generator=random)).clamp(-1, 1)


def untrained(n: int, classes: int, shape: Sequence[int], *, seed: int, width: int = 32) -> Tensor:
    """n images [n, *shape] of a generator that nobody trained, as many of each class.

    Its weights are as they were drawn; its batch norms have the statistics of 20 batches, as
    otherwise all images would be grey.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        generator = Generator(classes, shape[0], shape[-1], width=width)
        for module in generator.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # the mean over all batches
        with torch.no_grad():
            for _ in range(20):
                conditions = generator.conditions(torch.arange(64) % classes)
                generator(torch.randn(64, generator.latent), conditions)
        return generate(generator, generator.conditions(torch.arange(n) % classes))


def invert_further(
    model: nn.Module,
    generator: Generator,
    classes: int,
    per_class: int,
    *,
    steps: int,
    weights: Mapping[str, float],
    seed: int,
    **settings,
) -> tuple[inversion.Samples, dict[str, list[float]]]:
    """Train a generator on, in place, against a classifier as it is now, and draw its images.

    Returns `per_class` images of each of the first `classes` outputs, and the history of
    `inversion.invert`, which has the settings and the errors. The generator must have been made
    for all outputs: what the garbage class calls its own belongs to the input space, too.
    """
    observed = 20 * generator.classes
    history = inversion.invert(
        model, generator, steps=steps, weights=weights, seed=seed, observed=observed, **settings
    )
    made = inversion.sample(generator, model, per_class * generator.classes, seed=seed + 1)
    kept = made.labels < classes
    parts = (made.images, made.labels, made.vectors, made.logits, made.features)
    return inversion.Samples(*(part[kept] for part in parts)), history


# --- training -----------------------------------------------------------------------------------


def class_weights(counts: Tensor) -> Tensor:
    """Inverse frequencies, [k] -> [k]: n / (k nᵢ), so 1 for each of k classes of one size."""
    return counts.sum() / (len(counts) * counts.double())


@dataclass(frozen=True)
class Taught:
    """What a classifier was trained on, round by round."""

    garbage: Tensor  # all images that are none of the classes, in the order they came
    counts: Tensor  # images of each class and of garbage in a round [rounds, classes + 1]
    weights: Tensor  # of the classes in the loss, float64 [rounds, outputs]
    losses: list[float]  # mean over the batches of a round


More = Callable[[int, nn.Module], Tensor]


def train_refusing(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    classes: int,
    rounds: int,
    garbage: Tensor | None = None,
    more: More | None = None,
    exposure: float = 0.0,
    passes: int = 1,
    lr: float = 1e-3,
    batch: int = 128,
    precision: str = "float32",
    seed: int = 0,
    observe: Callable[[int, nn.Module, Tensor], None] | None = None,
) -> Taught:
    """Train in rounds, with images that are to be refused among the others (paper 001, §5.2).

    Args:
        model: with `classes` + 1 outputs, the last for garbage, trained in place with Adam on the
            cross-entropy, weighted by `class_weights` of the round; or with `classes` outputs if
            there is no garbage, or for outlier exposure.
        images: [n, ...]; labels: int64 [n].
        garbage: images that are refused from the start.
        more: called as more(round, model) after each round but the last, for images that join them.
        exposure: above 0, the weight of outlier exposure (Hendrycks et al. 2019; they take 0.5):
            the outputs on garbage are to be all alike, by their cross-entropy with the uniform
            distribution, and there is no garbage class.
        passes: over all images in a round, each without its incomplete batch.
        observe: called as observe(round, model, images that joined last) after each round.

    Raises:
        NonFiniteLoss: the message names the round.
        ValueError: a model with other outputs, or nothing to train.
    """
    outputs = classes + (garbage is not None and not exposure)
    kind, device = PRECISIONS[precision], images.device
    joined = images[:0] if garbage is None else garbage
    pool, counts, weights, losses = joined, [], [], []
    if rounds < 1 or passes < 1 or not len(images):
        raise ValueError(f"nothing to train: {rounds} rounds of {passes} on {len(images)} images")
    _require_outputs(model, images, outputs)
    model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, fused=True)
    random = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # dropout
        for number in range(1, rounds + 1):
            x = torch.cat([images, pool]).to(kind).contiguous(memory_format=torch.channels_last)
            y = torch.cat([labels, labels.new_full((len(pool),), classes)])
            counts.append(y.bincount(minlength=classes + 1))
            weights.append(class_weights(counts[-1][:outputs]))
            weight = None if exposure else weights[-1].float()
            model.train()
            found = []
            for chosen in _batches(len(x), batch, passes, random):
                chosen = chosen.to(device)
                optimizer.zero_grad(set_to_none=True)
                with torch.autocast(device.type, kind, enabled=precision != "float32"):
                    logits = model(x[chosen])
                loss = _loss(logits.float(), y[chosen], classes, weight, exposure)
                loss.backward()
                optimizer.step()
                found.append(loss.detach())
            losses.append(torch.stack(found).mean().item())
            if not torch.isfinite(torch.tensor(losses[-1])):
                raise NonFiniteLoss(f"the loss is not finite in round {number}: lower the rate")
            with torch.random.fork_rng():  # who looks on or makes garbage does not change the dice
                if observe:
                    observe(number, model, joined)
                if more and number < rounds:
                    joined = more(number, model).to(pool)
                    pool = torch.cat([pool, joined])
    return Taught(pool, torch.stack(counts), torch.stack(weights), losses)


def _loss(
    logits: Tensor, labels: Tensor, classes: int, weight: Tensor | None, exposure: float
) -> Tensor:
    if not exposure:
        return F.cross_entropy(logits, labels, weight=weight)
    own = labels < classes
    known = F.cross_entropy(logits[own], labels[own]) if own.any() else 0.0
    uniform = -logits[~own].log_softmax(1).mean() if not own.all() else 0.0
    return known + exposure * uniform


def _batches(n: int, batch: int, passes: int, random: torch.Generator) -> list[Tensor]:
    """Indices [batch] of all batches of a round."""
    batch = min(batch, n)
    orders = [torch.randperm(n, generator=random) for _ in range(passes)]
    return [some for order in orders for some in order[: n - n % batch].split(batch)]


@torch.no_grad()
def _require_outputs(model: nn.Module, images: Tensor, outputs: int) -> None:
    training = model.training
    found = model.eval()(images[:2]).shape[1:]
    model.train(training)
    if tuple(found) != (outputs,):
        raise ValueError(f"the classifier's output is {list(found)} an image; it must be {outputs}")
