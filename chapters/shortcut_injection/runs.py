"""Runs of chapters 1 and 2: networks trained on images with a planted shortcut."""

import math

import numpy as np
import torch
from scipy.special import log_softmax
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from chapters.shared import NETWORKS, normalised
from lib import data, models, predict, shortcuts, train
from lib.losses import NonFiniteLoss

CURVE_IMAGES = 500  # test images along training
TEST_IMAGES = 2000  # at the end, where there are so many
VALIDATION = 500
SALIENCY_IMAGES = 200


def batch_size(n: int) -> int:
    """Images a step: fewer where there are few, so that an epoch has steps enough."""
    return min(n, 32 if n <= 1000 else 128)


def images_for(
    dataset: str, n: int, seed: int, device: str
) -> tuple[data.DataSet, data.DataSet, data.DataSet]:
    """(training, validation, test), each balanced; at most as many images as there are."""
    size = data.side(dataset)
    whole = data.load(dataset, device=device, size=size)
    n = min(n, len(whole) * 5 // 6)  # the rest is to tune on
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
        architecture: a key of `NETWORKS`.
        planted: False trains the control, on the same images without any patch.
        correlation: share of training images whose patch is that of their own class.
        shift: moves the patches off the grid of ViT tokens by so many pixels.

    A run whose loss becomes non-finite, or whose loss ends above that of guessing, log(classes),
    has diverged: `diverged` is 1, and what was observed until then is kept.
    """
    if architecture not in NETWORKS:
        raise ValueError(f"unknown architecture {architecture!r}: {', '.join(NETWORKS)}")
    training, validation, test = images_for(dataset, n, seed, device)
    classes = len(training.classes)
    patch = patch_for(training, size=patch_size, shift=shift, colour=tuple(colour))
    # not `seed`: the order of the batches is drawn with it, and would sort them by their patches
    which = shortcuts.carried(training.labels, classes, correlation=correlation, seed=seed + 1000)
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
    network = NETWORKS[architecture](channels, size, classes, generator).to(device)

    batch = batch_size(len(training))
    per_epoch = len(training) // batch
    kind = torch.device(device).type
    at, curve = [], {name: [] for name in ("accuracy", "loss")}

    def observe(step: int, network: nn.Module) -> None:
        with torch.autocast(kind, torch.bfloat16, enabled=precision == "bfloat16"):
            found = {
                name: predict.logits(network, sets[name][:CURVE_IMAGES])
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
    except NonFiniteLoss:
        diverged = True

    found = {name: predict.logits(network, images) for name, images in sets.items()}
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


def _definition_error(scores: dict[str, float], found: dict[str, Tensor], labels: Tensor) -> float:
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
    network = NETWORKS[architecture](channels, size, classes, generator).to(device)
    batch = batch_size(len(training))
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
            f"predicted_{name}": predict.logits(network, normalised(x)).argmax(1)
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
