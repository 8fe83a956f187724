"""Load a data set as tensors, draw balanced subsets, relabel to two classes.

    mnist = data.load("mnist")                                   # DataSet of 60,000 images
    binary = data.relabel(mnist, "odd-even")                     # labels 0 = even, 1 = odd
    train, held_out = data.split_held_out(binary, 500, 500, seed=0)

A name is one of `lib.sets.KNOWN`, or the path of a folder with `train/<class>/*` and
`test/<class>/*` images. Files are looked for under `root`, else the folder named by the environment
variable WWR_DATA, else `data/` in the repository.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lib import images
from lib.sets import KNOWN, DataSet, as_data_set

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
        dataset = as_data_set(folder.resolve().name, images.read_folder(folder, split))
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
    """How a data set is called in figures and tables: "cifar10-jpeg" -> "CIFAR-10 (JPEG)".

    A folder is called by its name, without the hash of its content that a run has; angle brackets,
    which a page could take for markup, turn into others.
    """
    if name in KNOWN:
        return KNOWN[name].title
    folder = re.sub(r"@[0-9a-f]{12}$", "", Path(name).name)
    return folder.replace("<", "‹").replace(">", "›")


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
            # a page that says so must not hold a path of the machine it was made on
            reasons[name] = str(error).splitlines()[0].replace(str(_root(None)), "the data folder")
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


def _resized(images: Tensor, size: int) -> Tensor:
    """[n, c, h, w] -> [n, c, size, size]; bilinear, so values stay in [0, 1]."""
    return torch.nn.functional.interpolate(
        images, size=(size, size), mode="bilinear", antialias=True, align_corners=False
    ).clamp_(0, 1)


def _pixel_hashes(images: Tensor) -> list[bytes]:
    """One digest an image: equal exactly when all pixels are."""
    return [
        hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images.cpu().numpy()
    ]
