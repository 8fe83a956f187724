"""Folders and archives of images, and the cache of decoded ones."""

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lib import data, images


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """No test reads or writes the user's cache or looks for data outside its own folder."""
    monkeypatch.setenv("WWR_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("WWR_DATA", raising=False)


def draw(path: Path, seed: int, size=(6, 5), mode="RGB") -> np.ndarray:
    """Save a random image of width x height `size`; return its pixels."""
    shape = (size[1], size[0], 3) if mode in ("RGB", "P") else (size[1], size[0])
    pixels = np.random.RandomState(seed).randint(0, 256, shape).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


@pytest.fixture
def folder(tmp_path):
    """An image folder: 3 + 2 images in each of the classes cat and dog."""
    for c, name in enumerate(("cat", "dog")):
        for i in range(3):
            draw(tmp_path / "own" / "train" / name / f"{i}.png", 10 * c + i)
        for i in range(2):
            draw(tmp_path / "own" / "test" / name / f"{i}.png", 100 + 10 * c + i)
    return tmp_path / "own"


# --- folders and archives


def test_an_own_folder_is_a_data_set(folder):
    train = data.load(str(folder))
    assert train.name == "own" and train.classes == ("cat", "dog")
    assert train.images.shape == (6, 3, 5, 6) and train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    pixels = np.asarray(Image.open(folder / "train" / "dog" / "1.png"))
    assert np.array_equal((train.images[4] * 255).round().byte().permute(1, 2, 0), pixels)
    assert len(data.load(str(folder), split="test")) == 4


def test_grayscale_stays_grayscale_and_numbers_give_the_order(tmp_path):
    for name in ("10_ten", "2_two"):
        draw(tmp_path / "g" / "train" / name / "a.png", 1, mode="L")
    dataset = data.load(str(tmp_path / "g"))
    assert dataset.images.shape == (2, 1, 5, 6) and dataset.classes == ("two", "ten")


def test_files_of_file_browsers_are_passed_over(folder):
    (folder / "train" / "cat" / ".DS_Store").write_bytes(b"x")
    (folder / "train" / "cat" / "Thumbs.db").write_bytes(b"x")
    assert len(data.load(str(folder))) == 6


def test_an_unreadable_image_is_named(folder):
    (folder / "train" / "dog" / "notes.txt").write_text("not an image")
    with pytest.raises(OSError, match="notes.txt cannot be read"):
        data.load(str(folder))


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_a_truncated_image_is_named(folder, kind):
    path = folder / "train" / "dog" / f"cut.{kind}"
    draw(path, 3, size=(60, 50))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(OSError, match=f"cut.{kind} cannot be read"):
        data.load(str(folder))


@pytest.mark.parametrize(("size", "mode"), [((7, 5), "RGB"), ((6, 5), "L")])
def test_an_image_unlike_the_others_is_named(folder, size, mode):
    draw(folder / "train" / "dog" / "other.png", 3, size=size, mode=mode)
    with pytest.raises(ValueError, match="other.png is (RGB 7 x 5|grayscale 6 x 5) but"):
        data.load(str(folder))


def test_transparent_images_are_refused(folder):
    Image.new("RGBA", (6, 5)).save(folder / "train" / "dog" / "glass.png")
    with pytest.raises(ValueError, match="glass.png has the colour mode RGBA"):
        data.load(str(folder))


def test_empty_or_missing_parts_of_a_folder_are_named(folder, tmp_path):
    (tmp_path / "empty" / "train" / "cat").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="holds no images"):
        data.load(str(tmp_path / "empty"))
    with pytest.raises(FileNotFoundError, match="no folder test/"):
        data.load(str(tmp_path / "empty"), split="test")
    draw(folder / "test" / "cow" / "0.png", 1)
    with pytest.raises(ValueError, match="'cow' that train/ has not"):
        data.load(str(folder), split="test")


def make_archive(root: Path) -> Path:
    """A small stand-in for the JPEG archive of CIFAR-10, members in no order."""
    root.mkdir(exist_ok=True)
    path = root / "cifar-10-images.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for i in (2, 0, 1):
            for name in ("truck", "airplane"):
                for split in ("train", "test"):
                    buffer = io.BytesIO()
                    pixels = np.random.RandomState(i).randint(0, 256, (32, 32, 3))
                    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "JPEG")
                    info = tarfile.TarInfo(f"{split}/{name}/{i:04}.jpg")
                    info.size = buffer.tell()
                    buffer.seek(0)
                    tar.addfile(info, buffer)
    return path


def test_archive_and_unpacked_folder_are_the_same_set(tmp_path):
    archive = make_archive(tmp_path / "a")
    packed = data.load("cifar10-jpeg", root=tmp_path / "a")
    (tmp_path / "b").mkdir()
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "b" / "cifar-10-images", filter="data")
    unpacked = data.load("cifar10-jpeg", root=tmp_path / "b")
    assert packed.name == "CIFAR-10 (JPEG)" and packed.classes == ("airplane", "truck")
    assert torch.equal(packed.images, unpacked.images)
    assert torch.equal(packed.labels, unpacked.labels)
    assert packed.labels.tolist() == [0] * 3 + [1] * 3


def test_a_truncated_archive_is_named(tmp_path):
    archive = make_archive(tmp_path / "a")
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(OSError, match="cifar-10-images.tar.gz is truncated or damaged"):
        data.load("cifar10-jpeg", root=tmp_path / "a")
    assert not list((tmp_path / "cache").glob("*")) if (tmp_path / "cache").exists() else True


# --- the cache


def test_the_cache_is_used(folder, tmp_path, monkeypatch):
    first = data.load(str(folder))
    assert len(list((tmp_path / "cache").iterdir())) == 1
    monkeypatch.setattr(images, "_decode", lambda *_: pytest.fail("decoded although cached"))
    assert torch.equal(data.load(str(folder)).images, first.images)


def test_a_damaged_cache_is_rebuilt(folder, tmp_path):
    first = data.load(str(folder))
    [cached] = (tmp_path / "cache").iterdir()
    whole = cached.read_bytes()
    pixel = whole.index((first.images[0] * 255).round().byte().numpy().tobytes()) + 5
    flipped = whole[:pixel] + bytes([whole[pixel] ^ 1]) + whole[pixel + 1 :]
    header = whole[:200] + b"\xff" * 40 + whole[240:]
    for damaged in (whole[:-40], whole[: len(whole) // 2], b"", header, flipped):
        cached.write_bytes(damaged)
        assert torch.equal(data.load(str(folder)).images, first.images)
        assert len(cached.read_bytes()) == len(whole)


def test_the_cache_is_left_when_files_change(folder):
    first = data.load(str(folder))
    draw(folder / "train" / "cat" / "0.png", 77)
    assert not torch.equal(data.load(str(folder)).images, first.images)


def test_folders_that_differ_in_nothing_but_their_place_have_their_own_caches(tmp_path):
    """The same names, sizes and times; one pixel is another."""
    for place, value in (("one", 0), ("other", 255)):
        for name in ("cat", "dog"):
            path = tmp_path / place / "own" / "train" / name / "0.bmp"
            path.parent.mkdir(parents=True)
            Image.new("L", (4, 4), value).save(path)
            os.utime(path, ns=(10**18, 10**18))
    one, other = (data.load(str(tmp_path / place / "own")) for place in ("one", "other"))
    assert one.images.max() == 0 and other.images.min() == 1


@pytest.mark.parametrize("kind", ["a file in its way", "read-only"])
def test_a_cache_that_cannot_be_written_is_a_warning_only(folder, tmp_path, monkeypatch, kind):
    place = tmp_path / "there"
    if kind == "read-only":

        def denied(*_, **__):  # the tests may run as a user who can write everywhere
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(np, "savez", denied)
    else:
        place.touch()
        place /= "below"
    monkeypatch.setenv("WWR_CACHE", str(place))
    with pytest.warns(UserWarning, match="WWR_CACHE"):
        assert len(data.load(str(folder))) == 6


def test_a_cache_on_a_full_disk_leaves_nothing_behind(folder, tmp_path, monkeypatch):
    def full(path, **_):
        path.write_bytes(b"the first half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.warns(UserWarning, match="No space left"):
        data.load(str(folder))
    assert list((tmp_path / "cache").iterdir()) == []


# --- photographs ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("channels", "size"), [(1, 20), (3, 32)])
def test_patches_of_photographs_need_no_network(channels, size, monkeypatch):
    def refuse(*_):
        raise OSError("no network")

    monkeypatch.setattr("socket.socket.connect", refuse)
    found = images.photograph_patches(16, channels, size)
    assert found.shape == (16, channels, size, size) and found.dtype == torch.float32
    assert 0 <= found.min() and found.max() <= 1 and found.std() > 0.1
    assert torch.equal(found, images.photograph_patches(16, channels, size))
    assert len({image.numpy().tobytes() for image in found}) == 16


def test_gray_patches_are_the_colour_ones_without_colour():
    gray, colour = (images.photograph_patches(8, channels, 12) for channels in (1, 3))
    assert torch.allclose(gray, colour.mean(1, keepdim=True))
