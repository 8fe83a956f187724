import io
import os
import tarfile
import urllib.error
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lib import data

REAL = os.environ.get("WWR_DATA")
needs_real = pytest.mark.skipif(not REAL, reason="WWR_DATA names no folder with the real sets")


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


def toy(per_class=(4, 4), c=1) -> data.DataSet:
    """Distinct random images, so many of each class."""
    labels = torch.repeat_interleave(torch.arange(len(per_class)), torch.tensor(per_class))
    images = torch.rand(len(labels), c, 4, 4, generator=torch.Generator().manual_seed(0))
    return data.DataSet("toy", images, labels, tuple("abcdefghij"[: len(per_class)]))


# --- digits and DataSet


def test_digits_are_split_once_and_for_all():
    train, test = data.load("digits"), data.load("digits", split="test")
    assert train.images.shape == (1200, 1, 8, 8) and test.images.shape == (597, 1, 8, 8)
    assert train.images.dtype == torch.float32 and train.labels.dtype == torch.int64
    assert train.images.min() == 0 and train.images.max() == 1
    assert train.labels.bincount().tolist() == [120] * 10
    assert train.classes == tuple("0123456789") and train.name == "digits"
    assert torch.equal(data.load("digits").images, train.images)
    assert not set(data._pixel_hashes(train.images)) & set(data._pixel_hashes(test.images))


def test_resizing_stays_in_range():
    images = data.load("digits", size=14).images
    assert images.shape == (1200, 1, 14, 14)
    assert images.min() >= 0 and images.max() <= 1


def test_take_and_to_keep_what_belongs_together():
    dataset = toy()
    part = dataset.take([5, 0])
    assert len(part) == 2 and torch.equal(part.images[0], dataset.images[5])
    assert part.labels.tolist() == [1, 0] and part.classes == dataset.classes
    assert part.to("cpu").labels.device.type == "cpu"


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (torch.zeros(2, 4, 4), torch.zeros(2).long(), "float32"),
        (torch.zeros(2, 1, 4, 4).double(), torch.zeros(2).long(), "float32"),
        (torch.zeros(2, 1, 4, 4), torch.zeros(3).long(), "labels must be int64"),
        (torch.zeros(2, 1, 4, 4), torch.tensor([0, 2]), "0 … 1"),
    ],
)
def test_a_data_set_that_does_not_fit_together_is_refused(images, labels, words):
    with pytest.raises(ValueError, match=words):
        data.DataSet("bad", images, labels, ("a", "b"))


# --- names and missing files


def test_an_unknown_name_lists_the_known_ones_and_the_layout():
    with pytest.raises(ValueError, match=r"'minst'.*mnist.*cifar10-jpeg.*train/<class>/\*"):
        data.load("minst")


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="'train' or 'test'"):
        data.load("digits", split="valid")


@pytest.mark.parametrize(
    ("name", "file"),
    [("cifar10-jpeg", "cifar-10-images.tar.gz"), ("fashion-mnist-900", "fashion-mnist-900")],
)
def test_missing_local_sets_say_what_belongs_where(tmp_path, name, file):
    with pytest.raises(FileNotFoundError) as caught:
        data.load(name, root=tmp_path / "nowhere")
    assert file in str(caught.value) and "nowhere" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "svhn", "cifar10"])
def test_a_failed_download_names_files_and_folder(tmp_path, monkeypatch, name):
    from torchvision import datasets

    def refuse(*_, **__):
        raise urllib.error.URLError("no network")

    shown, class_name, files = data._TORCHVISION[name]
    for base in ("download", "__init__"):
        monkeypatch.setattr(getattr(datasets, class_name), base, refuse)
    with pytest.raises(FileNotFoundError) as caught:
        data.load(name, root=tmp_path)
    assert shown in str(caught.value) and files[0] in str(caught.value)
    assert str(tmp_path) in str(caught.value) and "WWR_DATA" in str(caught.value)


def test_a_damaged_mnist_file_is_named(tmp_path):
    for file in data._TORCHVISION["mnist"][2]:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(b"\0\0\x08\x03")
    with pytest.raises(OSError, match="MNIST.*damaged.*train-images-idx3-ubyte"):
        data.load("mnist", root=tmp_path)


def test_the_root_is_the_argument_then_the_variable_then_the_repository(tmp_path, monkeypatch):
    (tmp_path / "repo" / "notebooks").mkdir(parents=True)
    (tmp_path / "repo" / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path / "repo" / "notebooks")
    assert data._root(None).resolve() == (tmp_path / "repo" / "data").resolve()
    monkeypatch.setenv("WWR_DATA", "elsewhere")
    assert data._root(None) == Path("elsewhere")
    assert data._root("here") == Path("here")


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
    assert torch.equal(packed.labels, unpacked.labels) and packed.labels.tolist() == [0] * 3 + [1] * 3


def test_a_truncated_archive_is_named(tmp_path):
    archive = make_archive(tmp_path / "a")
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(OSError, match="cifar-10-images.tar.gz is truncated or damaged"):
        data.load("cifar10-jpeg", root=tmp_path / "a")
    assert not list((tmp_path / "cache").glob("*")) if (tmp_path / "cache").exists() else True


# --- the cache


def test_the_cache_is_used_rebuilt_when_cut_and_left_when_files_change(folder, tmp_path, monkeypatch):
    first = data.load(str(folder))
    [cached] = (tmp_path / "cache").iterdir()
    monkeypatch.setattr(data, "_decode", lambda *_: pytest.fail("decoded although cached"))
    assert torch.equal(data.load(str(folder)).images, first.images)
    monkeypatch.undo()
    monkeypatch.setenv("WWR_CACHE", str(tmp_path / "cache"))
    whole = cached.read_bytes()
    for damaged in (whole[:-40], b"", whole[:200] + b"\xff" * 40 + whole[240:]):
        cached.write_bytes(damaged)
        assert torch.equal(data.load(str(folder)).images, first.images)
        assert len(cached.read_bytes()) == len(whole)
    draw(folder / "train" / "cat" / "0.png", 77)
    assert not torch.equal(data.load(str(folder)).images, first.images)


def test_a_cache_that_cannot_be_written_is_a_warning_only(folder, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("WWR_CACHE", str(tmp_path / "file" / "below"))
    with pytest.warns(UserWarning, match="WWR_CACHE"):
        assert len(data.load(str(folder))) == 6


def test_a_cache_on_a_full_disk_leaves_nothing_behind(folder, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.warns(UserWarning, match="No space left"):
        data.load(str(folder))
    assert list((tmp_path / "cache").iterdir()) == []


# --- relabelling


def test_relabelling_follows_the_scheme():
    digits = data.load("digits")
    binary = data.relabel(digits, "odd-even")
    assert binary.classes == ("even", "odd")
    assert torch.equal(binary.labels, digits.labels % 2)
    names = sorted(sum(data.SCHEMES["vehicles-animals"].values(), ()))
    cifar = data.DataSet("c", torch.zeros(10, 3, 2, 2), torch.arange(10), tuple(names))
    vehicles = data.relabel(cifar, "vehicles-animals").labels.bool().tolist()
    assert [n for n, v in zip(names, vehicles) if v] == ["airplane", "automobile", "ship", "truck"]
    own = data.relabel(toy((2, 2, 2)), {"first": "a", "rest": ("b", "c")})
    assert own.labels.tolist() == [0, 0, 1, 1, 1, 1] and own.classes == ("first", "rest")


def test_schemes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="known are odd-even, vehicles-animals"):
        data.relabel(toy(), "even-odd")
    with pytest.raises(ValueError, match="does not fit toy: its class 'a' stands in 0"):
        data.relabel(toy(), "odd-even")
    with pytest.raises(ValueError, match="stands in 2"):
        data.relabel(toy(), {"x": ("a", "b"), "y": ("a",)})
    with pytest.raises(ValueError, match="in one group"):
        data.relabel(toy(), {"x": ("a", "b"), "y": ("c",)})
    with pytest.raises(ValueError, match="two groups"):
        data.relabel(toy(), {"x": ("a", "b")})


# --- subsets


def test_a_balanced_subset_is_balanced_reproducible_and_nested():
    dataset = toy((9, 5, 7))
    small, chosen = data.balanced_subset(dataset, 6, seed=1)
    assert small.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert torch.equal(small.images, dataset.images[chosen]) and len(set(chosen.tolist())) == 6
    assert torch.equal(chosen, data.balanced_subset(dataset, 6, seed=1)[1])
    assert not torch.equal(chosen, data.balanced_subset(dataset, 6, seed=2)[1])
    assert set(chosen.tolist()) <= set(data.balanced_subset(dataset, 12, seed=1)[1].tolist())


def test_the_subset_of_a_seed_never_changes():
    """Published results rest on these positions."""
    assert data.balanced_subset(toy((9, 9)), 6, seed=0)[1].tolist() == [7, 2, 1, 12, 10, 16]


def test_impossible_subsets_say_why():
    with pytest.raises(ValueError, match="class 'b' of toy has 2"):
        data.balanced_subset(toy((4, 2)), 6, seed=0)
    for n in (5, 0, -2):
        with pytest.raises(ValueError, match="multiple of the 2 classes"):
            data.balanced_subset(toy(), n, seed=0)


def test_held_out_images_are_others():
    dataset = toy((40, 40))
    train, held_out = data.split_held_out(dataset, 20, 30, seed=3)
    assert len(train) == 20 and len(held_out) == 30
    assert held_out.labels.bincount().tolist() == [15, 15]
    assert not set(data._pixel_hashes(train.images)) & set(data._pixel_hashes(held_out.images))
    with pytest.raises(ValueError, match="has 30 left"):
        data.split_held_out(dataset, 20, 62, seed=3)


def test_an_image_that_occurs_twice_is_never_on_both_sides():
    once = toy((6, 6))
    twice = data.DataSet("twice", once.images.repeat(2, 1, 1, 1), once.labels.repeat(2), once.classes)
    for seed in range(10):
        train, held_out = data.split_held_out(twice, 4, 4, seed=seed)
        assert not set(data._pixel_hashes(train.images)) & set(data._pixel_hashes(held_out.images))


# --- the real sets


@needs_real
def test_real_mnist():
    train = data.load("mnist", root=REAL)
    assert train.images.shape == (60000, 1, 28, 28) and train.classes == tuple("0123456789")
    assert train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert train.images.mean().item() == pytest.approx(0.1307, abs=1e-4)


@needs_real
def test_real_cifar_jpeg():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        test = data.load("cifar10-jpeg", split="test", root=REAL)
    assert test.images.shape == (10000, 3, 32, 32) and test.classes[1] == "automobile"
    binary = data.relabel(test, "vehicles-animals")
    assert binary.labels.bincount().tolist() == [6000, 4000]


@needs_real
def test_real_fashion_mnist_900():
    train = data.load("fashion-mnist-900", root=REAL)
    assert train.name == "Fashion-MNIST (900)" and train.classes[0] == "t-shirt"
    assert train.images.shape == (600, 1, 28, 28)


def test_every_known_set_has_its_own_title_which_is_the_name_of_the_loaded_set(tmp_path):
    titles = [data.title(name) for name in data.KNOWN]
    assert len(set(titles)) == len(titles)
    assert data.title("digits") == data.load("digits").name
    assert data.title("cifar10-jpeg") == "CIFAR-10 (JPEG)" and data.title("mnist") == "MNIST"
    assert data.title(str(tmp_path / "shells")) == "shells"
