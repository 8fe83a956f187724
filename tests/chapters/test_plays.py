"""What readers play with in chapters 1 and 7, on made results."""

import numpy as np

from chapters.kkt_reconstruction import plays as sizes_of
from chapters.shortcut_injection import plays as reliabilities_of
from harness.results import Result, Runs


def reliance(share: float, architecture: str, seed: int, diverged: int = 0) -> Result:
    values = {
        "follows_patch": share * share, "accuracy_clean": 1 - share / 2, "diverged": diverged,
    }  # fmt: skip
    parameters = {
        "dataset": "mnist", "correlation": share, "architecture": architecture, "seed": seed,
    }  # fmt: skip
    return Result("reliance", parameters, "reused", values)


def unreliable(*shares: float, **changes: int) -> Runs:
    return Runs(
        [
            reliance(share, architecture, seed, **changes)
            for share in shares
            for architecture in ("MLP", "CNN")
            for seed in (10, 11)
        ]
    )


def test_each_reliability_is_a_state_with_its_means():
    states = reliabilities_of.reliability(unreliable(1.0, 0.5))
    assert [state.label for state in states] == ["50 %", "100 %"]
    assert "MLP 25 % and 75 %" in states[0].sentence and "CNN 100 % and 50 %" in states[1].sentence
    assert "ViT" not in states[0].sentence
    rows = [label.get_text() for label in states[0].picture.axes[0].get_yticklabels()]
    assert rows[-1] == "MLP" and len(rows) == 3


def test_one_reliability_or_none_is_nothing_to_move():
    assert reliabilities_of.reliability(unreliable(0.5)) is None
    assert reliabilities_of.reliability(Runs([])) is None
    assert reliabilities_of.reliability(unreliable(0.5, 1.0, diverged=1)) is None


def attacked(n: int, seed: int, close: int, dataset: str = "cifar10-jpeg") -> Result:
    parameters = {"dataset": dataset, "n": n, "seed": seed}
    values = {"close": close, "close_held_out": 0, "span_close": 2.0, "rows_close": 1}
    pictures = np.full((12, 3, 4, 4), n, dtype=np.uint8)
    arrays = {
        "best_ncc_held_out": np.zeros(100), "shown_ncc": np.linspace(0.95, 0.6, 12),
        "shown_reconstructions": pictures, "shown_images": pictures // 2,
    }  # fmt: skip
    return Result("attack", parameters, "reused", values, arrays)


def test_each_number_of_images_is_a_state_with_its_pictures():
    runs = Runs(
        [attacked(n, seed, n // 5 + seed) for n in (100, 50) for seed in (0, 2)]
        + [attacked(50, 0, 50, dataset="mnist")]
    )
    of_cifar = runs.where(dataset="cifar10-jpeg")
    states = sizes_of.sizes(of_cifar)
    assert [state.label for state in states] == ["50", "100"]
    assert "Of 50 images of cifar10-jpeg, 11 come back" in states[0].sentence
    assert "and 2 with the strongest null" in states[0].sentence and "0.95" in states[0].sentence
    assert len(states[1].picture) == 12
    assert states[1].picture[0].max() == 100 / 255 and states[1].picture[6].max() == 50 / 255
    assert sizes_of.sizes(runs) is None  # the last data set has one size only


def test_without_runs_there_is_no_slider():
    assert sizes_of.sizes(Runs([])) is None
