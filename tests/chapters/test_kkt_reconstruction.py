"""The runs of chapter 7: their parts by hand, and whole runs on four digits."""

import functools
import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from chapters import two_classes
from chapters.kkt_reconstruction import runs as chapter
from harness.store import split_values
from lib import data, margin, models, reconstruction

N = 4
EPOCHS = 30  # with loss-scaled steps the margin of four digits overflows from about 45 on


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """An empty working directory: networks are kept in a folder relative to it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def four() -> tuple[data.DataSet, data.DataSet]:
    return two_classes.task("digits", N, seed=0)


def rows(images: Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


# --- small parts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epochs", "per_decade", "expected"),
    [(100, 1, [1, 10, 100]), (1000, 1, [1, 10, 100, 1000]), (100, 2, [1, 3, 10, 32, 100])],
)
def test_log_spaced_by_hand(epochs, per_decade, expected):
    assert chapter.log_spaced(epochs, per_decade) == expected


@pytest.mark.parametrize("epochs", [2, 30, 3000, 1_000_000])
def test_log_spaced_rises_from_one_to_the_last_epoch(epochs):
    at = chapter.log_spaced(epochs)
    assert at[0] == 1 and at[-1] == epochs
    assert at == sorted(set(at)) and all(isinstance(epoch, int) for epoch in at)


def test_circle_points_by_hand():
    x, signs = chapter.circle_points(4)
    expected = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    assert torch.allclose(x, expected, atol=1e-6)
    assert signs.tolist() == [1, -1, 1, -1]


def test_circle_points_are_on_the_circle_and_equally_far_apart():
    x, signs = chapter.circle_points(20)
    assert torch.allclose(x.norm(dim=1), torch.ones(20))
    gaps = (x - x.roll(1, 0)).norm(dim=1)
    assert torch.allclose(gaps, gaps[:1].expand(20), atol=1e-6)
    assert signs.sum() == 0 and (signs * signs.roll(1) == -1).all()


def test_distinct_keeps_the_first_of_a_cluster_in_the_order_of_the_seed():
    points = torch.tensor([[0.0, 0.0], [0.01, 0.0], [1.0, 0.0]])
    orders = {seed: torch.randperm(3, generator=seeded(seed)).tolist() for seed in range(20)}
    kept = {seed: chapter.distinct(points, 0.03, seed=seed).tolist() for seed in orders}
    for seed, order in orders.items():
        near = min((0, 1), key=order.index)
        assert kept[seed] == [index for index in order if index in (near, 2)]
    assert {0, 2} in map(set, kept.values()) and {1, 2} in map(set, kept.values())


def test_distinct_compares_with_kept_points_only():
    """On a chain, a point whose removed neighbour is near may stay."""
    chain = torch.tensor([[0.0, 0.0], [0.02, 0.0], [0.04, 0.0]])
    seed = next(s for s in range(50) if torch.randperm(3, generator=seeded(s)).tolist()[0] == 0)
    assert set(chapter.distinct(chain, 0.03, seed=seed).tolist()) == {0, 2}


def test_distinct_keeps_points_at_exactly_the_distance():
    points = torch.tensor([[0.0, 0.0], [0.5, 0.0]])
    assert len(chapter.distinct(points, 0.5, seed=0)) == 2
    assert len(chapter.distinct(points, 0.501, seed=0)) == 1
    assert len(chapter.distinct(points[:0], 0.5, seed=0)) == 0


def test_distinct_leaves_no_close_pair_and_no_gap():
    points = torch.randn(200, 2, generator=seeded(0))
    kept = chapter.distinct(points, 0.3, seed=0)
    between = torch.cdist(points[kept], points[kept]).fill_diagonal_(torch.inf)
    assert between.min() >= 0.3
    assert torch.cdist(points, points[kept]).amin(1).max() < 0.3


def test_maximise_output_raises_the_output_for_one_half_and_lowers_it_for_the_other():
    network = models.MLP(2, (30,), first_std=1.0, generator=seeded(0))
    start = chapter.maximise_output(network, 10, iterations=0, lr=0.05, seed=3)
    end = chapter.maximise_output(network, 10, iterations=20, lr=0.05, seed=3)
    assert start.shape == end.shape == (10, 2) and not end.requires_grad
    with torch.no_grad():
        rise = network(end) - network(start)
    assert (rise[:5] > 0).all() and (rise[5:] < 0).all()


@pytest.mark.parametrize("points", [0, 3])
def test_share_near_by_hand(points):
    targets = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    found = torch.tensor([[0.04, 0.0], [0.06, 0.0], [1.0, 1.0]])[:points]
    assert chapter._share_near(found, targets) == pytest.approx(2 / 3 if points else 0.0)
    assert chapter._share_near(targets, found) == (1.0 if points else 0.0)


# --- the task and the network --------------------------------------------------------------------


def test_task_is_balanced_and_disjoint(four):
    training, held_out = four
    assert len(training) == N and len(held_out) == 1000
    assert training.labels.bincount().tolist() == [2, 2]
    assert held_out.labels.bincount().tolist() == [500, 500]
    assert not rows(training.images) & rows(held_out.images)
    assert training.classes == ("even", "odd")


def test_labels_and_the_number_of_held_out_images_are_parameters():
    groups = {"small": ["0", "1", "2"], "large": ["3", "4", "5", "6", "7", "8", "9"]}
    training, held_out = two_classes.task("digits", N, seed=0, labels=groups, held_out=200)
    assert training.classes == ("small", "large") and len(held_out) == 200
    assert two_classes.task("digits", N, seed=0, labels="odd-even")[0].classes == ("even", "odd")
    with pytest.raises(ValueError, match="stripes"):
        two_classes.task("digits", N, seed=0, labels="stripes")


@pytest.fixture
def own_folder(tmp_path) -> str:
    """A folder of 40 images of each of two classes, 8 x 8 pixels, with a test split."""
    random = np.random.RandomState(0)
    for split, name, count in (
        ("train", "left", 40), ("train", "right", 40), ("test", "left", 2), ("test", "right", 2)
    ):  # fmt: skip
        place = tmp_path / "sides" / split / name
        place.mkdir(parents=True)
        for index in range(count):
            pixels = random.randint(0, 100, (8, 8, 3), dtype=np.uint8)
            pixels[:, slice(0, 4) if name == "left" else slice(4, 8)] += 100
            Image.fromarray(pixels).save(place / f"{index}.png")
    return str(tmp_path / "sides")


def test_a_folder_of_two_classes_needs_no_labels(scratch, own_folder):
    settings = {"seed": 0, "protocol": "loss-scaled", "epochs": 40, "held_out": 60}
    values = chapter.attack(own_folder, 8, method="unmixed", **settings)
    assert len(values["best_ncc_held_out"]) == 60 and values["shown_images"].shape[1:] == (3, 8, 8)
    assert chapter.conditions(own_folder, 8, **settings)["final_residual"] <= 1


def test_a_folder_with_too_few_images_says_so(own_folder):
    with pytest.raises(ValueError, match="1000 needs 500 images of every class, but .*left"):
        two_classes.task(own_folder, 8, seed=0)


def test_task_depends_on_the_seed_only(four):
    assert torch.equal(two_classes.task("digits", N, seed=0)[0].images, four[0].images)
    assert rows(two_classes.task("digits", N, seed=1)[0].images) != rows(four[0].images)


def test_centred_subtracts_the_mean_and_turns_labels_into_signs(four):
    training, _ = four
    x, signs, mean = two_classes.centred(training)
    assert torch.allclose(x + mean, training.images) and mean.shape == (1, 8, 8)
    assert x.mean(0).abs().max() < 1e-6
    assert torch.equal(signs, torch.where(training.labels == 1, 1.0, -1.0))


def trained(four, folder, **settings):
    settings = {"seed": 0, "protocol": "loss-scaled", "epochs": 10} | settings
    return chapter.train_network(four[0], folder=str(folder), **settings)


def no_training(*_, **__):
    raise AssertionError("trained again")


def test_a_trained_network_is_read_and_not_trained_again(four, tmp_path, monkeypatch):
    first = trained(four, tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.setattr(margin, "fit_margin", no_training)
    second = trained(four, tmp_path)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("other", [{"epochs": 11}, {"seed": 1}, {"protocol": "constant"}, {"n": 6}])
def test_other_settings_are_another_network(four, tmp_path, monkeypatch, other):
    trained(four, tmp_path)
    size = other.get("n", N)
    sets = four if size == N else two_classes.task("digits", size, seed=0)
    settings = {key: value for key, value in other.items() if key != "n"}
    with monkeypatch.context() as patched:
        patched.setattr(margin, "fit_margin", no_training)
        with pytest.raises(AssertionError, match="trained again"):
            trained(sets, tmp_path, **settings)
    trained(sets, tmp_path, **settings)
    assert len(list(tmp_path.iterdir())) == 2


def test_an_observed_training_runs_again_and_is_kept(four, tmp_path, monkeypatch):
    seen = []

    def observe(epoch, network):
        seen.append(epoch)

    watched = trained(four, tmp_path, observe=observe, observe_at=[5, 10])
    trained(four, tmp_path, observe=observe, observe_at=[10])
    assert seen == [5, 10, 10]
    monkeypatch.setattr(margin, "fit_margin", no_training)
    for one, other in zip(watched.parameters(), trained(four, tmp_path).parameters(), strict=True):
        assert torch.equal(one, other)


# --- conditions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["loss-scaled", "constant"])
def test_conditions_on_four_digits(scratch, protocol):
    values = chapter.conditions("digits", N, seed=0, protocol=protocol, epochs=30)
    at = values["epochs_observed"]
    assert at[0] >= 10 and at[-1] == 30 and len(values["margins_observed"]) == len(at)
    for pool in ("train", "held_out", "noise"):
        along = values[f"residual_{pool}"]
        assert len(along) == len(at)
        assert all(0 <= rho <= 1.0001 for rho in along)
    assert values["final_residual"] == values["residual_train"][-1]
    assert values["held_out_over_train"] == pytest.approx(
        values["residual_held_out"][-1] / values["final_residual"]
    )
    assert values["multipliers"].shape == values["margins"].shape == (N,)
    assert values["multipliers"].min() >= 0 and 0 <= values["mass_on_margin"] <= 1
    assert values["smallest_margin"] == values["margins"].min().item()
    assert values["largest_margin"] == values["margins"].max().item()
    scalars, arrays = split_values(values, "conditions")
    assert set(arrays) == {"singular_values", "multipliers", "margins"}
    assert json.loads(json.dumps(scalars)) == scalars


# --- attacks -------------------------------------------------------------------------------------

POOLS = {
    "released": 2 * N,
    "eliminated": 4 * N,
    "first-layer": 2 * 1000,
    "unmixed": None,  # twice the rank of the first layer, which the weights decide
    "refined": None,
}


@pytest.fixture
def few_iterations(monkeypatch):
    """The attacks' own settings, but for the number of iterations."""
    for name in ("kkt_attack", "eliminated_attack"):
        attack = getattr(reconstruction, name)

        def shorter(*arguments, attack=attack, **settings):
            return attack(*arguments, **settings | {"iterations": 5})

        monkeypatch.setattr(reconstruction, name, functools.wraps(attack)(shorter))


def test_every_attack_is_tested():
    assert set(POOLS) == set(chapter.ATTACKS)


@pytest.mark.parametrize("method", POOLS)
def test_an_attack_on_four_digits(scratch, few_iterations, method):
    values = chapter.attack("digits", N, 0, "loss-scaled", EPOCHS, method)
    pool = values["candidates"]
    assert pool == POOLS[method] if POOLS[method] else pool % 2 == 0 and 2 <= pool <= 2 * 64
    assert 0 <= values["auroc"] <= 1
    assert 0 <= values["hits"] <= N and values["tpr_at_1_percent"] == values["hits"] / N
    assert -N <= values["excess"] <= N
    assert 0 <= values["ssim_above_0.4"] <= N
    assert -1 <= values["median_ncc"] <= 1 and -1 <= values["threshold"] <= 1
    assert values["attack_seconds"] > 0
    for name, length in {"best_ncc": N, "best_ncc_held_out": 1000, "ssim": N}.items():
        assert values[name].shape == (length,)
        assert values[name].abs().max() <= 1 + 1e-9
    for name in ("shown_reconstructions", "shown_images"):
        assert values[name].shape == (N, 1, 8, 8) and values[name].dtype == torch.uint8
    shown, scale_is_open = values["shown_ssim"], method in ("unmixed", "first-layer")
    of = values["fitted_ssim" if scale_is_open else "ssim"]
    assert torch.equal(shown, of.sort(descending=True).values)
    for null in ("span", "rows"):
        assert 0 <= values[f"{null}_hits"] <= N and 0 <= values[f"{null}_close"] <= N
    assert 0 <= values["trusted_precision"] <= 1
    assert len(values["trust"]) == len(values["trusted_ncc"]) <= N
    assert values["trust"].diff().le(0).all()
    assert torch.equal(values["shown_ncc"].sort().values, values["best_ncc"].sort().values)
    scalars, _ = split_values(values, "attack")
    assert json.loads(json.dumps(scalars)) == scalars


def test_the_shown_images_are_those_of_the_training_set(scratch, four):
    values = chapter.attack("digits", N, 0, "loss-scaled", EPOCHS, "unmixed")
    assert rows(values["shown_images"]) == rows(two_classes.as_pixels(four[0].images))


def test_the_released_settings_follow_the_number_of_channels(monkeypatch):
    seen = []

    def spy(network, m, shape, **settings):
        seen.append((m, shape, settings))
        return reconstruction.Reconstruction(*[torch.zeros(1)] * 4, [])

    monkeypatch.setattr(reconstruction, "kkt_attack", spy)
    chapter.ATTACKS["released"](None, (3, 32, 32), 50, 7)
    chapter.ATTACKS["released"](None, (1, 28, 28), 50, 7)
    for (m, _, settings), published in zip(seen, ("cifar", "mnist")):
        assert m == 100 and settings["gradient_scale"] == 1 / 100 and settings["seed"] == 7
        assert settings.items() >= chapter.RELEASED[published].items()


def test_the_control_attacks_a_network_that_saw_other_images(scratch, monkeypatch):
    """The victim's images, the scored ones, and what the attack was given."""
    trained_on, scored, attacked = [], [], []
    train_network, scores = chapter.train_network, two_classes.scores

    def watch_training(victim, **settings):
        trained_on.append(victim.images)
        network = train_network(victim, **settings)
        attacked.append(network)
        return network

    def watch_scores(network, training, held_out, found):
        scored.append(training.images)
        return scores(network, training, held_out, found)

    monkeypatch.setattr(chapter, "train_network", watch_training)
    monkeypatch.setattr(chapter, "scores", watch_scores)
    run = ("digits", N, 0, "loss-scaled", EPOCHS, "unmixed")
    values = chapter.attack(*run)
    control = chapter.attack(*run, control=True)
    assert torch.equal(trained_on[0], scored[0])
    assert torch.equal(scored[1], scored[0])
    assert not rows(trained_on[1]) & rows(scored[1])
    assert not torch.equal(attacked[0].layers[0].weight, attacked[1].layers[0].weight)
    assert not torch.equal(values["best_ncc"], control["best_ncc"])
    assert control["candidates"] > 0


def test_an_unknown_method_is_an_error_that_names_it(scratch):
    with pytest.raises(ValueError, match="unmixd"):
        chapter.attack("digits", N, 0, "loss-scaled", 2, "unmixd")


# --- scores --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scored():
    """scores(candidates) on twenty digits, with an untrained network."""
    training, held_out = two_classes.task("digits", 20, seed=0)
    network = models.MLP(64, (10,), generator=seeded(0))

    def score(candidates: Tensor, trust: Tensor | None = None, **found) -> dict:
        trust = torch.zeros(len(candidates)) if trust is None else trust
        return two_classes.scores(
            network, training, held_out, two_classes.Found(candidates, trust, **found)
        )

    return training, held_out, score


def test_the_training_images_themselves_score_perfectly(scored):
    training, _, score = scored
    values = score(two_classes.centred(training)[0])
    assert values["auroc"] > 0.999
    assert values["hits"] == 20 and values["tpr_at_1_percent"] == 1.0
    assert values["median_ncc"] == pytest.approx(1, abs=1e-6)
    assert values["excess"] > 10
    assert values["ssim_above_0.4"] == 20
    assert len(values["shown_images"]) == two_classes.SHOWN_PAIRS == 12
    nearly = values["shown_images"].float() - values["shown_reconstructions"].float()
    assert nearly.abs().mean() < 5


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_the_scale_of_a_candidate_does_not_matter(scored, factor):
    training, _, score = scored
    assert score(factor * two_classes.centred(training)[0])["hits"] == 20


@pytest.mark.parametrize("factor", [-0.2, 5.0])
def test_an_open_scale_is_fitted_for_pictures_and_ssim(scored, factor):
    """Unscaled candidates plus the mean break the paper's count; held-out images get the same fit."""
    training, _, score = scored
    x, _, _ = two_classes.centred(training)
    values = score(torch.cat([factor * x, -factor * x]), scale_is_open=True)
    assert values["fitted_ssim_above_0.4"] == 20 and values["fitted_ssim"].min() > 0.99
    assert values["fitted_ssim_above_0.4_held_out"] < 1000
    nearly = values["shown_images"].float() - values["shown_reconstructions"].float()
    assert nearly.abs().max() <= 2


def test_trust_is_scored_only_after_the_attack(scored):
    """The first half that an attack trusts is right, or wrong; both signs of an image count once."""
    training, held_out, score = scored
    x, _, mean = two_classes.centred(training)
    pool = torch.cat([x, -x, held_out.images[:60] - mean])
    right, wrong = torch.linspace(1, 0, len(pool)), torch.linspace(0, 1, len(pool))
    assert score(pool, right)["trusted_precision"] == 1.0
    assert len(score(pool, right)["trusted_ncc"]) == 20
    assert score(pool, wrong)["trusted_held_out"] == 1.0
    assert score(pool, wrong)["trusted_precision"] < 0.7


def test_random_mixtures_of_the_images_pass_for_found_but_are_not_close(four):
    """The reason for the nulls: nobody reconstructed anything, and AUROC is far above one half."""
    training, held_out = two_classes.task("digits", 20, seed=0)
    x, signs, _ = two_classes.centred(training)
    network = models.MLP(64, (100, 100), generator=seeded(0))
    margin.fit_margin(network, x, signs, epochs=300)
    values = two_classes.nulls(network, training, held_out, 80, seed=0)
    assert values["span_auroc"] > 0.6
    assert values["span_close"] < 3


def test_the_budget_is_scored_along_the_way(scratch):
    values = chapter.budget("digits", N, 0, EPOCHS, 30)
    assert values["along_step"][-1] == 30 and len(values["along_step"]) > 1
    assert values["along_hits"][-1] == values["hits"]
    assert values["along_close"][-1] == values["close"]
    assert np.isfinite(values["along_residual"]).all()
    scalars, _ = split_values(values, "budget")
    assert json.loads(json.dumps(scalars)) == scalars


def test_noise_scores_like_chance(scored):
    _, _, score = scored
    runs = [score(torch.randn(40, 1, 8, 8, generator=seeded(seed))) for seed in range(5)]
    assert np.mean([run["auroc"] for run in runs]) == pytest.approx(0.5, abs=0.12)
    assert np.mean([run["hits"] for run in runs]) <= 2
    assert abs(np.mean([run["excess"] for run in runs])) <= 2


def test_held_out_images_score_below_chance_and_hit_nothing(scored):
    """Candidates that copy held-out images favour those: the measure has two sides."""
    training, held_out, score = scored
    mean = two_classes.centred(training)[2]
    values = score(held_out.images[:500] - mean)
    assert values["auroc"] < 0.5 and values["hits"] == 0 and values["excess"] < 0


# --- the circle ----------------------------------------------------------------------------------


def test_the_circle_in_small():
    values = chapter.circle(0, epochs=200, iterations=20, n=4, m=12)
    assert 0 <= values["correct"] <= 4 and 0 <= values["recovered"] <= 4
    assert (
        values["recovered_minus_inversion"] == values["recovered"] - values["inversion_recovered"]
    )
    assert 0 <= values["filtered_precision"] <= 1 and 0 <= values["filtered_recall"] <= 1
    assert values["filtered_points"] == len(values["final"]) <= len(values["strong"]) <= 12
    assert set(values["final"].tolist()) <= set(values["strong"].tolist())
    assert values["candidates"].shape == values["inverted"].shape == (12, 2)
    assert values["field"].shape == (121, 121)
    scalars, _ = split_values(values, "circle")
    assert json.loads(json.dumps(scalars)) == scalars
