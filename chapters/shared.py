"""What several chapters run: networks by name, and classifiers to be inverted."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness import ledger
from harness.study import Study
from lib import data, features, inversion, models, train
from lib.generator import Generator

# Where SVHN cannot be had, the fourth set is one that this book makes of two others.
STAND_INS = {"coloured digits": "SVHN"}


def open_study(results: str, datasets: Sequence[str], **settings) -> Study:
    """The study of a chapter on these data sets; those that are not here are looked up only.

    settings: compute, executor, threads and device, as for `harness.study.Study`. The threads of
    torch in this process become the same.
    """
    torch.set_num_threads(settings.get("threads", 1))
    missing = data.unavailable(datasets) if settings.get("compute", True) else {}
    study = Study(results, missing=missing, title=data.title, stand_ins=STAND_INS, **settings)
    ledger.load(study.ledger)  # a mistake in it is said before hours of runs, not after
    return study


Build = Callable[[int, int, int, torch.Generator | None], nn.Module]


def _mlp(*widths: int) -> Build:
    return lambda channels, size, classes, generator: models.MLP(
        channels * size**2,
        widths,
        classes,
        first_std=None,
        homogeneous=False,
        generator=generator,
    )


def _cnn(**switches) -> Build:
    return lambda channels, size, classes, generator: models.CNN(
        channels, size, classes, generator=generator, **switches
    )


def _vit(**switches) -> Build:
    return lambda channels, size, classes, generator: models.ViT(
        channels, size, classes, generator=generator, **switches
    )


def _matched(family: Callable[[int], Build]) -> Build:
    """The member of a family, by width, that has as many parameters as the ViT, within 10 %."""

    def build(channels, size, classes, generator):
        def of_width(width, generator=None):
            return family(width)(channels, size, classes, generator)

        target = models.count_parameters(_vit()(channels, size, classes, None))
        return of_width(models.matched_width(of_width, target), generator)

    return build


# The first word is the architecture that a variant takes the place of.
NETWORKS: dict[str, Build] = {
    "MLP": _mlp(256, 256),
    "CNN": _cnn(),
    "ViT": _vit(),
    "MLP matched": _matched(lambda width: _mlp(width, width)),
    "CNN matched": _matched(lambda width: _cnn(hidden=width)),
    "MLP narrow": _mlp(64, 64),
    "MLP wide": _mlp(1024, 1024),
    "CNN average": _cnn(pool="average"),
    "CNN circular": _cnn(padding="circular"),
    "CNN average circular": _cnn(pool="average", padding="circular"),
    "ViT no positions": _vit(positions="none"),
    "MLP tapering": _mlp(256, 128),
    "regularised CNN": lambda channels, size, classes, generator: models.RegularisedCNN(
        channels, size, classes, generator=generator
    ),
}


def normalised(images: Tensor) -> Tensor:
    """[0, 1] -> [-1, 1], after the patch was planted."""
    return 2 * images - 1


TERMS = inversion.LOSS_TERMS
OBSERVED_AT = (1, 2, 3, 5, 7, *range(10, 100, 5), *range(100, 200, 10), *range(200, 10_000, 50))


@dataclass(frozen=True)
class Subject:
    """A trained classifier, what it was trained on, and an independent classifier to judge by.

    The oracle is another architecture, trained on other images of the same classes.
    """

    classifier: nn.Module
    oracle: nn.Module
    training: data.DataSet  # images in [-1, 1], as the classifiers take them
    test: data.DataSet
    classes: tuple[str, ...]


@functools.lru_cache(maxsize=2)
def subject(
    dataset: str,
    seed: int,
    architecture: str,
    n: int,
    classifier_steps: int,
    precision: str,
    device: str,
) -> Subject:
    """Train both classifiers; the last two are kept, so that several attacks meet the same one."""
    if architecture not in NETWORKS:
        raise ValueError(f"unknown architecture {architecture!r}: {', '.join(NETWORKS)}")
    size = data.side(dataset)
    whole = data.load(dataset, device=device, size=size)
    test = data.load(dataset, split="test", device=device, size=size)
    n = min(n, len(whole) // 2)  # the oracle has the other half
    parts = data.split_held_out(whole, n, n, seed=seed)
    shuffle = torch.Generator().manual_seed(seed)
    networks = []
    for part, name, start in zip(parts, (architecture, "CNN"), (seed, seed + 1000)):
        _, channels, side, _ = part.images.shape
        generator = torch.Generator().manual_seed(start)
        network = NETWORKS[name](channels, side, len(whole.classes), generator).to(device)
        with torch.random.fork_rng():
            torch.manual_seed(start)  # dropout
            train.fit(
                network,
                normalised(part.images),
                part.labels,
                steps=classifier_steps,
                lr=1e-3,
                precision=precision,
                seed=start,
            )
        networks.append(network.eval())
    training, test = (
        data.DataSet(x.name, normalised(x.images), x.labels, x.classes)
        for x in (y.take(torch.randperm(len(y), generator=shuffle)) for y in (parts[0], test))
    )
    return Subject(*networks, training, test, whole.classes)


def as_bytes(images: Tensor) -> Tensor:
    """[-1, 1] -> 0..255"""
    return (127.5 * (images + 1)).round().to(torch.uint8)


def trained_generator(
    of: Subject, *, seed: int, weights: Mapping[str, float], steps: int, precision: str, **settings
) -> tuple[Generator, dict[str, list[float]]]:
    """A generator, trained against the classifier, and its history."""
    batch, lr = settings.pop("batch"), settings.pop("lr")
    _, channels, size, _ = of.training.images.shape
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        generator = Generator(len(of.classes), channels, size, **settings)
    generator.to(of.training.images.device)
    history = inversion.invert(
        of.classifier,
        generator,
        steps=steps,
        weights=weights,
        lr=lr,
        batch=batch,
        dtype=train.PRECISIONS[precision],
        seed=seed,
        observe_at=OBSERVED_AT,
        observed=200,
    )
    return generator, history


def first_of_each(labels: Tensor, count: int, classes: int) -> Tensor:
    """Indices of the first `count` of each class, or as many as there are, class by class."""
    return torch.cat([(labels == k).nonzero()[:count, 0] for k in range(classes)])


def share(true: Tensor) -> float:
    return true.double().mean().item()


def clusters_by_class(seen: Tensor, labels: Tensor, classes: int) -> list[int]:
    """Number of clusters in the features of each class; 0 where there are too few images."""
    groups = [seen[labels == k] for k in range(classes)]
    return [features.cluster_count(group) if len(group) >= 20 else 0 for group in groups]
