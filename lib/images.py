"""Folders and archives of images as arrays, decoded once."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor

_NOT_IMAGES = ("Thumbs.db", "desktop.ini")  # left behind by file browsers, as are dot files
_IMAGE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error)  # what PIL raises


@dataclass(frozen=True)
class Labelled:
    """pixels: uint8 [n, c, h, w].  labels: int64 [n], positions in `classes`."""

    pixels: np.ndarray
    labels: Tensor
    classes: tuple[str, ...]


def read_folder(folder: Path, split: str) -> Labelled:
    """`folder/<split>/<class>/*`; the classes are those of train/, in order of their names.

    Raises FileNotFoundError, OSError for a file that is no image, ValueError for a class that
    train/ has not and for images of different sizes.
    """
    if not (folder / split).is_dir():
        raise FileNotFoundError(
            f"{folder} has no folder {split}/: images belong in {split}/<class>/*."
        )
    names = {
        part: {d.name for d in (folder / part).iterdir() if d.is_dir() and d.name[0] != "."}
        for part in {split, "train"}
        if (folder / part).is_dir()
    }
    folders = names.get("train", names[split])
    if unknown := names[split] - folders:
        raise ValueError(f"{folder / split} has a class {min(unknown)!r} that train/ has not.")
    files = [
        path
        for name in sorted(names[split])
        for path in sorted((folder / split / name).iterdir())
        if path.name[0] != "." and path.name not in _NOT_IMAGES
    ]
    if not files:
        raise FileNotFoundError(f"{folder / split} holds no images: they belong in <class>/*.")
    stats = [(f"{path.parent.name}/{path.name}", path.stat()) for path in files]
    key = [str(folder.resolve()), *((name, s.st_size, s.st_mtime_ns) for name, s in stats)]

    def decode() -> tuple[np.ndarray, list[str]]:
        return _stack((path.parent.name, str(path), path) for path in files)

    pixels, owners = _cached(f"{folder.name}-{split}", key, decode)
    return _labelled(pixels, owners, folders)


def read_archive(archive: Path, split: str) -> Labelled:
    """`<split>/<class>/*` inside a tar archive. Raises OSError for a damaged one."""
    stat = archive.stat()

    def decode() -> tuple[np.ndarray, list[str]]:
        try:
            with tarfile.open(archive) as tar:
                return _stack(_members(tar, archive, split))
        except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
            if isinstance(error, _UnreadableImage):
                raise
            raise OSError(
                f"The archive {archive} is truncated or damaged ({error}): get it again."
            ) from error

    key = [str(archive.resolve()), stat.st_size, stat.st_mtime_ns]
    pixels, owners = _cached(f"{archive.name.split('.')[0]}-{split}", key, decode)
    return _labelled(pixels, owners, set(owners))


def _members(
    tar: tarfile.TarFile, archive: Path, split: str
) -> Iterable[tuple[str, str, BinaryIO]]:
    """(class folder, name to show, readable file) of each image of the split, in archive order."""
    for member in tar:
        *_, part, owner, name = ("", "", *Path(member.name).parts)
        if member.isfile() and part == split and name[0] != ".":
            yield owner, f"{archive}:{member.name}", io.BytesIO(tar.extractfile(member).read())


class _UnreadableImage(OSError):
    """An image file that cannot be decoded; an archive that holds it is not to blame."""


def _stack(
    entries: Iterable[tuple[str, str, Path | BinaryIO]],
) -> tuple[np.ndarray, list[str]]:
    """Decode (class folder, name to show, file) into uint8 [n, c, h, w] and n class folders.

    The images are sorted by class folder and name, whatever order they arrive in.
    """
    decoded = [(owner, shown, _decode(file, shown)) for owner, shown, file in entries]
    if not decoded:
        raise ValueError("There is no image in this split.")
    decoded.sort(key=lambda entry: entry[:2])
    _, first, pattern = decoded[0]
    for _, shown, pixels in decoded:
        if pixels.shape != pattern.shape:
            raise ValueError(
                f"{shown} is {_described(pixels)} but {first} is {_described(pattern)}: all "
                "images of a set must have one size and be either all grayscale or all RGB."
            )
    return np.stack([pixels for *_, pixels in decoded]), [owner for owner, *_ in decoded]


def _decode(file: Path | BinaryIO, shown: str) -> np.ndarray:
    """One image as uint8 [c, h, w]; c is 1 for grayscale and 3 for RGB."""
    try:
        with Image.open(file) as image:
            image.load()
            if image.mode in ("1", "L"):
                return np.asarray(image.convert("L"))[None]
            if image.mode in ("RGB", "P"):
                return np.asarray(image.convert("RGB")).transpose(2, 0, 1)
            mode = image.mode
    except (*_IMAGE_ERRORS, Image.DecompressionBombError) as error:
        raise _UnreadableImage(
            f"{shown} cannot be read as an image ({type(error).__name__}): replace or remove it."
        ) from error
    raise ValueError(f"{shown} has the colour mode {mode}: save it as 8-bit grayscale or RGB.")


def _described(pixels: np.ndarray) -> str:
    c, h, w = pixels.shape
    return f"{'grayscale' if c == 1 else 'RGB'} {w} x {h}"


def _labelled(pixels: np.ndarray, owners: Sequence[str], folders: set[str]) -> Labelled:
    """Class folders become labels. In `0_shirt`, `1_bag`, … the number gives the order only."""
    ordered = sorted(folders)
    classes = tuple(ordered)
    if all(re.fullmatch(r"\d+_.+", folder) for folder in ordered):
        ordered.sort(key=lambda folder: int(folder.split("_")[0]))
        classes = tuple(folder.split("_", 1)[1] for folder in ordered)
    elif all(folder.isdigit() for folder in ordered):
        ordered.sort(key=int)
        classes = tuple(ordered)
    position = {folder: label for label, folder in enumerate(ordered)}
    labels = torch.tensor([position[owner] for owner in owners], dtype=torch.int64)
    return Labelled(pixels, labels, classes)


# --- photographs that need no download --------------------------------------------------------

# What scikit-image has in its package and shows things of everyday size.
_PHOTOGRAPHS = ("astronaut", "camera", "chelsea", "coffee", "coins", "rocket", "moon", "grass")


def photograph_patches(n: int, channels: int, size: int, *, seed: int = 0) -> Tensor:
    """Patches of photographs, as many of each as of any other up to one, [n, channels, size, size].

    float32 in [0, 1], gray for one channel. A patch is a random square of four times the side,
    at most of the whole height, scaled down.
    """
    from skimage import data  # slow to import, and only these need it

    random = np.random.RandomState(seed)
    photographs = [np.atleast_3d(getattr(data, name)()) for name in _PHOTOGRAPHS]
    patches = []
    for i in range(n):
        photograph = photographs[i % len(photographs)]
        side = min(4 * size, *photograph.shape[:2])
        top, left = (random.randint(length - side + 1) for length in photograph.shape[:2])
        patch = torch.from_numpy(photograph[top : top + side, left : left + side] / 255.0)
        patch = patch.permute(2, 0, 1).expand(3, -1, -1)
        patches.append(
            torch.nn.functional.interpolate(patch[None].float(), (size, size), mode="area")[0]
        )
    colour = torch.stack(patches)
    return colour if channels == 3 else colour.mean(1, keepdim=True)


# --- the cache of decoded images --------------------------------------------------------------


def _cached(stem: str, key: object, decode) -> tuple[np.ndarray, list[str]]:
    """What `decode()` returns, kept in the cache folder until a file named in `key` changes.

    Decoding 60,000 JPEG files takes many seconds, reading them back a fraction of one. The format
    has checksums, so a cache file that is cut off, damaged, or being written by another process
    is noticed and made again.
    """
    folder = Path(os.environ.get("WWR_CACHE") or "~/.cache/what-the-weights-remember").expanduser()
    path = folder / f"{stem}-{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.npz"
    damage = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)
    with contextlib.suppress(*damage):
        with np.load(path, allow_pickle=False) as stored:
            return stored["images"], stored["owners"].tolist()
    images, owners = decode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(path, images=images, owners=np.array(owners))
    except OSError as error:
        with contextlib.suppress(OSError):
            path.unlink()
        warnings.warn(
            f"The decoded images could not be kept in {folder} ({error}), so they are decoded "
            "again next time: name a folder that can be written in WWR_CACHE.",
            stacklevel=2,
        )
    return images, owners
