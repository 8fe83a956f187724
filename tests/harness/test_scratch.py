"""The scratch cache: kept values are found again, and nothing damaged or swapped is used."""

import errno
import os

import numpy as np
import pytest
import torch

from harness.scratch import kept


@pytest.fixture
def keep(tmp_path):
    """Keeps the text "made" under a key; `keep.made` counts how often it was made."""

    def keep(*key, value="made"):
        def make():
            keep.made += 1
            return value

        return kept(key, make, save=str.encode, load=bytes.decode, folder=tmp_path / "nets")

    keep.made, keep.folder = 0, tmp_path / "nets"
    return keep


def test_a_value_is_made_once_and_then_read(keep):
    assert [keep("a", 1, [0.5, None]) for _ in range(3)] == ["made"] * 3
    assert keep.made == 1 and len(os.listdir(keep.folder)) == 1


@pytest.mark.parametrize(
    "other",
    [
        ("a", 2), (1, "a"), ("a", 1.0), ("a", True), ("a",), (["a", 1],), ("a1",), ("a", "1"),
        (torch.zeros(2), 1), (torch.zeros(2, 1), 1), (torch.ones(2), 1), (np.zeros(2), 1),
    ],
)  # fmt: skip
def test_another_key_is_another_value(keep, other):
    for key in (("a", 1), (torch.zeros(2, dtype=torch.float16), 1), other):
        keep(*key)
    assert keep.made == 3


def test_equal_contents_are_one_key(keep):
    keep(torch.ones(2, 3, requires_grad=True), (1, 2))
    keep(np.ones((2, 3), dtype=np.float32), [1, 2])
    assert keep.made == 1


def test_a_function_in_the_key_counts_by_its_stamp(keep):
    from harness import files, statistics
    from harness.stamp import stamp

    keep(files.write_atomically)
    keep(statistics.over_seeds)
    keep(files.write_atomically)
    assert keep.made == 2 and stamp(statistics.over_seeds) != stamp(files.write_atomically)


@pytest.mark.parametrize("part", [object(), {1, 2}, {"a": 1}, np.array([None]), b"bytes"])
def test_what_has_no_content_of_its_own_is_refused(keep, part):
    with pytest.raises(TypeError, match="cannot be part of a key"):
        keep(part)
    assert keep.made == 0


@pytest.mark.parametrize("damage", ["empty", "cut", "edited", "swapped"])
def test_a_file_that_is_not_what_was_kept_is_made_anew(keep, damage):
    keep("a", value="one")
    [path] = keep.folder.iterdir()
    whole = path.read_bytes()
    keep("b", value="two")
    [other] = set(keep.folder.iterdir()) - {path}
    wrong = {"empty": b"", "cut": whole[:-1], "edited": whole[:-1] + b"!"}
    path.write_bytes(wrong[damage] if damage in wrong else other.read_bytes())
    assert keep("a", value="one") == "one" and keep.made == 3
    assert keep("a", value="unused") == "one" and path.read_bytes() == whole


def test_a_full_disk_costs_only_the_file(keep, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.warns(RuntimeWarning, match="could not be kept.*No space left"):
            assert keep("a") == "made"
        assert os.listdir(keep.folder) == []
    assert keep("a") == "made" and keep.made == 2
