"""The data sets that are known by name: where their files lie and how they are read.

What is known of a data set is one row of the table `KNOWN`: to add one, write the function that
reads it and its row. `lib.data` has what is done with a set.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lib import images


@dataclass(frozen=True, eq=False)
class DataSet:
    """Images with labels; both tensors live on the same device.

    name: how the set is called in figures and tables, e.g. "CIFAR-10 (JPEG)".
    images: float32 [n, c, h, w] in [0, 1].  labels: int64 [n], positions in `classes`.
    """

    name: str
    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != torch.float32:
            raise ValueError(
                f"{self.name}: images must be float32 [n, c, h, w], "
                f"not {self.images.dtype} {list(self.images.shape)}."
            )
        if self.labels.shape != self.images.shape[:1] or self.labels.dtype != torch.int64:
            raise ValueError(
                f"{self.name}: labels must be int64 [{len(self.images)}], "
                f"not {self.labels.dtype} {list(self.labels.shape)}."
            )
        if len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < len(self.classes):
            raise ValueError(f"{self.name}: labels must lie in 0 … {len(self.classes) - 1}.")

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> DataSet:
        """The same set on another device."""
        return dataclasses.replace(
            self, images=self.images.to(device), labels=self.labels.to(device)
        )

    def take(self, indices: Tensor | Sequence[int]) -> DataSet:
        """The images at `indices` (int64 [k]), in that order."""
        indices = torch.as_tensor(indices, dtype=torch.int64, device=self.labels.device)
        return dataclasses.replace(self, images=self.images[indices], labels=self.labels[indices])


# --- the sets ---------------------------------------------------------------------------------


def _digits(split: str) -> DataSet:
    """scikit-learn's 1,797 digits, 8 x 8: 120 of each class to train on (1,200), 597 to test."""
    from sklearn.datasets import load_digits  # slow to import, and only this set needs it

    pixels, labels = load_digits(return_X_y=True)
    random = np.random.RandomState(0)
    train = np.zeros(len(labels), dtype=bool)
    for label in range(10):
        train[random.permutation(np.flatnonzero(labels == label))[:120]] = True
    keep = train if split == "train" else ~train
    images = torch.from_numpy(pixels[keep] / 16).to(torch.float32).reshape(-1, 1, 8, 8)
    return DataSet("digits", images, torch.from_numpy(labels[keep]).long(), _TEN_DIGITS)


_TEN_DIGITS = tuple("0123456789")
_IDX_FILES = tuple(
    f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
)
# name: (class in torchvision.datasets, files below the root)
_TORCHVISION = {
    "mnist": ("MNIST", tuple(f"MNIST/raw/{f}" for f in _IDX_FILES)),
    "fashion-mnist": (
        "FashionMNIST",
        tuple(f"FashionMNIST/raw/{f}" for f in _IDX_FILES),
    ),
    "svhn": ("SVHN", ("train_32x32.mat", "test_32x32.mat")),
    "cifar10": (
        "CIFAR10",
        tuple(f"cifar-10-batches-py/{f}" for f in [f"data_batch_{i}" for i in range(1, 6)])
        + ("cifar-10-batches-py/test_batch", "cifar-10-batches-py/batches.meta"),
    ),
}


def _from_torchvision(name: str, split: str, root: Path) -> DataSet:
    """A set that torchvision knows; downloaded into `root` only when its files are missing."""
    from torchvision import datasets  # slow to import

    shown, (class_name, files) = KNOWN[name].title, _TORCHVISION[name]
    if name == "svhn":
        files = (f"{split}_32x32.mat",)
    which = {"split": split} if name == "svhn" else {"train": split == "train"}
    build = getattr(datasets, class_name)
    if any(not (root / file).is_file() for file in files):
        try:
            with _messages_outside_the_page():
                build(root, download=True, **which)
        except (OSError, RuntimeError, EOFError, HTTPException) as error:
            raise FileNotFoundError(
                f"{shown} is not in {root} and could not be downloaded ({error}): put "
                f"{', '.join(files)} there, or name a folder that has them in WWR_DATA."
            ) from error
    try:
        found = build(root, download=False, **which)
    except Exception as error:  # torchvision raises whatever the parser of the format meets
        raise OSError(
            f"The files of {shown} in {root} are damaged ({error}): delete {', '.join(files)} "
            "and load the set again."
        ) from error
    pixels = torch.as_tensor(found.data)
    if name in ("mnist", "fashion-mnist"):
        pixels = pixels[:, None]
    elif name == "cifar10":
        pixels = pixels.permute(0, 3, 1, 2)
    labels = torch.as_tensor(found.labels if name == "svhn" else found.targets).long()
    classes = _TEN_DIGITS if name in ("mnist", "svhn") else tuple(found.classes)
    return DataSet(shown, _unit_range(pixels), labels, classes)


def _cifar10_jpeg(split: str, root: Path) -> DataSet:
    """CIFAR-10 as JPEG files, from the unpacked folder or straight from the archive."""
    folder, archive = root / "cifar-10-images", root / "cifar-10-images.tar.gz"
    if folder.is_dir():
        return as_data_set("CIFAR-10 (JPEG)", images.read_folder(folder, split))
    if archive.is_file():
        return as_data_set("CIFAR-10 (JPEG)", images.read_archive(archive, split))
    raise FileNotFoundError(
        f"CIFAR-10 (JPEG) is not in {root}: put {archive.name} there, or its unpacked folder "
        f"{folder.name}/ with train/<class>/*.jpg and test/<class>/*.jpg, or name a folder that "
        "has it in WWR_DATA."
    )


def _fashion_mnist_900(split: str, root: Path) -> DataSet:
    folder = root / "fashion-mnist-900"
    if not folder.is_dir():
        raise FileNotFoundError(
            f"Fashion-MNIST (900) is not in {root}: put the folder {folder.name}/ with "
            "train/<label>_<class>/*.png and test/<label>_<class>/*.png there, or name a folder "
            "that has it in WWR_DATA."
        )
    return as_data_set("Fashion-MNIST (900)", images.read_folder(folder, split))


_BLENDED = {"train": 600, "test": 200}  # coloured digits of each class


def _coloured_digits(split: str, root: Path) -> DataSet:
    """MNIST digits blended into CIFAR-10 (JPEG) photographs, |photograph - digit|, 32 x 32.

    The recipe of MNIST-M (Ganin et al. 2016, §5.2), on whole photographs instead of crops of
    larger ones: 6,000 images to train on and 2,000 to test, no photograph twice. Which digit
    meets which photograph never changes.
    """
    digits, photographs = _from_torchvision("mnist", split, root), _cifar10_jpeg(split, root)
    random = np.random.RandomState(0)
    chosen = np.concatenate([
        random.permutation(np.flatnonzero(digits.labels.numpy() == label))[: _BLENDED[split]]
        for label in range(10)
    ])  # fmt: skip
    behind = random.permutation(len(photographs))[: len(chosen)]
    digits, photographs = digits.take(chosen), photographs.take(behind)
    framed = torch.nn.functional.pad(digits.images, (2, 2, 2, 2))
    blended = (photographs.images - framed).abs()
    return DataSet("coloured digits", blended, digits.labels, _TEN_DIGITS)


def as_data_set(shown: str, read: images.Labelled) -> DataSet:
    """Decoded images as a data set with a title."""
    return DataSet(shown, _unit_range(torch.from_numpy(read.pixels)), read.labels, read.classes)


@dataclass(frozen=True)
class Row:
    """What is known of a data set.

    title: how figures and tables call it.  read: (split, root) -> DataSet.
    scheme: the two-class labelling of chapters 7 and 8, a key of `SCHEMES`.
    side: pixels that networks with patches or strides need, where its own are too few.
    """

    title: str
    read: Callable[[str, Path], DataSet]
    scheme: str | None = None
    side: int | None = None


def _torchvision(name: str) -> Callable[[str, Path], DataSet]:
    return lambda split, root: _from_torchvision(name, split, root)


KNOWN: dict[str, Row] = {
    # 8 x 8 pixels have no room for ten patches and less than one place a class
    "digits": Row("digits", lambda split, root: _digits(split), "odd-even", side=20),
    "mnist": Row("MNIST", _torchvision("mnist"), "odd-even"),
    "fashion-mnist": Row("Fashion-MNIST", _torchvision("fashion-mnist")),
    "svhn": Row("SVHN", _torchvision("svhn"), "odd-even"),
    "cifar10": Row("CIFAR-10", _torchvision("cifar10"), "vehicles-animals"),
    "cifar10-jpeg": Row("CIFAR-10 (JPEG)", _cifar10_jpeg, "vehicles-animals"),
    "fashion-mnist-900": Row("Fashion-MNIST (900)", _fashion_mnist_900),
    "coloured-digits": Row("coloured digits", _coloured_digits, "odd-even"),
}


# --- small helpers ----------------------------------------------------------------------------


@contextlib.contextmanager
def _messages_outside_the_page():
    """A download's progress: to the terminal named in BOOK_TERMINAL, nowhere if that is empty."""
    terminal = os.environ.get("BOOK_TERMINAL")
    if terminal is None:
        yield
        return
    with contextlib.ExitStack() as stack:
        try:
            sink = stack.enter_context(open(terminal or os.devnull, "w"))
        except OSError:
            sink = stack.enter_context(open(os.devnull, "w"))
        stack.enter_context(contextlib.redirect_stdout(sink))
        stack.enter_context(contextlib.redirect_stderr(sink))
        yield


def _unit_range(pixels: Tensor) -> Tensor:
    """uint8 in 0 … 255 -> float32 in [0, 1], same shape."""
    return pixels.to(torch.float32).div_(255).contiguous()
