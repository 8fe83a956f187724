"""Plant a shortcut in images, and measure how much a classifier leans on it (paper 000, §4).

    patch = shortcuts.Patch.on_border(classes=10, height=28, width=28)
    planted = patch.plant(images, labels)                   # every image tells its label
    which = shortcuts.carried(labels, 10, correlation=0.9, seed=0)
    mostly = patch.plant(images, which)                     # nine images in ten do

Images are float32 [n, c, h, w] in [0, 1], before any normalisation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Patch:
    """A square of one colour at a place that depends on the class.

    corners: int64 [classes, 2], row and column of each class's upper left corner.
    size: side in pixels.  height, width: of the images.
    colour: values in [0, 1], one for each channel or a single one for all; 1 is white.
    """

    corners: Tensor
    size: int
    height: int
    width: int
    colour: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        last = torch.tensor([self.height, self.width]) - self.size
        if (self.corners < 0).any() or (self.corners > last).any():
            raise ValueError(
                f"patches of {self.size} pixels do not all lie inside {self.height} x {self.width}"
            )
        if self.masks().sum(0).max() > 1:
            raise ValueError("the patches of different classes overlap")
        if not all(0 <= value <= 1 for value in self.colour):
            raise ValueError(f"colours lie in [0, 1], not {self.colour}")

    @classmethod
    def on_border(
        cls,
        classes: int,
        height: int,
        width: int,
        *,
        size: int = 4,
        shift: int = 0,
        cell: int = 4,
        colour: Sequence[float] = (1.0,),
    ) -> Patch:
        """Patches spread evenly along the border, where objects seldom are.

        The paper gives no coordinates. Ours are corners of a grid of `cell` pixels, the tokens of
        a vision transformer and the period of a pooled CNN; `shift` moves all of them off it,
        down and to the right. With `shift` the last row and column of the grid stay free.
        Raises ValueError when the border is too short for so many classes.
        """
        rows, columns = height // cell, width // cell
        if shift:
            rows, columns = rows - 1, columns - 1
        if size > cell:
            raise ValueError(f"patches of {size} pixels overlap on a grid of {cell} pixels")
        ring = (
            [(0, column) for column in range(columns)]
            + [(row, columns - 1) for row in range(1, rows)]
            + [(rows - 1, column) for column in range(columns - 2, -1, -1)]
            + [(row, 0) for row in range(rows - 2, 0, -1)]
        )
        if classes > len(ring):
            raise ValueError(
                f"{classes} patches do not fit along the border of {height} x {width} pixels, "
                f"which has room for {len(ring)}: enlarge the images"
            )
        places = [ring[k * len(ring) // classes] for k in range(classes)]
        return cls(cell * torch.tensor(places) + shift, size, height, width, tuple(colour))

    def masks(self) -> Tensor:
        """bool [classes, h, w]: which pixels the patch of a class covers."""
        masks = torch.zeros(len(self.corners), self.height, self.width, dtype=torch.bool)
        for mask, (row, column) in zip(masks, self.corners.tolist()):
            mask[row : row + self.size, column : column + self.size] = True
        return masks

    def plant(self, images: Tensor, which: Tensor) -> Tensor:
        """A copy of the images [n, c, h, w], image i with the patch of class which[i] (int64 [n]).

        Every pixel outside the patch is unchanged. Raises ValueError for images of another size
        or number of channels than the patch was made for.
        """
        _, c, *size = images.shape
        if size != [self.height, self.width]:
            raise ValueError(f"the patch is for {self.height} x {self.width} pixels, not {size}")
        if len(self.colour) not in (1, c):
            raise ValueError(f"a colour of {len(self.colour)} values on images of {c} channels")
        colour = images.new_tensor(self.colour)[:, None, None]
        covered = self.masks().to(images.device)[which][:, None]  # [n, 1, h, w]
        return torch.where(covered, colour, images)


def carried(labels: Tensor, classes: int, *, correlation: float = 1.0, seed: int = 0) -> Tensor:
    """Which class's patch each image carries, int64 [n], given labels int64 [n].

    A share `correlation` of the images, rounded, carries that of its own class; each of the
    others one of the remaining classes, drawn uniformly. With 0 every patch conflicts with its
    label; 1/classes is about chance. The seed must not be the one that orders the batches, which
    would then be sorted by it. Raises ValueError outside [0, 1].
    """
    if not 0 <= correlation <= 1:
        raise ValueError(f"the correlation is a share in [0, 1], not {correlation}")
    random = torch.Generator().manual_seed(seed)
    n = len(labels)
    wrong = torch.randperm(n, generator=random)[: n - round(correlation * n)]
    offset = torch.randint(1, classes, (len(wrong),), generator=random)
    which = labels.cpu().clone()
    which[wrong] = (which[wrong] + offset) % classes
    return which.to(labels.device)


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of correct arg-max predictions."""
    return (logits.argmax(1) == labels).double().mean().item()


def cross_entropy(logits: Tensor, labels: Tensor) -> float:
    """Mean cross-entropy in nats."""
    return F.cross_entropy(logits.double(), labels).item()


def reliance(shortcut: Tensor, clean: Tensor, labels: Tensor) -> dict[str, float]:
    """Accuracy and Loss Difference (paper 000, §4), and what they are made of.

    Args:
        shortcut, clean: logits [n, classes] of the same test images with the patch of their
            class, and without any.
        labels: int64 [n].

    Returns:
        "accuracy_difference" and "loss_difference", the paper's absolute values; the same with
        "signed_" before, shortcut minus clean; and accuracy_ and loss_ of both sets.
    """
    found = {}
    for name, measure in (("accuracy", accuracy), ("loss", cross_entropy)):
        s, c = measure(shortcut, labels), measure(clean, labels)
        found |= {
            f"{name}_shortcut": s,
            f"{name}_clean": c,
            f"signed_{name}_difference": s - c,
            f"{name}_difference": abs(s - c),
        }
    return found


def conflict(conflicting: Tensor, labels: Tensor, which: Tensor) -> dict[str, float]:
    """What a classifier believes when patch and image disagree.

    Args:
        conflicting: logits [n, classes] of images with the patch of class which[i] ≠ labels[i].

    Returns:
        "accuracy_conflict", the share that follows the image, and "follows_patch", the share
        that follows the patch.
    """
    return {
        "accuracy_conflict": accuracy(conflicting, labels),
        "follows_patch": accuracy(conflicting, which),
    }


def temperature(logits: Tensor, labels: Tensor) -> float:
    """The T > 0 that minimises the cross-entropy of logits / T (Guo et al. 2017).

    Searched between 1/100 and 10,000: perfectly separated logits have no minimum.
    """
    exact = logits.double()
    found = minimize_scalar(
        lambda log_t: F.cross_entropy(exact / math.exp(log_t), labels).item(),
        bounds=(math.log(1e-2), math.log(1e4)),
        method="bounded",
    )
    return math.exp(found.x)


def saliency(model: nn.Module, images: Tensor, labels: Tensor, *, batch: int = 500) -> Tensor:
    """|∂ logit of the label / ∂ pixel|, summed over channels: [n, h, w] (Simonyan et al. 2014)."""
    training = model.training
    model.eval()
    parts = []
    for x, y in zip(images.split(batch), labels.split(batch)):
        x = x.detach().requires_grad_()
        total = model(x).gather(1, y[:, None]).sum()
        parts.append(torch.autograd.grad(total, x)[0].abs().sum(1))
    model.train(training)
    return torch.cat(parts)
