"""Data sets by name, subsets, two classes, and what is said when something is missing."""

import os
import urllib.error
import warnings
from pathlib import Path

import pytest
import torch

from lib import data, sets

REAL = os.environ.get("WWR_DATA")
needs_real = pytest.mark.skipif(not REAL, reason="WWR_DATA names no folder with the real sets")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """No test reads or writes the user's cache or looks for data outside its own folder."""
    monkeypatch.setenv("WWR_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("WWR_DATA", raising=False)


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

    class_name, files = sets._TORCHVISION[name]
    for base in ("download", "__init__"):
        monkeypatch.setattr(getattr(datasets, class_name), base, refuse)
    with pytest.raises(FileNotFoundError) as caught:
        data.load(name, root=tmp_path)
    assert data.title(name) in str(caught.value) and files[0] in str(caught.value)
    assert str(tmp_path) in str(caught.value) and "WWR_DATA" in str(caught.value)


def test_a_damaged_mnist_file_is_named(tmp_path):
    for file in sets._TORCHVISION["mnist"][1]:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(b"\0\0\x08\x03")
    with pytest.raises(OSError, match="MNIST.*damaged.*train-images-idx3-ubyte"):
        data.load("mnist", root=tmp_path)


@pytest.fixture
def blended(monkeypatch) -> dict[str, data.DataSet]:
    """Coloured digits made of small stand-ins for their two sources, by split."""

    def digits(name, split, root):
        labels = torch.arange(10).repeat_interleave(700)
        images = torch.rand(7000, 1, 28, 28, generator=torch.Generator().manual_seed(len(split)))
        return sets.DataSet("MNIST", images, labels, tuple("0123456789"))

    def photographs(split, root):
        values = torch.linspace(0, 1, 6500)[:, None, None, None].expand(-1, 3, 32, 32).clone()
        return sets.DataSet("photographs", values, torch.zeros(6500, dtype=torch.long), ("a",))

    monkeypatch.setattr(sets, "_from_torchvision", digits)
    monkeypatch.setattr(sets, "_cifar10_jpeg", photographs)
    return {split: data.load("coloured-digits", split=split) for split in ("train", "test")}


def test_coloured_digits_are_digits_blended_into_photographs(blended):
    for split, count in (("train", 6000), ("test", 2000)):
        made = blended[split]
        assert made.images.shape == (count, 3, 32, 32) and made.name == "coloured digits"
        assert made.labels.bincount().tolist() == [count // 10] * 10
        assert 0 <= made.images.min() and made.images.max() <= 1
        corner = made.images[:, 0, 0, 0]  # the frame around the digit: the photograph alone
        assert len(corner.unique()) == count
    assert data.two_classes(blended["train"], "coloured-digits").classes == ("even", "odd")


def test_a_digit_lies_where_it_is_and_its_photograph_shows_around_it(blended):
    made = blended["train"].images[:50]
    photograph = made[:, :, :1, :1]
    digit = (made - photograph).abs()
    assert digit[:, :, :2].max() < 1e-6 and digit[:, :, :, :2].max() < 1e-6
    assert (digit[:, :, 2:-2, 2:-2].flatten(1).amax(1) > 0.01).all()
    assert torch.allclose(made[:, 0], made[:, 2])


def test_coloured_digits_never_change(blended):
    again = data.load("coloured-digits")
    assert torch.equal(again.images, blended["train"].images)


def test_the_root_is_the_argument_then_the_variable_then_the_repository(tmp_path, monkeypatch):
    (tmp_path / "repo" / "notebooks").mkdir(parents=True)
    (tmp_path / "repo" / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path / "repo" / "notebooks")
    assert data._root(None).resolve() == (tmp_path / "repo" / "data").resolve()
    monkeypatch.setenv("WWR_DATA", "elsewhere")
    assert data._root(None) == Path("elsewhere")
    assert data._root("here") == Path("here")


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


@pytest.mark.parametrize("name", ["digits", "mnist", "svhn", "cifar10", "cifar10-jpeg"])
def test_known_sets_are_made_two_classes_by_their_row(name):
    groups = data.SCHEMES[data.KNOWN[name].scheme]
    names = tuple(sorted(sum(groups.values(), ())))
    whole = data.DataSet(name, torch.zeros(10, 1, 2, 2), torch.arange(10), names)
    assert data.two_classes(whole, name).classes == tuple(groups)


def test_an_own_set_of_two_classes_needs_no_scheme():
    own = data.two_classes(toy(), "/somewhere/toy")
    assert own.classes == ("a", "b") and torch.equal(own.labels, toy().labels)


def test_an_own_set_of_more_classes_needs_a_scheme():
    ten = toy((2,) * 10)
    with pytest.raises(ValueError, match="toy has 10 classes: name a scheme that makes two"):
        data.two_classes(ten, "toy")
    split = {"first": list("abc"), "rest": list("defghij")}
    assert data.two_classes(ten, "toy", split).labels.tolist() == [0] * 6 + [1] * 14


def test_a_scheme_goes_before_that_of_the_row_and_before_two_classes():
    digits = data.load("digits")
    small = {"below five": list("01234"), "five or more": list("56789")}
    assert data.two_classes(digits, "digits", small).classes == tuple(small)
    swapped = {"b first": ["b"], "a second": ["a"]}
    assert torch.equal(data.two_classes(toy(), "toy", swapped).labels, 1 - toy().labels)
    with pytest.raises(ValueError, match="Fashion-MNIST has 10 classes: name a scheme"):
        fashion = toy((2,) * 10)
        fashion = data.DataSet("Fashion-MNIST", fashion.images, fashion.labels, fashion.classes)
        data.two_classes(fashion, "fashion-mnist")


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
    pixels, labels = once.images.repeat(2, 1, 1, 1), once.labels.repeat(2)
    twice = data.DataSet("twice", pixels, labels, once.classes)
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
