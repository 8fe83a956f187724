"""Runs of chapters 1 and 2: networks trained on images with a planted shortcut."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import log_softmax
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from lib import data, models, shortcuts, train
from lib.results import Result
from lib.sweep import grid

SIZES = {"digits": 20}  # 8 x 8 pixels have no room for ten patches; all other sets keep theirs
SMALL = {"digits": 1000, "fashion-mnist-900": 500}  # all there is, less a tenth or more to tune on
BATCH = {"digits": 32, "fashion-mnist-900": 32}  # all other sets: 128
CURVE_IMAGES = 500  # test images along training
TEST_IMAGES = 2000  # at the end, where there are so many
VALIDATION = 500
SALIENCY_IMAGES = 200

Build = Callable[[int, int, int, torch.Generator | None], nn.Module]


def _mlp(width: int) -> Build:
    return lambda channels, size, classes, generator: models.MLP(
        channels * size**2,
        (width, width),
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
ARCHITECTURES: dict[str, Build] = {
    "MLP": _mlp(256),
    "CNN": _cnn(),
    "ViT": _vit(),
    "MLP matched": _matched(_mlp),
    "CNN matched": _matched(lambda width: _cnn(hidden=width)),
    "MLP narrow": _mlp(64),
    "MLP wide": _mlp(1024),
    "CNN average": _cnn(pool="average"),
    "CNN circular": _cnn(padding="circular"),
    "CNN average circular": _cnn(pool="average", padding="circular"),
    "ViT no positions": _vit(positions="none"),
}


def images_for(
    dataset: str, n: int, seed: int, device: str
) -> tuple[data.DataSet, data.DataSet, data.DataSet]:
    """(training, validation, test), each balanced; at most as many images as there are."""
    size = SIZES.get(dataset)
    whole = data.load(dataset, device=device, size=size)
    n = min(n, SMALL.get(dataset, n))
    left = len(whole) - n
    training, validation = data.split_held_out(
        whole, n, min(VALIDATION, left - left % len(whole.classes)), seed=seed
    )
    test = data.load(dataset, split="test", device=device, size=size)
    smallest = int(test.labels.bincount().min())
    per_class = min(smallest, TEST_IMAGES // len(test.classes))
    test, _ = data.balanced_subset(test, per_class * len(test.classes), seed=seed)
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))
    return training, validation, test.take(order)


def patch_for(dataset: data.DataSet, *, size: int = 4, shift: int = 0, colour=(1.0,)):
    """The patch of the chapter for images of this size."""
    height, width = dataset.images.shape[2:]
    return shortcuts.Patch.on_border(
        len(dataset.classes), height, width, size=size, shift=shift, colour=colour
    )


def normalised(images: Tensor) -> Tensor:
    """[0, 1] -> [-1, 1], after the patch was planted."""
    return 2 * images - 1


def observed_steps(epochs: int, per_epoch: int, per_decade: int = 6, whole: int = 30) -> list[int]:
    """Steps evenly spaced in the logarithm, and ends of at most `whole` evenly spaced epochs."""
    steps = epochs * per_epoch
    count = max(2, round(per_decade * math.log10(steps)) + 1)
    spaced = {round(steps ** (k / (count - 1))) for k in range(count)}
    stride = per_epoch * math.ceil(epochs / whole)
    return sorted({0, *spaced, *range(stride, steps + 1, stride)})


def reliance(
    dataset: str,
    architecture: str,
    seed: int,
    lr: float,
    epochs: int,
    n: int,
    planted: bool = True,
    correlation: float = 1.0,
    shift: int = 0,
    patch_size: int = 4,
    colour: tuple[float, ...] = (1.0,),
    precision: str = "float32",
    device: str = "cpu",
) -> dict:
    """Train on images with the shortcut, test with it, without it and with a wrong one.

    Args:
        architecture: a key of `ARCHITECTURES`.
        planted: False trains the control, on the same images without any patch.
        correlation: share of training images whose patch is that of their own class.
        shift: moves the patches off the grid of ViT tokens by so many pixels.

    A run whose loss becomes non-finite, or whose loss ends above that of guessing, log(classes),
    has diverged: `diverged` is 1, and what was observed until then is kept.
    """
    if architecture not in ARCHITECTURES:
        raise ValueError(f"unknown architecture {architecture!r}: {', '.join(ARCHITECTURES)}")
    training, validation, test = images_for(dataset, n, seed, device)
    classes = len(training.classes)
    patch = patch_for(training, size=patch_size, shift=shift, colour=tuple(colour))
    # not `seed`: the order of the batches is drawn with it, and would sort them by their patches
    which = shortcuts.carried(
        training.labels, classes, correlation=correlation, seed=seed + 1000
    )
    shown = patch.plant(training.images, which) if planted else training.images
    conflicting = shortcuts.carried(test.labels, classes, correlation=0, seed=seed)
    sets = {
        "shortcut": patch.plant(test.images, test.labels),
        "clean": test.images,
        "conflict": patch.plant(test.images, conflicting),
        "validation_shortcut": patch.plant(validation.images, validation.labels),
        "validation_clean": validation.images,
    }
    sets = {name: normalised(images) for name, images in sets.items()}
    _, channels, size, _ = training.images.shape
    generator = torch.Generator().manual_seed(seed)
    network = ARCHITECTURES[architecture](channels, size, classes, generator).to(device)

    batch = min(BATCH.get(dataset, 128), len(training))
    per_epoch = len(training) // batch
    kind = torch.device(device).type
    at, curve = [], {name: [] for name in ("accuracy", "loss")}

    def observe(step: int, network: nn.Module) -> None:
        with torch.autocast(kind, torch.bfloat16, enabled=precision == "bfloat16"):
            found = {
                name: shortcuts.logits(network, sets[name][:CURVE_IMAGES])
                for name in ("shortcut", "clean")
            }
        labels = test.labels[:CURVE_IMAGES]
        at.append(step)
        curve["accuracy"].append([shortcuts.accuracy(z, labels) for z in found.values()])
        curve["loss"].append([shortcuts.cross_entropy(z, labels) for z in found.values()])

    diverged, losses = False, [math.nan] * epochs * per_epoch
    try:
        losses = train.fit(
            network,
            normalised(shown),
            training.labels,
            steps=epochs * per_epoch,
            lr=lr,
            batch=batch,
            precision=precision,
            seed=seed,
            observe=observe,
            observe_at=observed_steps(epochs, per_epoch),
        )
        diverged = float(np.mean(losses[-per_epoch:])) > math.log(classes)
    except train.NonFiniteLoss:
        diverged = True

    found = {name: shortcuts.logits(network, images) for name, images in sets.items()}
    scores = shortcuts.reliance(found["shortcut"], found["clean"], test.labels)
    scores |= shortcuts.conflict(found["conflict"], test.labels, conflicting)
    scores |= _tempered(found, validation.labels, test.labels)
    scores |= _along(at, curve["accuracy"], per_epoch)
    scores["definition_error"] = _definition_error(scores, found, test.labels)
    scores |= {
        "accuracy_validation": shortcuts.accuracy(found["validation_clean"], validation.labels),
        "parameters": models.count_parameters(network),
        "diverged": int(diverged),
        "training_images": len(training),
        "test_images": len(test),
        "steps_per_epoch": per_epoch,
        **_gradient_in_patch(network, patch, sets["clean"], test.labels),
    }
    batch_losses = np.asarray(losses, dtype=np.float32)
    return scores | {
        "observed_steps": np.asarray(at),
        "accuracies": np.asarray(curve["accuracy"], dtype=np.float32),  # [step, shortcut / clean]
        "losses": np.asarray(curve["loss"], dtype=np.float32),
        "train_loss": np.asarray([_recent(batch_losses, step) for step in at], dtype=np.float32),
    }


def _recent(batch_losses: np.ndarray, step: int, window: int = 20) -> float:
    """Mean loss of the last batches before a step; of the first batch at the start."""
    return float(batch_losses[max(0, step - window) : max(step, 1)].mean())


def _tempered(found: dict[str, Tensor], validation: Tensor, labels: Tensor) -> dict[str, float]:
    """Loss Difference of logits divided by the temperature that suits the shortcut validation."""
    t = shortcuts.temperature(found["validation_shortcut"], validation)
    scores = shortcuts.reliance(found["shortcut"] / t, found["clean"] / t, labels)
    return {"temperature": t, "tempered_loss_difference": scores["loss_difference"]}


def _definition_error(
    scores: dict[str, float], found: dict[str, Tensor], labels: Tensor
) -> float:
    """Largest deviation from Accuracy and Loss Difference computed by NumPy and SciPy."""
    y = labels.cpu().numpy()
    exact = {name: found[name].double().cpu().numpy() for name in ("shortcut", "clean")}
    right = [(z.argmax(1) == y).mean() for z in exact.values()]
    loss = [-log_softmax(z, 1)[np.arange(len(y)), y].mean() for z in exact.values()]
    return float(
        np.max(
            [
                abs(scores["accuracy_difference"] - abs(right[0] - right[1])),
                abs(scores["loss_difference"] - abs(loss[0] - loss[1])),
            ]
        )
    )


def _along(at: list[int], accuracies: list[list[float]], per_epoch: int) -> dict[str, float]:
    """How the clean accuracy moves after its best epoch, and how soon the shortcut is learned.

    It counts as learned at 0.99 of the largest accuracy on the shortcut test set.
    """
    shortcut, clean = np.array(accuracies).T
    epochs = np.array(at) / per_epoch
    learned = epochs[shortcut >= 0.99 * shortcut.max()][0]
    whole = (np.array(at) % per_epoch == 0) & (epochs > 0)
    if not whole.any():  # it diverged before
        whole[-1] = True
    values, index = clean[whole], clean[whole].argmax()
    after = values[index:]
    rank = spearmanr(np.arange(len(after)), after).statistic if len(after) > 2 else math.nan
    return {
        "epochs_to_shortcut": float(learned),
        "rank_correlation_epoch_clean": float(rank) if math.isfinite(rank) else 0.0,
        "drop_from_best_clean": float(values[index] - values[-1]),
    }


def _gradient_in_patch(
    network: nn.Module, patch: shortcuts.Patch, images: Tensor, labels: Tensor
) -> dict[str, float]:
    """Mean |gradient| inside the own class's patch over that outside; 1 is indifference."""
    some = slice(SALIENCY_IMAGES)
    maps = shortcuts.saliency(network, images[some], labels[some])
    inside = patch.masks().to(maps.device)[labels[some]]
    ratio = maps[inside].mean() / maps[~inside].mean()
    return {"saliency_ratio": ratio.item()}


def portrait(
    dataset: str,
    architecture: str,
    seed: int,
    lr: float,
    epochs: int,
    n: int,
    shown: int = 10,
    precision: str = "float32",
    device: str = "cpu",
) -> dict:
    """One network trained on the shortcut, to be looked at: maps of its gradient, its errors."""
    training, _, test = images_for(dataset, n, seed, device)
    classes = len(training.classes)
    patch = patch_for(training)
    _, channels, size, _ = training.images.shape
    generator = torch.Generator().manual_seed(seed)
    network = ARCHITECTURES[architecture](channels, size, classes, generator).to(device)
    batch = min(BATCH.get(dataset, 128), len(training))
    train.fit(
        network,
        normalised(patch.plant(training.images, training.labels)),
        training.labels,
        steps=epochs * (len(training) // batch),
        lr=lr,
        batch=batch,
        precision=precision,
        seed=seed,
    )
    maps = shortcuts.saliency(network, normalised(test.images[:1000]), test.labels[:1000])
    by_class = torch.stack([maps[test.labels[:1000] == k].mean(0) for k in range(classes)])
    first = torch.stack([(test.labels == k).nonzero()[0, 0] for k in range(min(shown, classes))])
    images, labels = test.images[first], test.labels[first]
    conflicting = shortcuts.carried(labels, classes, correlation=0, seed=seed)
    three = {
        "shortcut": patch.plant(images, labels),
        "clean": images,
        "conflict": patch.plant(images, conflicting),
    }
    return {
        "saliency": by_class,
        "labels": labels,
        "conflicting": conflicting,
        **{f"images_{name}": (255 * x).round().to(torch.uint8) for name, x in three.items()},
        **{
            f"predicted_{name}": shortcuts.logits(network, normalised(x)).argmax(1)
            for name, x in three.items()
        },
    }


def patch_alone(dataset: str, n: int, seed: int) -> dict:
    """What S01 asks of the injection, and a logistic regression on the patch pixels alone."""
    training, _, test = images_for(dataset, n, seed, "cpu")
    patch = patch_for(training)
    masks = patch.masks()
    before = training.images.clone()
    planted = patch.plant(training.images, training.labels)
    covered = masks[training.labels][:, None].expand_as(planted)
    places = masks.any(0)

    def fitted(where: Tensor) -> float:
        """Test accuracy of a logistic regression on some pixels of the planted images."""
        x, z = (
            patch.plant(part.images, part.labels)[:, :, where].flatten(1).numpy()
            for part in (training, test)
        )
        model = LogisticRegression(C=100, max_iter=300).fit(x, training.labels.numpy())
        return float(model.score(z, test.labels.numpy()))

    return {
        "pixels_in_two_masks": int((masks.sum(0) > 1).sum()),
        "mask_pixels": float(masks.flatten(1).sum(1).double().mean()),
        "not_white_inside": int((planted[covered] != 1).sum()),
        "changed_outside": int((planted[~covered] != training.images[~covered]).sum()),
        "clean_changed": int((training.images != before).sum()),
        "patch_pixels_accuracy": fitted(places),
        "other_pixels_accuracy": fitted(~places),
    }


# --- reading the results ----------------------------------------------------------------------


def tuned_runs(
    rates: Mapping[tuple[str, str], float],
    lengths: Mapping[str, int],
    *,
    architectures: Sequence[str] = ("MLP", "CNN", "ViT"),
    times: float = 1.0,
    **axes: Any,
) -> list[dict[str, Any]]:
    """Runs of every architecture on every data set in `lengths`, at its tuned learning rate.

    rates: from `tuned`; a variant has the rate of the architecture that it takes the place of,
    and a data set without a rate is left with a rate of 0, a run that nobody made.
    lengths: {data set: epochs}, of which `times` as many are trained.  axes: as for `grid`.
    """
    return [
        run
        for dataset, epochs in lengths.items()
        for architecture in architectures
        for run in grid(
            dataset=dataset,
            architecture=architecture,
            lr=rates.get((dataset, architecture.split()[0]), 0.0),
            epochs=max(1, int(times * epochs)),
            **axes,
        )
    ]


def tuned(results: Sequence[Result]) -> dict[tuple[str, str], float]:
    """{(data set, architecture): learning rate} with the best mean validation accuracy.

    Diverged runs are left out; of equals the smaller rate is taken.
    """
    scores: dict[tuple[str, str], dict[float, list[float]]] = {}
    for result in results:
        p = result.parameters
        if not result["diverged"]:
            of_cell = scores.setdefault((p["dataset"], p["architecture"]), {})
            of_cell.setdefault(p["lr"], []).append(result["accuracy_validation"])
    return {
        cell: max(sorted(rates), key=lambda lr: np.mean(rates[lr]))
        for cell, rates in scores.items()
    }


def along(results: Sequence[Result]) -> pd.DataFrame:
    """One row an observation and test set: epoch, accuracy, loss, and the run's parameters."""
    rows = []
    for result in results:
        epochs = result["observed_steps"] / result["steps_per_epoch"]
        for column, name in enumerate(("with the patch", "without")):
            for epoch, accuracy, loss in zip(
                epochs, result["accuracies"][:, column], result["losses"][:, column]
            ):
                values = {"epoch": epoch, "accuracy": accuracy, "loss": loss, "test images": name}
                rows.append({**result.parameters, **values})
    return pd.DataFrame(rows)


def difference_at_epoch(result: Result, epoch: float, measure: str = "accuracies") -> float:
    """Accuracy (or `losses`: Loss) Difference at the last observation up to `epoch`."""
    epochs = result["observed_steps"] / result["steps_per_epoch"]
    shortcut, clean = result[measure][np.flatnonzero(epochs <= epoch + 1e-9)[-1]]
    return abs(float(shortcut) - float(clean))


def epochs_to_loss(result: Result, target: float) -> float:
    """Epochs until the training loss is at most `target`, between observations by its logarithm.

    Infinite where it never is.
    """
    epochs = result["observed_steps"] / result["steps_per_epoch"]
    loss = np.asarray(result["train_loss"], dtype=float)
    below = np.flatnonzero(loss <= target)
    if not len(below):
        return math.inf
    i = below[0]
    if i == 0:
        return float(epochs[0])
    share = math.log(loss[i - 1] / target) / math.log(loss[i - 1] / loss[i])
    return float(epochs[i - 1] + share * (epochs[i] - epochs[i - 1]))


def difference_at_loss(result: Result, target: float, measure: str = "accuracies") -> float:
    """The same difference when the training loss first is `target`; NaN where it never is."""
    epoch = epochs_to_loss(result, target)
    if not math.isfinite(epoch):
        return math.nan
    epochs = result["observed_steps"] / result["steps_per_epoch"]
    shortcut, clean = np.asarray(result[measure], dtype=float).T
    return abs(np.interp(epoch, epochs, shortcut) - np.interp(epoch, epochs, clean))
