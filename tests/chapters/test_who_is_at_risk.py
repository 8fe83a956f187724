"""The runs of chapter 10: their parts by hand or by two routes, and whole runs on a few digits."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from chapters import recipes, two_classes
from chapters.two_classes import Found
from chapters.who_is_at_risk import design
from chapters.who_is_at_risk import runs as chapter
from harness.store import split_values
from lib import data, kkt

SMALL = {"dataset": "digits", "n": 6, "seed": 0, "width": 30, "steps": 40, "held_out": 60}


def victim(recipe: str = "plain") -> recipes.Victim:
    from dataclasses import replace

    how = replace(recipes.named(recipe), steps=40)
    return recipes.victim("digits", 6, 0, how, width=30, held_out=60)


def made(images: torch.Tensor, network: nn.Module, signs=None, held_out=None) -> recipes.Victim:
    """A victim of made images [n, c, h, w] whose mean is taken to be 0."""
    labels = torch.arange(len(images)) % 2
    training = data.DataSet("toy", images, labels, ("a", "b"))
    strangers = training if held_out is None else data.DataSet(
        "toy", held_out, torch.arange(len(held_out)) % 2, ("a", "b")
    )  # fmt: skip
    signs = 2.0 * labels - 1 if signs is None else signs
    return recipes.Victim(
        network, training, strangers, torch.zeros_like(images[0]), (), signs, float("inf")
    )


# --- what the attacker has ------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", ["default initialisation", "plain"])
def test_a_known_start_is_taken_off(recipe):
    of = victim(recipe)
    weight, bias = chapter.published_change(of.network, of, 0, start_known=False)
    change, moved = chapter.published_change(of.network, of, 0, start_known=True)
    assert torch.equal(weight, of.network.layers[0].weight)
    assert torch.allclose(weight - change, of.start[0][0])
    assert torch.allclose(bias - moved, of.start[0][1])
    values = torch.linalg.svdvals(change.double())
    assert values[6] < 1e-4 * values[0]  # six images span six dimensions, at most


def test_rounding_is_no_direction_of_a_known_change():
    """Three directions, and what float32 leaves of a start that was added and taken off again."""
    random = torch.Generator().manual_seed(0)
    start = torch.randn(200, 64, generator=random) * torch.rand(200, 64, generator=random) ** 8
    change = torch.randn(200, 3, generator=random) @ torch.randn(3, 64, generator=random)
    weight = start + 0.01 * change
    left = weight - start
    assert chapter.rank_of_change(left, weight) == 3
    assert torch.linalg.svdvals(left.double())[3] > 0
    noise = torch.randn(200, 64, generator=random)
    assert chapter.rank_of_change(noise, noise) is None


def test_the_change_of_the_bias_weighs_the_images_as_that_of_the_weights_does():
    """W1 − W1(0) = Σ dᵢ xᵢᵀ and b1 − b1(0) = Σ dᵢ with the same d."""
    of = victim("default initialisation")
    change, moved = chapter.published_change(of.network, of, 0, start_known=True)
    x = (of.training.images - of.mean).flatten(1)
    with_one = torch.cat([x, torch.ones(6, 1)], dim=1).double()
    both = torch.cat([change, moved[:, None]], dim=1).double()
    weights = torch.linalg.lstsq(with_one.T, both.T).solution
    assert (weights.T @ with_one - both).abs().max() < 1e-4 * both.abs().max()


def test_where_nothing_stands_out_nothing_is_found():
    noise = torch.randn(40, 64, generator=torch.Generator().manual_seed(0))
    found, rank = chapter.attack(noise, (1, 8, 8), 0, None, None)
    assert rank == 0 and not found.candidates.any()
    of = victim()
    on_train, on_held_out = chapter.Seen(of, of.network, 0).similarities(found.candidates)
    scores = two_classes.calibrated(on_train, on_held_out)
    assert (scores["hits"], scores["close"], scores["excess"]) == (0, 0, 0)
    assert scores["auroc"] == 0.5
    assert chapter.precisions(found, on_train, on_held_out)["trusted_20"] == 0


# --- scores ---------------------------------------------------------------------------------------


def test_an_image_counts_by_its_best_part():
    seen = chapter.Seen.__new__(chapter.Seen)
    parts = torch.tensor([[[1.0, 0, 0], [0, 1, 0]], [[0, 0, 1], [0, 0, 1]]])
    seen.training = seen.held_out = parts.reshape(2, 2, 1, 1, 3)
    [similarity, _] = seen.similarities(torch.tensor([0.0, 1, 0]).reshape(1, 1, 1, 3))
    assert torch.allclose(similarity[:, 0], torch.tensor([1.0, -0.5], dtype=torch.float64))


def test_precisions_by_hand():
    """Of three distinct candidates two are images of the six, one of a stranger."""
    eye = torch.eye(9).reshape(9, 1, 3, 3)
    found = Found(torch.cat([eye[[0, 7, 1]], -eye[[0]]]), torch.tensor([0.9, 0.8, 0.7, 0.95]))
    of = made(eye[:6], nn.Flatten(0), held_out=eye[6:])
    on_train, on_held_out = chapter.Seen(of, nn.Linear(9, 1), 0).similarities(found.candidates)
    told = chapter.precisions(found, on_train, on_held_out)
    assert told["trusted_20"] == told["trusted_half"] == pytest.approx(2 / 3)
    assert told["trusted_20_held_out"] == pytest.approx(1 / 3)
    assert told["trusted_ncc"].round().tolist() == [1, 0, 1]


def test_nulls_of_rows_are_those_that_the_other_chapters_have():
    of = victim()
    seen = chapter.Seen(of, of.network, 0)
    weight = kkt.mlp_layers(of.network)[0][0]
    mine = chapter.nulls(weight, seen, 5, 4, 0)
    theirs = two_classes.nulls(of.network, of.training, of.held_out, 5, 0)
    for name in ("hits", "close", "auroc", "median_ncc"):
        assert mine[f"rows_{name}"] == pytest.approx(theirs[f"rows_{name}"])


def test_the_span_null_is_of_the_rank_that_the_attack_used():
    """A row space of one dimension has two mixtures, x and −x."""
    of = victim()
    seen = chapter.Seen(of, of.network, 0)
    x = seen.training[:1].flatten(1)
    change = torch.randn(20, 1, generator=torch.Generator().manual_seed(0)) * x
    alone = chapter.nulls(change, seen, 8, 1, 0)
    assert alone["span_close"] >= 1 and alone["span_hits"] >= 1


def test_performance_by_hand():
    class Sum(nn.Module):
        def forward(self, x):
            return x.flatten(1).sum(1)

    images = torch.tensor([-2.0, 3.0, 1.0, 4.0]).reshape(4, 1, 1, 1)  # labels 0, 1, 0, 1
    told = chapter.performance(made(images, Sum()), Sum())
    assert told == {
        "strangers": 4, "train_accuracy": 0.75, "test_accuracy": 0.75, "smallest_margin": -1.0
    }  # fmt: skip
    wrong = made(images, Sum(), signs=torch.tensor([-1.0, 1, 1, 1]))
    told = chapter.performance(wrong, Sum())
    assert (told["train_accuracy"], told["test_accuracy"]) == (1.0, 0.75)


def test_pairs_are_the_best_ones_at_the_scale_of_the_image():
    of = victim()
    x = of.training.images - of.mean
    candidates = torch.cat([x[[3]] / 7, torch.roll(x[[5]], 1, 3)])
    on_train, _ = chapter.Seen(of, of.network, 0).similarities(candidates)
    told = chapter.shown(of, candidates, on_train)
    assert told["shown_ncc"][0] == pytest.approx(1.0) and told["shown_ncc"].diff().max() <= 0
    assert torch.equal(told["shown_images"][0], two_classes.as_pixels(of.training.images[3]))
    assert torch.equal(told["shown_images"][0], told["shown_reconstructions"][0])


# --- whole runs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*design.RECIPES, *design.DEFENCES])
def test_every_row_of_the_page_is_a_run(name):
    values = chapter.read_off(**SMALL, **design.case(name))
    scalars, arrays = split_values(values, "a run")
    assert np.isfinite(list(scalars.values())).all() and json.dumps(scalars)
    assert {"hits", "close", "close_held_out", "span_hits", "rows_close", "strangers"} <= {*scalars}
    assert 0 <= scalars["hits"] <= 6 and len(arrays["best_ncc"]) == 6
    assert ("epsilon" in scalars) == name.startswith("DP-SGD")
    assert "shown_images" not in arrays


def test_a_run_is_the_same_twice_but_for_its_seconds():
    once, again = (
        split_values(chapter.read_off(**SMALL, recipe="plain", pictures=True), "a run")
        for _ in range(2)
    )
    for values in (once[0], again[0]):
        values.pop("attack_seconds")
    assert once[0] == again[0]
    for name, array in once[1].items():
        assert np.array_equal(array, again[1][name])
    assert once[1]["shown_images"].dtype == np.uint8 and len(once[1]["shown_images"]) == 6


def test_pictures_are_of_images_only():
    values = chapter.read_off(**SMALL, recipe="convolution", pictures=True)
    assert "shown_images" not in values


def test_the_rank_can_be_given():
    values = chapter.read_off(**SMALL, recipe="plain", rank=3)
    assert values["rank"] == 3
    with pytest.raises(ValueError, match="rank"):
        chapter.read_off(**SMALL, recipe="plain", rank=31)


def test_rows_of_the_page_are_recipes_that_exist():
    for name in [*design.RECIPES, *design.DEFENCES]:
        case = design.case(name)
        assert recipes.named(case["recipe"]) and design.row(case) == name
    assert {design.case(n)["recipe"] for n in design.RECIPES} == recipes.RECIPES.keys()
    assert {*design.DEFENCES} == {"plain", *recipes.DEFENCES}
