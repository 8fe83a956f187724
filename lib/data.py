"""Load a data set as tensors, draw balanced subsets, relabel to two classes.

    mnist = data.load("mnist")                                   # DataSet of 60,000 images
    binary = data.relabel(mnist, "odd-even")                     # labels 0 = even, 1 = odd
    train, held_out = data.split_held_out(binary, 500, 500, seed=0)

A name is one of `KNOWN`, or the path of a folder with `train/<class>/*` and `test/<class>/*`
images. Files are looked for under `root`, else the folder named by the environment variable
WWR_DATA, else `data/` in the repository.

What is known of a data set is one row of the table `KNOWN`: to add one, write the function that
reads it and its row.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lib import images

# Two-class labellings: the first group becomes label 0, the second label 1.
SCHEMES: dict[str, dict[str, tuple[str, ...]]] = {
    "odd-even": {
        "even": ("0", "2", "4", "6", "8"),
        "odd": ("1", "3", "5", "7", "9"),
    },
    "vehicles-animals": {
        "animals": ("bird", "cat", "deer", "dog", "frog", "horse"),
        "vehicles": ("airplane", "automobile", "ship", "truck"),
    },
}


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


def load(
    name: str,
    *,
    split: str = "train",
    root: str | Path | None = None,
    device: torch.device | str = "cpu",
    size: int | None = None,
) -> DataSet:
    """One split of a data set.

    name: a key of `KNOWN` or the path of an image folder.  split: "train" or "test".
    size: resize to size x size pixels (bilinear, antialiased); None keeps the size it has.
    Raises FileNotFoundError (missing files), OSError (damaged files), ValueError (a wrong name,
    split or folder layout), each in one sentence.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', not {split!r}.")
    folder = Path(name).expanduser()
    if name in KNOWN:
        dataset = KNOWN[name].read(split, _root(root))
    elif folder.is_dir():
        dataset = _labelled(folder.resolve().name, images.read_folder(folder, split))
    else:
        raise ValueError(
            f"There is no data set and no folder called {name!r}: known names are "
            f"{', '.join(KNOWN)}; your own images go into a folder with train/<class>/* and "
            "test/<class>/*, given by its path."
        )
    if size is not None:
        dataset = dataclasses.replace(dataset, images=_resized(dataset.images, size))
    return dataset.to(device)


def title(name: str) -> str:
    """How a data set is called in figures and tables: "cifar10-jpeg" -> "CIFAR-10 (JPEG)"."""
    return KNOWN[name].title if name in KNOWN else Path(name).name


def side(name: str) -> int | None:
    """Pixels to which networks with patches or strides see the images; None: as they are."""
    return KNOWN[name].side if name in KNOWN else None


def unavailable(names: Sequence[str]) -> dict[str, str]:
    """{data set: why it cannot be had} for those that are neither here nor to be downloaded."""
    reasons = {}
    for name in names:
        try:
            load(name)
        except (OSError, ValueError) as error:
            reasons[name] = str(error).splitlines()[0]
    return reasons


def two_classes(
    dataset: DataSet, name: str, scheme: str | Mapping[str, Sequence[str]] | None = None
) -> DataSet:
    """The set with two classes: by the scheme, by that of its row, or as it is if it has two.

    Raises ValueError when it has more than two and no scheme is known for it.
    """
    if scheme is None and name in KNOWN:
        scheme = KNOWN[name].scheme
    if scheme is not None:
        return relabel(dataset, scheme)
    if len(dataset.classes) == 2:
        return dataset
    raise ValueError(
        f"{dataset.name} has {len(dataset.classes)} classes: name a scheme that makes two of them "
        f"({', '.join(SCHEMES)}), or give {{name: its classes, name: its classes}}."
    )


def relabel(dataset: DataSet, scheme: str | Mapping[str, Sequence[str]]) -> DataSet:
    """The same images with two classes.

    scheme: a name in `SCHEMES` ("odd-even": even -> 0, odd -> 1; "vehicles-animals": animals -> 0,
    vehicles -> 1), or {name of label 0: its classes, name of label 1: its classes}.
    Raises ValueError when the scheme is unknown or does not place every class exactly once.
    """
    if isinstance(scheme, str):
        if scheme not in SCHEMES:
            raise ValueError(f"Unknown scheme {scheme!r}: known are {', '.join(SCHEMES)}.")
        groups: Mapping[str, Sequence[str]] = SCHEMES[scheme]
    else:
        groups = scheme
    if len(groups) != 2:
        raise ValueError(f"A scheme has two groups, not {len(groups)}.")
    new_labels = []
    for name in dataset.classes:
        holders = [label for label, members in enumerate(groups.values()) if name in members]
        if len(holders) != 1:
            raise ValueError(
                f"The scheme {scheme!r} does not fit {dataset.name}: its class {name!r} stands in "
                f"{len(holders)} of the two groups."
            )
        new_labels += holders
    if len(set(new_labels)) != 2:
        raise ValueError(f"The scheme {scheme!r} puts every class of {dataset.name} in one group.")
    table = torch.tensor(new_labels, device=dataset.labels.device)
    return dataclasses.replace(dataset, labels=table[dataset.labels], classes=tuple(groups))


def balanced_subset(
    dataset: DataSet, n: int, *, seed: int, exclude: DataSet | None = None
) -> tuple[DataSet, Tensor]:
    """n images, the same number of every class, and their positions (int64 [n]) in `dataset`.

    The images stand class after class. For one seed the subsets are nested: each class is
    shuffled once and a larger n takes more of it. No image whose pixels occur in `exclude` is
    drawn. Raises ValueError when n does not divide by the number of classes or a class is short.
    """
    k = len(dataset.classes)
    if n < k or n % k:
        raise ValueError(
            f"n = {n} is not a positive multiple of the {k} classes of {dataset.name}."
        )
    random = np.random.RandomState(seed)  # its stream is frozen: the same subset in every version
    labels = dataset.labels.cpu().numpy()
    forbidden = set() if exclude is None else set(_pixel_hashes(exclude.images))
    chosen = []
    for label, name in enumerate(dataset.classes):
        members = random.permutation(np.flatnonzero(labels == label))
        if forbidden:
            hashes = _pixel_hashes(dataset.images[torch.from_numpy(members)])
            members = members[[h not in forbidden for h in hashes]]
        if len(members) < n // k:
            raise ValueError(
                f"n = {n} needs {n // k} images of every class, but class {name!r} of "
                f"{dataset.name} has {len(members)}" + (" left." if forbidden else ".")
            )
        chosen.append(members[: n // k])
    indices = torch.from_numpy(np.concatenate(chosen))
    return dataset.take(indices), indices


def split_held_out(
    dataset: DataSet, n: int, n_held_out: int, *, seed: int
) -> tuple[DataSet, DataSet]:
    """Two disjoint balanced subsets of the same classes: n to train on, n_held_out to hold back.

    Both are parts of one shuffle, so nothing but membership tells them apart; an image that
    occurs twice in the data set is never in both.
    """
    train, _ = balanced_subset(dataset, n, seed=seed)
    held_out, _ = balanced_subset(dataset, n_held_out, seed=seed, exclude=train)
    return train, held_out


# --- the sets ---------------------------------------------------------------------------------


def _digits(split: str) -> DataSet:
    """scikit-learn's 1,797 digits, 8 x 8: 120 of each class to train on (1,200), 597 to test."""
    from sklearn.datasets import (
        load_digits,  # slow to import, and only this set needs it
    )

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
        return _labelled("CIFAR-10 (JPEG)", images.read_folder(folder, split))
    if archive.is_file():
        return _labelled("CIFAR-10 (JPEG)", images.read_archive(archive, split))
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
    return _labelled("Fashion-MNIST (900)", images.read_folder(folder, split))


def _labelled(shown: str, read: images.Labelled) -> DataSet:
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
}


# --- small helpers ----------------------------------------------------------------------------


def _root(root: str | Path | None) -> Path:
    """The argument, else WWR_DATA, else data/ in the repository around the current folder."""
    if root is not None:
        return Path(root).expanduser()
    if os.environ.get("WWR_DATA"):
        return Path(os.environ["WWR_DATA"]).expanduser()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "pyproject.toml").is_file():
            return folder / "data"
    return here / "data"


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


def _resized(images: Tensor, size: int) -> Tensor:
    """[n, c, h, w] -> [n, c, size, size]; bilinear, so values stay in [0, 1]."""
    return torch.nn.functional.interpolate(
        images, size=(size, size), mode="bilinear", antialias=True, align_corners=False
    ).clamp_(0, 1)


def _pixel_hashes(images: Tensor) -> list[bytes]:
    """One digest an image: equal exactly when all pixels are."""
    return [
        hashlib.blake2b(image.tobytes(), digest_size=16).digest()
        for image in images.cpu().numpy()
    ]
