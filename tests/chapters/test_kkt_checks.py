"""The checks of paper 004: by hand, by two routes to one value, and whole on a few digits."""

import json

import numpy as np
import pytest
import torch

from chapters import kkt_checks, two_classes
from chapters.kkt_reconstruction import runs
from harness.store import split_values
from lib import kkt, matching, models
from lib.losses import NonFiniteLoss

SMALL = {"n": 4, "seed": 0, "loss": 0.6, "epochs": 3000, "width": 20}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    """An empty working directory: networks are kept in a folder relative to it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def four():
    training, _ = two_classes.task("digits", 4, seed=0)
    x, signs, _ = two_classes.centred(training)
    return x, signs


def plain(values: dict) -> None:
    """What a run returns can be kept."""
    scalars, _ = split_values(values, "run")
    assert json.loads(json.dumps(scalars)) == scalars


# --- parts by themselves -------------------------------------------------------------------------


def test_a_solution_may_be_padded_and_duplicated():
    values = kkt_checks.padding("digits", **SMALL)
    assert 0 < values["solution"] < values["squared_norm"]
    assert values["change_padded"] < 1e-10 and values["change_duplicated"] < 1e-10
    plain(values)


def test_padding_notices_a_loss_that_moves(monkeypatch):
    """With labels that count as part of the points, a double would add to the sum."""
    loss_of = kkt.stationarity_parameters
    monkeypatch.setattr(kkt, "stationarity_parameters", lambda l, s, c: loss_of(l, s, c * len(c)))
    values = kkt_checks.padding("digits", **SMALL)
    assert values["change_padded"] > 1e-3 and values["change_duplicated"] > 1e-3


def test_the_counts_are_those_of_the_paper_and_of_the_networks():
    values = kkt_checks.counts()
    assert values["parameters_width_1000"] == 3072 * 1000 + 1000 + 1000 * 1000 + 1000
    assert values["unknowns"] == 500 * 3072
    assert values["parameters_width_100"] == 317_400
    assert kkt_checks.parameters(2, 3) == 2 * 3 + 3 + 3 * 3 + 3


@pytest.mark.parametrize("window", [3, 7])
def test_the_formula_of_ssim_agrees_with_the_library(window):
    a, b = torch.rand(2, 5, 3, 8, 8, generator=seeded(0))
    ours = kkt_checks.plain_ssim(a, b, window)
    assert torch.allclose(ours, matching.ssim(a, b, window=window), atol=1e-9)
    assert torch.allclose(kkt_checks.plain_ssim(a, a, window), torch.ones(5).double())


def test_a_made_up_pool_knows_whose_copies_it_holds(four):
    x, _ = four
    pool, owner = kkt_checks.made_up(x, torch.ones(5, 1, 8, 8), seed=1)
    assert len(pool) == len(owner) == 3 * 4 + 2 * 5
    assert owner[:12].tolist() == [0, 1, 2, 3] * 3 and (owner[12:] == -1).all()
    own = matching.ncc(x, pool)[owner[:12], torch.arange(12)]
    assert own.min() > 0.7


@pytest.mark.parametrize("search", kkt_checks.SEARCHES)
def test_every_search_finds_an_image_among_others(search):
    images = torch.rand(6, 1, 12, 12, generator=seeded(0))
    images[:, :, 0, 0], images[:, :, 0, 1] = 0, 1  # stretching changes nothing
    nearness = kkt_checks.nearest_by(search, images, images, torch.zeros(1, 12, 12))
    assert nearness.shape == (6, 6)
    assert nearness.argmax(1).tolist() == list(range(6))


def test_an_unknown_search_is_an_error():
    with pytest.raises(ValueError, match="by hand"):
        kkt_checks.nearest_by("by hand", *[torch.zeros(1, 1, 4, 4)] * 2, torch.zeros(1, 4, 4))


def test_post_processing_tries_every_choice_that_fits():
    values = kkt_checks.post_processing("digits", 6, 0)
    assert len(values["found"]) == 3 * 2 * 2  # a window of 11 does not fit 8 x 8 pixels
    assert set(values["window"]) == {3, 7} and values["made_up_pairs_found"] == 1
    assert values["ssim_deviation"] < 1e-9 and max(values["above"]) <= 6
    plain(values)


def test_the_forms_of_a_step_have_one_value_and_one_gradient():
    network = models.MLP(6, (9, 9), first_std=None, generator=seeded(0))
    layers = [(w.double(), None if b is None else b.double()) for w, b in kkt.mlp_layers(network)]
    x = torch.randn(5, 6, generator=seeded(1)).double().requires_grad_()
    c = torch.randn(5, generator=seeded(2)).double().requires_grad_()
    found = []
    for loss_of in kkt_checks.FORMS.values():
        loss = loss_of(layers, x, c, 20.0)
        found.append([loss, *torch.autograd.grad(loss, (x, c))])
    for other in found[1:]:
        for one, two in zip(found[0], other):
            assert torch.allclose(one, two)


def test_the_cost_of_a_step_is_timed():
    values = kkt_checks.step_cost(6, 8, 10, 3, 0)
    assert all(values[f"{form}_seconds"] > 0 for form in kkt_checks.FORMS)
    assert values["deviation"] < 1e-4
    plain(values)


# --- twins ---------------------------------------------------------------------------------------


def test_training_stops_at_the_loss_that_is_asked_for(four):
    x, signs = four
    settings = {"seed": 0, "width": 20, "epochs": 3000}
    network, taken = kkt_checks.trained(x, signs, loss=0.6, **settings)
    longer = kkt_checks.trained(x, signs, loss=0.3, **settings)[1]
    with torch.no_grad():
        loss = torch.nn.functional.softplus(-signs * network(x)).mean()
    assert 0 < taken < longer and taken % kkt_checks.LOOKED_AT == 0 and 0.3 < loss <= 0.6


def test_a_kept_network_is_read_again(four, monkeypatch):
    settings = {"seed": 0, "width": 20, "epochs": 3000, "loss": 0.6}
    first, taken = kkt_checks.trained(*four, **settings)
    monkeypatch.setattr(kkt_checks.margin, "fit_margin", None)
    second, again = kkt_checks.trained(*four, **settings)
    assert taken == again
    for one, two in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"loss": 0.0, "epochs": 100}, "above 0"), ({"loss": 1e-9, "epochs": 100}, "down to 1e-09")],
)
def test_a_loss_that_is_not_reached_is_an_error(four, settings, message):
    with pytest.raises(ValueError, match=message):
        kkt_checks.trained(*four, seed=0, width=20, **settings)


CHANGES = [(change, "1e-4") for change in kkt_checks.TWINS] + [("released", "He")]


@pytest.mark.parametrize(("change", "first"), CHANGES)
def test_a_twin_on_four_digits(change, first):
    values = kkt_checks.twin("digits", **SMALL, iterations=5, change=change, first=first)
    assert values["training_loss"] <= 0.6 and values["smallest_margin"] > 0
    assert values["parameters_over_unknowns"] == (64 * 20 + 20 + 20 * 20 + 20) / (4 * 64)
    for null in ("span", "rows"):
        assert 0 <= values[f"{null}_hits"] <= 4
    assert 0 < values["residual"] < 2 and 0 <= values["kkt_residual"] <= 1.0001
    assert len(values["best_ncc"]) == 4 and len(values["best_ncc_held_out"]) == 1000
    plain(values)


def test_a_twin_changes_one_thing(monkeypatch):
    """What the attack is given, beside what the twin as released is given."""
    seen, attack = {}, kkt_checks.reconstruction.kkt_attack

    def spy(network, m, shape, **settings):
        seen[change] = settings | {"m": m}
        return attack(network, m, shape, **settings)

    monkeypatch.setattr(kkt_checks.reconstruction, "kkt_attack", spy)
    for change in kkt_checks.TWINS:
        kkt_checks.twin("digits", **SMALL, iterations=2, change=change, per_image=3)
    base = seen["released"]
    assert base["m"] == 12 and base["gradient_scale"] == 1 / 12
    assert base.items() >= kkt_checks.RELEASED["mnist"].items()
    different = {
        change: {name: settings[name] for name in settings if settings[name] != base.get(name)}
        for change, settings in seen.items()
    }
    assert different == {
        "released": {}, "true derivative": {"alpha": None},
        "no smallest multiplier": {"lambda_min": 0.0}, "no prior": {"prior_weight": 0.0},
        "ten times the noise": {"sigma": 10 * base["sigma"]}, "shifted": {},
    }  # fmt: skip


def test_the_network_of_the_shifted_twin_saw_shifted_images(monkeypatch):
    seen, trained = [], kkt_checks.trained

    def spy(x, signs, **settings):
        seen.append(x)
        return trained(x, signs, **settings)

    monkeypatch.setattr(kkt_checks, "trained", spy)
    for change in ("released", "shifted"):
        kkt_checks.twin("digits", **SMALL, iterations=1, change=change)
    assert torch.allclose(seen[1] - seen[0], torch.full_like(seen[0], kkt_checks.SHIFT))


@pytest.mark.parametrize("wrong", [{"change": "no weights"}, {"first": "1e-5"}])
def test_an_unknown_twin_is_an_error_that_names_it(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong.values()))):
        kkt_checks.twin("digits", **SMALL, iterations=1, **wrong)


# --- a convolutional network ---------------------------------------------------------------------


def test_the_convolutional_network_is_homogeneous():
    network = kkt_checks.Strided(1, 9, first_std=0.3, generator=seeded(0))
    x = torch.randn(3, 1, 9, 9, generator=seeded(1))
    before = network(x)
    assert before.shape == (3,)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2)
    assert torch.allclose(network(x), 8 * before, rtol=1e-4)


def test_the_loss_of_the_generic_attack_falls_and_multipliers_stay():
    network = kkt_checks.Strided(1, 8, first_std=0.3, generator=seeded(0))
    before = [parameter.clone() for parameter in network.parameters()]
    candidates, residuals = kkt_checks.generic_attack(network, 6, (1, 8, 8), iterations=20, seed=0)
    assert candidates.shape == (6, 1, 8, 8) and not candidates.requires_grad
    assert len(residuals) == 20 and residuals[-1] < residuals[0]
    for one, two in zip(before, network.parameters(), strict=True):
        assert torch.equal(one, two)


def test_the_generic_attack_says_where_its_loss_is_not_finite():
    network = kkt_checks.Strided(1, 8, first_std=0.3, generator=seeded(0))
    with pytest.raises(NonFiniteLoss, match="at step"):
        kkt_checks.generic_attack(
            network, 4, (1, 8, 8), iterations=9, lr=1e30, lr_multipliers=1e30, seed=0
        )


def test_the_convolutional_run_on_four_digits():
    values = kkt_checks.convolutional("digits", 4, 0, 60, 5)
    assert 0 <= values["auroc"] <= 1 and 0 <= values["mixtures_hits"] <= 4
    assert np.isfinite(values["residual"]) and len(values["best_ncc"]) == 4
    plain(values)


# --- the paper's attack in the plane -------------------------------------------------------------


def test_the_freed_circle_in_small():
    values = runs.circle_freed(0, epochs=200, iterations=20, n=4, m=12)
    assert 0 <= values["recovered"] <= 4 and values["candidates"].shape == (12, 2)
    assert values["filtered_points"] == len(values["final"]) <= len(values["strong"]) <= 12
    assert set(values["final"].tolist()) <= set(values["strong"].tolist())
    assert (values["multipliers"][values["strong"]] >= 5).all()
    plain(values)


def test_too_few_candidates_in_the_plane_are_an_error():
    with pytest.raises(ValueError, match="m = 3"):
        runs.circle_freed(0, epochs=1, iterations=1, n=4, m=3)
