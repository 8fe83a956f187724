"""Data files that were cut off, and numbers that are not finite: what a sweep makes of them."""

import io
import math
import re
import tarfile

import fault_runs
import numpy as np
import pytest
from fault_tools import is_a_sentence, loose
from PIL import Image
from toy_sweep import go, statuses

from harness import store
from harness.results import reason, status
from lib import data

# Data -----------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    """The folder of data sets, in a path with blanks and umlauts."""
    root = tmp_path / "Daten für später"
    root.mkdir()
    monkeypatch.setenv("WWR_DATA", str(root))
    monkeypatch.setenv("WWR_CACHE", str(tmp_path / "cache"))
    return root


def jpegs(root):
    """An archive of two photographs a split."""
    with tarfile.open(root / "cifar-10-images.tar.gz", "w:gz") as tar:
        for name in ("train/cat/0.jpg", "train/dog/1.jpg", "test/cat/0.jpg", "test/dog/1.jpg"):
            file = io.BytesIO()
            pixels = np.random.RandomState(len(name)).randint(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(file, "JPEG")
            info = tarfile.TarInfo(name)
            info.size = file.tell()
            file.seek(0)
            tar.addfile(info, file)
    return root / "cifar-10-images.tar.gz"


def test_a_data_file_that_was_cut_off_fails_its_runs_with_a_sentence(root, tmp_path):
    name, file = "cifar10-jpeg", jpegs(root)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    grid = [{"dataset": "digits"}, {"dataset": name}]
    results = go(fault_runs.loaded, grid, tmp_path / "r")
    assert statuses(results) == ["computed", "failed"]
    why = reason(results[1])
    assert is_a_sentence(why) and file.name in why and "damaged" in why
    assert f"failed: 1 with `{why}`" in status(results)
    [(absent, said)] = data.unavailable(["digits", name]).items()
    assert absent == name and is_a_sentence(said) and str(root) not in said
    file.write_bytes(whole)
    assert statuses(go(fault_runs.loaded, grid, tmp_path / "r")) == ["reused", "computed"]
    assert data.unavailable([name]) == {}


# Numbers --------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_fails_its_run_and_says_at_which_step(tmp_path):
    grid = [{"lr": lr} for lr in (0.01, 1e38, 0.1)]
    results = go(fault_runs.trained, grid, tmp_path / "r")
    assert statuses(results) == ["computed", "failed", "computed"]
    why = reason(results[1])
    assert re.search(r"NonFiniteLoss: the loss is not finite at step \d+: lower the learning", why)
    assert is_a_sentence(why) and f"failed: 1 with `{why}`" in status(results)
    assert loose(tmp_path / "r") == [] and len(list((tmp_path / "r").rglob("*.json"))) == 2


def test_a_result_that_is_not_finite_is_kept_as_it_is(tmp_path):
    """It is a result: what must not happen is that it is lost, or taken for damage."""
    values = {"nan": math.nan, "more": -math.inf, "x": np.array([np.nan, np.inf])}
    scalars, arrays = store.split_values(values, "run")
    path = store.path_for(tmp_path, "toy.run", {})
    store.write(path, "toy.run", {}, scalars, arrays, {})
    found = store.read(path, "toy.run", {}, "reused")
    assert math.isnan(found["nan"]) and found["more"] == -math.inf
    assert np.array_equal(found["x"], values["x"], equal_nan=True)
