"""Runs of chapter 5: classifiers that are to refuse what they do not know."""

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from chapters.shared import TERMS, as_bytes, first_of_each, normalised, share
from lib import data, images, inversion, models, ood, predict, train
from lib.data import DataSet
from lib.generator import Generator

PLAIN, EXPOSED, NOISE = "plain", "outlier exposure", "noise"
UNTRAINED, INVERTED = "untrained generator", "inversion"
ARMS = (PLAIN, EXPOSED, NOISE, UNTRAINED, INVERTED)
PHOTOGRAPHS = "photographs"  # a foreign set that needs no download

# Garbage, as shares of the training images: noise at the start, and what joins in a round.
START, JOINING = 0.1, 0.05
EXPOSURE = 0.5  # weight of outlier exposure, as in its paper
# The generator and its steps a round, which bring its inversion accuracy to about 95 % on MNIST, and
# the weights α, β, γ, δ that chapter 3's rule chooses there. Chosen without a foreign image.
INVERSION = {
    "steps": 150,
    "batch": 64,
    "lr": 2e-3,
    "width": 16,
    **dict.fromkeys(TERMS, 1.0),
    "orthogonality": 4.0,
}
DRAWN = 500  # confidences of each kind that are kept for figures
SHOWN = 8  # images of each kind
BY_ROUND = (
    "accuracy", "accuracy_of_classes", "refused", "refused_known", "auroc", "aupr", "fpr95", "gap",
)  # fmt: skip


def refusing(
    dataset: str,
    foreign: str,
    seed: int,
    arm: str,
    n: int,
    rounds: int,
    width: int = 16,
    judged: int = 2000,
    inversion: Mapping[str, Any] = {},
    precision: str = "float32",
    device: str = "cpu",
) -> dict:
    """Train one classifier, by one of `ARMS`, and see what it makes of foreign images.

    Args:
        dataset: the known images.  foreign: a data set whose test images it should refuse, or
            "photographs"; the training never receives them.
        seed: draws the training images, the classifier, noise and generators; all arms share it.
        n: training images, and images that pass in a round: a set with fewer passes more often.
        width: of the regularised CNN.  judged: images of each kind that are judged each round;
            at the end all test images are.
        inversion: what differs from `INVERSION`.

    Raises ValueError for an unknown arm or setting, or foreign images of another shape.
    """
    if arm not in ARMS:
        raise ValueError(f"no arm is called {arm!r}: {', '.join(ARMS)}")
    if unknown := sorted(inversion.keys() - INVERSION.keys()):
        raise ValueError(f"no setting is called {unknown[0]!r}: {', '.join(INVERSION)}")
    training, test = _known(dataset, n, seed, device)
    others = _foreign(foreign, data.side(dataset), tuple(test.images.shape[1:])).to(device)
    ood.require_alike(test.images, others)
    making = _Making(arm, training, seed, {**INVERSION, **inversion}, precision)
    classes, shape = len(training.classes), training.images.shape[1:]
    garbage_class = arm not in (PLAIN, EXPOSED)
    start = torch.Generator().manual_seed(seed)
    model = models.RegularisedCNN(
        shape[0], shape[-1], classes + garbage_class, width=width, generator=start
    ).to(device)
    watching = _Watching(classes, garbage_class, test.take(range(min(judged, len(test)))), others)
    taught = ood.train_refusing(
        model,
        training.images,
        training.labels,
        classes=classes,
        rounds=rounds,
        garbage=None if arm == PLAIN else making.start(),
        more=None if arm == PLAIN else making.more,
        exposure=EXPOSURE if arm == EXPOSED else 0.0,
        passes=max(1, round(n / len(training))),
        precision=precision,
        seed=seed,
        observe=watching.look,
    )
    found = _measures(model, classes, garbage_class, test, others)
    if arm == PLAIN:
        found |= _detected(model, training.images, test.images, others)
    return {
        **found,
        **{f"{name}_by_round": values for name, values in watching.seen.items()},
        **making.told(),
        **_protocol(taught, training.images, others, classes),
        **_drawn(model, classes, test, others),
        "garbage_shown": as_bytes(taught.garbage[-classes:]),
        "digest": _digest(model),
    }


# --- images -------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1)
def _known(dataset: str, n: int, seed: int, device: str) -> tuple[DataSet, DataSet]:
    """Training and test images in [−1, 1], the test images in a random order."""
    size = data.side(dataset)
    whole = data.load(dataset, device=device, size=size)
    test = data.load(dataset, split="test", device=device, size=size)
    most = int(whole.labels.bincount().min()) * len(whole.classes)
    training, _ = data.balanced_subset(whole, min(n, most), seed=seed)
    test = test.take(torch.randperm(len(test), generator=torch.Generator().manual_seed(seed)))
    return tuple(
        DataSet(x.name, normalised(x.images), x.labels, x.classes) for x in (training, test)
    )


@functools.lru_cache(maxsize=1)
def _foreign(name: str, size: int | None, shape: tuple[int, ...]) -> Tensor:
    """Foreign test images in [−1, 1], in an order that is always the same.

    size: to which known images are resized.  shape: of a known image.
    """
    if name == PHOTOGRAPHS:
        found = images.photograph_patches(600, shape[0], shape[-1])
    else:
        found = data.load(name, split="test", size=size).images
    order = torch.randperm(len(found), generator=torch.Generator().manual_seed(0))
    return normalised(found[order])


# --- garbage ------------------------------------------------------------------------------------


@dataclass
class _Making:
    """Garbage of an arm: it knows the known images' number and shape, and nothing foreign."""

    arm: str
    training: DataSet
    seed: int
    inversion: Mapping[str, Any]
    precision: str
    obeyed: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    generator: Generator | None = None

    @property
    def classes(self) -> int:
        return len(self.training.classes)

    @property
    def per_class(self) -> int:
        """Images of each class that join in a round."""
        return max(1, round(JOINING * len(self.training) / self.classes))

    def _own(self, number: int) -> int:
        """A seed of a round; 0 is the start."""
        return 1000 * (self.seed + 1) + 10 * number

    def _noise(self, count: int, number: int) -> Tensor:
        made = ood.noise(count, self.training.images.shape[1:], seed=self._own(number))
        return made.to(self.training.images.device)

    def start(self) -> Tensor:
        return self._noise(round(START * len(self.training)), 0)

    def more(self, number: int, model: nn.Module) -> Tensor:
        count, shape = self.per_class * self.classes, self.training.images.shape[1:]
        if self.arm == UNTRAINED:
            width = self.inversion["width"]
            own = self._own(number)
            return ood.untrained(count, self.classes, tuple(shape), seed=own, width=width)
        if self.arm == INVERTED:
            return self._inverted(number, model)
        return self._noise(count, number)

    def _inverted(self, number: int, model: nn.Module) -> Tensor:
        settings = dict(self.inversion)
        weights = {term: settings.pop(term) for term in TERMS}
        width, channels = settings.pop("width"), self.training.images.shape[1]
        if self.generator is None:  # from then on it starts where it ended in the round before
            with torch.random.fork_rng():
                torch.manual_seed(self._own(0))
                self.generator = Generator(
                    self.classes + 1, channels, self.training.images.shape[-1], width=width
                ).to(self.training.images.device)
        made, history = ood.invert_further(
            model,
            self.generator,
            self.classes,
            self.per_class,
            weights=weights,
            seed=self._own(number),
            dtype=train.PRECISIONS[self.precision],
            **settings,
        )
        self.obeyed.append(share(made.correct))
        self.failures.append(inversion.complaint(history) or "")
        return made.images

    def told(self) -> dict:
        """By round: the share of inverted images that have the class asked for; what went wrong."""
        if self.arm != INVERTED:
            return {}
        return {"obeyed_by_round": self.obeyed, "failures_by_round": self.failures}


# --- what a classifier makes of them ------------------------------------------------------------


def _measures(
    model: nn.Module, classes: int, garbage_class: bool, test: DataSet, others: Tensor
) -> dict[str, float]:
    """Accuracy on known images, what is refused of either kind, and how confidence separates them.

    `gap` counts known images that are classified correctly, `gap_all` all of them; `_1` and `_01`
    leave out 1 % and 0.1 % at the ends. Without a garbage class every foreign image is accepted.
    """
    logits, strange = predict.logits(model, test.images), predict.logits(model, others)
    known, foreign = ood.confidence(logits, classes), ood.confidence(strange, classes)
    correct = logits.argmax(1) == test.labels
    accepted = foreign[~ood.refused(strange, classes)]
    found = {
        "accuracy": share(correct),
        "accuracy_of_classes": share(logits[:, :classes].argmax(1) == test.labels),
        "refused": share(ood.refused(strange, classes)),
        "refused_known": share(ood.refused(logits, classes)),
        **ood.separation(known, foreign),
        "least_confident_known": known[correct].min().item() if correct.any() else 0.0,
        "most_confident_accepted": accepted.max().item() if len(accepted) else 0.0,
    }
    for name, own in (("gap", known[correct]), ("gap_all", known)):
        for ending, cut in (("", 0.0), ("_1", 0.01), ("_01", 0.001)):
            found[name + ending] = ood.gap(own, accepted, cut=cut) if len(own) else -1.0
    if garbage_class:
        by_class = (1 - x.double().softmax(1)[:, classes] for x in (logits, strange))
        separated = ood.separation(*by_class)
        found |= {f"{name}_garbage": value for name, value in separated.items()}
    return found


def _detected(model: nn.Module, training: Tensor, known: Tensor, others: Tensor) -> dict:
    """The measures of every detector on the same classifier: `auroc_energy` and so on."""
    scores = [ood.detect(model, training, x) for x in (known, others)]
    return {
        f"{measure}_{name}": value
        for name in ood.DETECTORS
        for measure, value in ood.separation(scores[0][name], scores[1][name]).items()
    }


@dataclass
class _Watching:
    """Looks at a classifier after each round; nothing that it sees goes back to the training."""

    classes: int
    garbage_class: bool
    test: DataSet
    others: Tensor
    seen: dict[str, list[float]] = field(default_factory=dict)

    def look(self, number: int, model: nn.Module, joined: Tensor) -> None:
        others = self.others[: len(self.test)]
        found = _measures(model, self.classes, self.garbage_class, self.test, others)
        told = {name: found[name] for name in BY_ROUND}
        if self.garbage_class:  # of the images that joined last, after a round with them
            told["refused_garbage"] = share(
                ood.refused(predict.logits(model, joined), self.classes)
            )
        for name, value in told.items():
            self.seen.setdefault(name, []).append(value)


def _protocol(taught: ood.Taught, training: Tensor, others: Tensor, classes: int) -> dict:
    """What I17 asks for: growth, class weights, and foreign images among the training images."""
    counts, weights = taught.counts.double(), taught.weights
    garbage = counts[:, classes]
    kept = counts[:, : weights.shape[1]]
    inverse = kept.sum(1, keepdim=True) / (weights.shape[1] * kept.clamp(min=1))
    known = _hashes(training) | _hashes(taught.garbage)
    growth = garbage.diff()
    return {
        "garbage_by_round": garbage.long(),
        "growth_deviation": (growth - growth[:1]).abs().max().item() if len(growth) else 0.0,
        "class_weight_deviation": (weights - inverse).abs().max().item(),
        "foreign_images_trained_on": len(_hashes(others) & known),
        "losses": taught.losses,
    }


def _hashes(pictures: Tensor) -> set[bytes]:
    """One a picture, equal exactly where all bytes of an 8-bit image are."""
    return {hashlib.sha256(x.tobytes()).digest() for x in as_bytes(pictures).cpu().numpy()}


def _drawn(model: nn.Module, classes: int, test: DataSet, others: Tensor) -> dict:
    """Log-odds of confidences, and the foreign images that slip through or are refused."""
    logits, strange = predict.logits(model, test.images), predict.logits(model, others)
    foreign, away = ood.confidence(strange, classes), ood.refused(strange, classes)
    slipped = torch.where(away, -1.0, foreign).topk(min(SHOWN, len(foreign))).indices
    slipped = slipped[~away[slipped]]
    turned = away.nonzero()[:SHOWN, 0]
    wrong = logits.argmax(1) != test.labels
    return {
        "odds_known": _log_odds(ood.confidence(logits, classes)[:DRAWN]),
        "odds_foreign": _log_odds(foreign[:DRAWN]),
        "known_wrong": wrong[:DRAWN].to(torch.uint8),
        "foreign_refused": away[:DRAWN].to(torch.uint8),
        "slipped": as_bytes(others[slipped]),
        "slipped_as": strange[slipped, :classes].argmax(1).to(torch.uint8),
        "slipped_confidence": foreign[slipped],
        "turned_away": as_bytes(others[turned]),
        "known_shown": as_bytes(test.images[first_of_each(test.labels, 1, classes)]),
    }


def _log_odds(confidence: Tensor) -> np.ndarray:
    sure = confidence.clamp(1e-12, 1 - 1e-12)
    return (sure / (1 - sure)).log().half().cpu().numpy()


def _digest(model: nn.Module) -> str:
    """Of all weights: two classifiers with the same digest are the same."""
    found = hashlib.sha256()
    for value in model.state_dict().values():
        found.update(value.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]
