"""The example on the page about the reader's own network is run, as it stands there."""

import contextlib
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from lib import data

PAGE = Path(__file__).resolve().parents[2] / "book" / "your-own-network.md"
SIDE = 20


def example() -> str:
    text = PAGE.read_text(encoding="utf-8")
    [block] = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return block


def draw_shells(folder: Path) -> None:
    """Ones for cockles and threes for whelks: 20 images to train on and 60 others."""
    digits = data.load("digits", size=SIDE)
    for name, label in (("cockle", 1), ("whelk", 3)):
        members = (digits.labels == label).nonzero()[:40, 0].tolist()
        for split, some in (("train", members[:10]), ("test", members[10:])):
            place = folder / "shells" / split / name
            place.mkdir(parents=True)
            for i in some:
                pixels = (255 * digits.images[i, 0]).round().byte().numpy()
                Image.fromarray(pixels).save(place / f"{i}.png")


def train_mine(folder: Path, outputs: int) -> None:
    """A reader's own network, with everything that their training script saves beside it."""
    own = data.load(str(folder / "shells"))
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(SIDE**2, 100), nn.ReLU(), nn.Linear(100, outputs))
    nn.init.normal_(net[0].weight, std=1e-4)
    x, y = (2 * own.images - 1).flatten(1), own.labels
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for _ in range(300):
        optimizer.zero_grad()
        if outputs == 1:
            loss = F.binary_cross_entropy_with_logits(net(x)[:, 0], y.float())
        else:
            loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
    state = {f"_orig_mod.{name}": value for name, value in net.state_dict().items()}
    saved = {"epoch": 300, "model_state_dict": state, "optimizer": optimizer.state_dict()}
    torch.save(saved, folder / "mine.pt")


def test_the_example_can_be_seen_at_one_glance():
    assert len(example().splitlines()) <= 25


@pytest.mark.parametrize("outputs", [1, 2])
def test_the_example_runs_and_finds_training_images(tmp_path, monkeypatch, capsys, outputs):
    monkeypatch.setenv("WWR_CACHE", str(tmp_path / "cache"))
    draw_shells(tmp_path)
    train_mine(tmp_path, outputs)
    with contextlib.chdir(tmp_path):
        exec(compile(example(), "your-own-network.md", "exec"), {})
    printed = capsys.readouterr().out
    assert float(re.search(r"AUROC (0\.\d\d|1\.00); ", printed)[1]) > 0.65
    assert re.search(r"; \d+ of 20 found, 0\.2 by chance$", printed.strip())
    pictures = {"found.png"} | ({"inverted.png"} if outputs == 2 else set())
    assert {path.name for path in tmp_path.glob("*.png")} == pictures
    assert all(np.ptp(np.asarray(Image.open(tmp_path / name))) > 100 for name in pictures)
    assert ("inverted: " in printed or "The generator has" in printed) == (outputs == 2)


def test_every_word_of_a_state_dict_on_the_page_is_unpacked():
    from lib.weights import PLACES, PREFIXES

    text = PAGE.read_text(encoding="utf-8")
    assert [word for word in (*PLACES, *PREFIXES) if f"`{word}`" not in text] == []
