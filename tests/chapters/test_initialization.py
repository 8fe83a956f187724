"""Runs of chapter 8 that start from a guess: pools, starts, victims, measures, theory."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from chapters import equations, starting
from chapters.initialization import runs
from lib.lower_level import LowerLevelStopped

N = 4
TASK = {"dataset": "digits", "seed": 0, "n": N, "held_out": 40}


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    """Networks are kept in the current folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def images() -> starting.Pools:
    return starting.pools(**TASK)


# --- pools and starts ------------------------------------------------------------------------------


def test_no_image_is_in_two_pools(images):
    parts = [images.training, images.partition, images.held_out]
    everything = torch.cat([part.images.flatten(1) for part in parts])
    assert [len(part.images) for part in parts] == [N, N, 40 - N]
    assert len(everything.unique(dim=0)) == 40 + N


def test_images_of_one_index_share_a_label(images):
    assert torch.equal(images.training.labels, images.partition.labels)
    assert images.signs.tolist() == [-1, -1, 1, 1]


@pytest.mark.parametrize("centred", [False, True])
def test_pure_starts_are_their_pools(images, centred):
    pools = replace(images, centred=centred)
    pure = {
        (1.0, 1.0): pools.training.images,
        (0.0, 1.0): pools.partition.images,
        (0.0, 0.0): pools.noise,
        (1.0, 0.0): pools.noise,
    }
    offset = pools.training.images.mean(0) if centred else 0.0
    for shares, expected in pure.items():
        torch.testing.assert_close(starting.start(pools, *shares), expected - offset)


def test_equation_10(images):
    found = starting.start(images, 0.25, 0.5)
    truth, other, noise = images.training.images, images.partition.images, images.noise
    expected = 0.5 * (0.25 * truth + 0.75 * other) + 0.5 * noise
    torch.testing.assert_close(found, expected)


def test_noise_of_a_deviation_replaces_the_mixture(images):
    found = starting.start(images, 1.0, 1.0, sigma=0.01, seed=3)
    assert found.std().item() == pytest.approx(0.01, rel=0.1)
    assert not torch.equal(found, starting.start(images, 1.0, 1.0, sigma=0.01, seed=4))


@pytest.mark.parametrize("shares", [(1.1, 0), (0, -0.1)])
def test_shares_are_between_0_and_1(images, shares):
    with pytest.raises(ValueError, match="not between 0 and 1"):
        starting.start(images, *shares)


def test_too_few_held_out_images_are_said():
    with pytest.raises(ValueError, match="6 held-out images are not enough for a partition of 4"):
        starting.pools(**{**TASK, "held_out": 6})


# --- victims ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["affine", "hidden", "smooth"])
def test_a_victim_is_an_optimum_and_is_kept(images, network):
    first = starting.victim(network, images, 0, width=40)
    again = starting.victim(network, images, 0, width=40)
    for (weight, bias), (w, b) in zip(first.layers, again.layers):
        assert torch.equal(weight, w) and torch.equal(bias, b)
    parameters = [part.clone().requires_grad_() for layer in first.layers for part in layer]
    origin = [part for layer in first.origin for part in layer]
    layers = list(zip(parameters[::2], parameters[1::2]))
    x = starting.inputs(images, images.training.images)
    margins = images.signs * starting.outputs_of(layers, x, first.sharpness)
    apart = sum((a - b).square().sum() for a, b in zip(parameters, origin))
    energy = F.softplus(-margins).mean() + first.decay / 2 * apart
    gradient = torch.autograd.grad(energy, parameters)
    norm = equations.squared(list(gradient)).sqrt().item()
    assert norm <= 10 * starting.TOLERANCE[network]
    assert first.smallest_margin == pytest.approx(margins.min().item())
    assert first.smallest_margin > 0


def test_with_positive_weights_what_training_changes_is_a_single_mixture(images):
    """The reason why "hidden" says no more of its images than "affine" does."""
    positive, signed = (starting.victim(k, images, 0, width=40) for k in ("hidden", "smooth"))
    values = [torch.linalg.svdvals(one.change.left) for one in (positive, signed)]
    x = starting.inputs(images, images.training.images)
    assert (F.linear(x, *positive.layers[0]) > 0).all()
    assert values[0][1] < 1e-5 * values[0][0] and values[1][1] > 1e-2 * values[1][0]


def test_the_three_layer_network_has_no_l2_term_and_sees_centred_images(images):
    found = starting.victim("three-layer", replace(images, centred=True), 0, epochs=20)
    assert found.change is None and found.decay == 0.0
    assert [bias is not None for _, bias in found.layers] == [True, True, False]


def test_a_module_is_its_layers(images):
    for network in ("affine", "smooth"):
        trained = starting.victim(network, images, 0, width=6)
        x = starting.inputs(images, images.noise)
        outputs = starting.outputs_of(trained.layers, x, trained.sharpness)
        torch.testing.assert_close(starting.as_module(trained)(x)[:, 0], outputs)


def test_an_unknown_network_is_named(images):
    with pytest.raises(ValueError, match="network is 'wide', known: affine"):
        starting.victim("wide", images, 0)


# --- measures --------------------------------------------------------------------------------------


def test_the_truth_is_recognised(images):
    begin = starting.start(images, 0.0, 0.0)
    found = starting.judged(images.training.images, begin, images)
    assert found["to_truth"] == 0 and found["median_psnr"] == 100
    assert found["own_image_nearest"] == 1 and found["auroc"] == 1 and found["hits"] == N
    assert found["nearer_to_start_by_distance"] == found["nearer_to_start_by_correlation"] == 0
    assert found["to_noise_at_start"] == 0 and found["to_truth_at_start"] > 0
    torch.testing.assert_close(found["nearest_truth_ncc"], torch.ones(N).double())


def test_without_a_step_outputs_are_what_they_started_at(images):
    begin = starting.start(images, 0.0, 1.0)
    found = starting.judged(begin, begin, images)
    assert found["moved"] == found["relative_drift"] == found["to_partition"] == 0
    assert found["nearer_to_start_by_distance"] == found["nearer_to_start_by_correlation"] == 1
    for name in starting._AT_START:
        assert found[name] == found[f"{name}_at_start"]


def test_distances_and_psnr_by_hand(images):
    truth = images.training.images
    found = starting.judged(truth + 0.1, truth, images)
    assert found["median_psnr"] == pytest.approx(20, abs=1e-4)
    assert found["moved"] == pytest.approx(0.1 * math.sqrt(truth[0].numel()), rel=1e-4)
    assert found["relative_drift"] == pytest.approx(
        0.1 * math.sqrt(truth.numel()) / truth.norm().item(), rel=1e-4
    )


def test_measures_do_not_depend_on_what_the_network_does_not_see(images):
    """Centred networks get images minus a mean, and are judged as others are."""
    centred = replace(images, centred=True)
    plain, shifted = (
        starting.judged(starting.start(p, 0.5, 0.5), starting.start(p, 0.0, 0.5), p)
        for p in (images, centred)
    )
    for name in ("to_truth", "to_noise", "moved", "auroc", "median_psnr", "high_frequencies"):
        assert plain[name] == pytest.approx(shifted[name], rel=1e-4)
    torch.testing.assert_close(plain["naturalness"], shifted["naturalness"], atol=1e-3, rtol=0)


def test_high_frequencies_of_waves():
    line = torch.arange(32) / 32
    slow, fast = (torch.cos(2 * math.pi * k * line).expand(1, 32, 32) for k in (3, 12))
    found = starting.high_frequencies(torch.stack([slow, fast, slow + fast]))
    torch.testing.assert_close(found, torch.tensor([0.0, 1.0, 0.5]).double(), atol=1e-6, rtol=0)


def test_of_white_noise_the_share_of_frequencies_is_high():
    noise = torch.randn(20, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    within = math.pi / 16  # of a circle of radius 1/4 in the square of all frequencies
    assert starting.high_frequencies(noise).mean().item() == pytest.approx(1 - within, abs=0.02)


def test_a_single_row_has_no_nulls_and_several_have(images):
    begin = starting.start(images, 0.0, 0.0)
    affine, smooth = (
        starting.judged(begin, begin, images, attacked=starting.victim(k, images, 0, width=6))
        for k in ("affine", "smooth")
    )
    assert not any(name.startswith(("span_", "rows_")) for name in affine)
    assert smooth["span_auroc"] > 0.5 and "rows_close" in smooth


# --- runs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["affine", "hidden"])
@pytest.mark.parametrize("shares", [(0.0, 0.0), (0.0, 1.0)])
def test_the_bilevel_attack_matches_the_weights_and_not_the_images(network, shares):
    found = runs.bilevel(
        **TASK, network=network, truth_share=shares[0], image_share=shares[1], steps=8
    )
    assert found["distance"] < 0.3 * found["distance_at_start"]
    assert found["along_distance"][-1] == found["distance"]
    assert len(found["along_step"]) == len(found["along_distance"]) == 9
    assert found["nearer_to_start_by_distance"] >= 0.5
    assert found["lower_gradient_norm"] <= 10 * found["tolerance"]
    assert 0 < found["converged"] <= 1


@pytest.mark.parametrize("network", ["affine", "hidden"])
def test_from_the_truth_the_bilevel_attack_does_not_move(network):
    found = runs.bilevel(
        **TASK, network=network, truth_share=1.0, image_share=1.0, steps=3, pictures=True
    )
    assert found["relative_distance"] < 1e-10 and found["own_image_nearest"] == 1
    assert found["median_psnr"] > 80
    for name in ("shown_outputs", "shown_nearest", "shown_start"):
        assert found[name].dtype == torch.uint8 and found[name].shape == (N, 1, 8, 8)


def test_a_looser_tolerance_leaves_a_distance_at_the_truth():
    tight, loose = (
        runs.bilevel(
            **TASK, network="affine", truth_share=1.0, image_share=1.0, steps=0, tolerance=t
        )["distance"]
        for t in (1e-8, 1e-1)
    )
    assert tight < 1e-10 < 1e-6 < loose


def test_a_lower_level_out_of_reach_fails_the_run():
    with pytest.raises(LowerLevelStopped, match="its tolerance 1.0e-30"):
        runs.bilevel(
            **TASK, network="affine", truth_share=0.0, image_share=0.0, steps=1, tolerance=1e-30
        )


@pytest.mark.parametrize("attack", ["bilevel", "kkt"])
def test_widths_say_how_many_parameters_a_pixel_has(attack):
    found = runs.widths(**TASK, width=8, steps=3, attack=attack)
    assert found["parameters"] == 8 * 64 + 8 + 8 + 1
    assert found["parameters_per_pixel"] == pytest.approx(found["parameters"] / (N * 64))
    assert found["objective"] < found["objective_at_start"]
    assert "span_auroc" in found


def test_runs_that_do_not_exist():
    with pytest.raises(ValueError, match="network is 'three-layer', known: affine, hidden"):
        runs.bilevel(**TASK, network="three-layer", truth_share=0, image_share=0, steps=1)
    with pytest.raises(ValueError, match="attack is 'none', known: 'bilevel', 'kkt'"):
        runs.widths(**TASK, width=8, steps=1, attack="none")


# --- theory ----------------------------------------------------------------------------------------


def test_the_theory_holds():
    found = runs.theory("digits", 0, 10, sets=10)
    assert found["relative_difference_fixed"] < 1e-6 < found["relative_difference_free"]
    assert found["violations"] == 0 and 0 < found["tightest"] < 1
    assert found["gradient_norm"] < 1e-8 and found["distance_to_training"] > 0.5
    assert found["rank"] == 65 and found["unknowns"] == 640 and found["rank_above_bound"] == 0
    assert found["gradient_norm_over_training"] < 1 and found["distinct_images_in_class"] == 1
    assert found["settings"] == 25 and found["distinct_starts"] == 21


def test_a_bound_that_is_too_small_is_violated(images, monkeypatch):
    small = equations.small(images)
    gradient = equations.loss_gradient
    monkeypatch.setattr(
        equations,
        "loss_gradient",
        lambda *given: [part / 100 for part in gradient(*given)],
    )
    assert equations.majoriser(small, 0, 3)["violations"] == 3


def test_larger_images_are_averaged_down(images):
    wide = F.interpolate(images.training.images, scale_factor=2, mode="nearest")
    big = replace(images, training=replace(images.training, images=wide))
    small = equations.small(big)
    torch.testing.assert_close(small.training.images, images.training.images)
    assert torch.equal(equations.small(images).partition.images, images.partition.images)
