"""Chapter 8's blind signals: by hand, blind to the truth, and whole runs on digits."""

import json
import math

import pytest
import torch
from torch import Tensor

from chapters import tellers, telling
from harness.store import split_values
from lib import matching, models

SIGNALS = {
    "agreement", "repeats", "multiplier", "contribution", "likelihood", "confidence", "gradient",
    "span", "sensitivity",
}  # fmt: skip
SHAPE = (1, 8, 8)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def network() -> models.MLP:
    """Its first layer mixes three images with sharp edges, under a little noise."""
    model = models.MLP(64, (40, 6), first_std=1e-3, generator=torch.Generator().manual_seed(0))
    sources = drawn(3, 64, seed=1).pow(3) / 10
    with torch.no_grad():
        model.layers[0].weight.add_(drawn(40, 3, seed=2) @ sources)
    return model


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """An empty working directory: networks are kept in a folder relative to it."""
    monkeypatch.chdir(tmp_path)


def given(n: int = 3) -> tellers.Given:
    return tellers.Given(network(), n, SHAPE, drawn(2, n, *SHAPE, seed=9), 0, 5)


# --- signals -------------------------------------------------------------------------------------


def test_what_comes_back_by_hand():
    a, b, c = (drawn(1, *SHAPE, seed=seed) for seed in range(3))
    pools = [torch.cat([a, b]), torch.cat([c, -2 * a + 1]), torch.cat([0.1 * a, c])]
    judged = telling.Judged(torch.cat([a, c, b]), torch.tensor([0, 1, -1]))
    agreement, repeats = telling.recurring(judged, pools)
    far = matching.ncc(pools[0], c).abs().amax()
    near_b = matching.ncc(torch.cat(pools[1:]), b).abs().reshape(2, 2).amax(1).sum()
    expected = torch.stack([torch.tensor(1.0), (far + 1) / 2, (1 + near_b) / 3])
    assert torch.allclose(agreement, expected.double(), atol=1e-6)
    assert repeats.tolist() == pytest.approx([1, 1 / 2, 1 / 3])


def test_candidates_that_repeat_each_other_count_once():
    a, b = drawn(1, *SHAPE), drawn(1, *SHAPE, seed=1)
    found = telling.distinct([torch.cat([a, b]), torch.cat([2 * a, 3 - b])], most=10)
    assert len(found.images) == 2
    best = matching.ncc(found.images, torch.cat([a, b])).abs()
    assert torch.allclose(best.amax(0), torch.ones(2).double(), atol=1e-6)
    assert len(telling.distinct([a, b], most=1).images) == 1


def test_signals_of_images_that_explain_the_weights():
    """The only neuron that counts is x: so do λ and the share of x."""
    x = drawn(1, *SHAPE).abs()
    weight = x.flatten(1) / x.norm()
    model = models.MLP(64, (8,), first_std=1e-4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.layers[0].weight[0] = weight
        model.layers[0].bias.zero_()
        model.layers[1].weight.copy_(torch.eye(8)[:1])
    other = drawn(1, *SHAPE, seed=4)
    inside = (other.flatten(1) @ weight.T).square().sum() / other.square().sum()
    judged = telling.Judged(torch.cat([x, other]), torch.tensor([0, 1]))
    found = telling.signals(model, [x, other], judged)
    assert found.keys() == SIGNALS
    assert all(len(values) == 2 for values in found.values())
    assert found["contribution"][0] > 0.8 and found["contribution"][0] > found["contribution"][1]
    assert found["span"].tolist() == pytest.approx([1, inside.item()], abs=1e-3)
    assert found["confidence"][0].item() == pytest.approx(x.norm().item(), rel=1e-5)
    # the gradient of log(1 + exp(-|Φ|)) in all parameters, by differentiation
    loss = torch.nn.functional.softplus(-model(x).abs()).sum()
    squared = sum(g.square().sum() for g in torch.autograd.grad(loss, list(model.parameters())))
    assert found["gradient"][0].item() == pytest.approx(-squared.sqrt().log().item(), rel=1e-4)


def test_facing_takes_the_sign_that_the_network_is_more_certain_about():
    model, images = network(), drawn(6, *SHAPE)
    chosen = tellers.facing(model, images)
    assert (model(chosen).abs() >= model(-chosen).abs()).all()
    assert torch.equal(chosen.abs(), images.abs())
    assert torch.equal(tellers.facing(model, -images), chosen)


# --- the truth -----------------------------------------------------------------------------------


def test_hits_by_hand():
    on_train = torch.tensor([[0.95, 0.75, 0.1], [0.2, 0.3, 0.2]])
    on_held_out = torch.full((100, 3), 0.2)
    natural, real = torch.tensor([3.0, 1.0, 2.5]), torch.tensor([7.0])
    low = telling.sort(on_train, on_held_out, natural, real)
    assert low.threshold == 0.7 and low.hit.tolist() == [True, True, False]
    assert low.level in (1.0, 3.0) and low.natural.tolist()[0]
    on_held_out[:5, 2] = 0.9  # 5 % of the held-out images have something as near
    high = telling.sort(on_train, on_held_out, natural, real)
    assert high.threshold == pytest.approx(0.9) and high.hit.tolist() == [True, False, False]
    none = telling.sort(0 * on_train, on_held_out, natural, real)
    assert not none.hit.any() and none.level == 7.0 and not none.natural.any()


def test_a_perfect_a_useless_and_an_inverted_signal():
    hit = torch.tensor([True] * 3 + [False] * 4)
    signals = {"perfect": hit.double(), "useless": torch.zeros(7), "inverted": -hit.double()}
    found = telling.apart(signals, hit, ~hit, "some_")
    assert found == {
        "auroc_some_perfect": 1.0, "auroc_some_useless": 0.5, "auroc_some_inverted": 0.0,
    }  # fmt: skip
    few = hit & (torch.arange(7) < 2)
    assert telling.apart(signals, few, ~hit) == {} == telling.apart(signals, hit, few)


def test_no_signal_sees_the_training_images():
    some = given()
    pools = [drawn(5, *SHAPE, seed=seed) for seed in (1, 2)]
    strangers, elsewhere = drawn(3, *SHAPE, seed=3), drawn(2, *SHAPE, seed=4)
    training, held_out = drawn(3, *SHAPE, seed=5), drawn(20, *SHAPE, seed=6)
    seen = []
    for truth in (training, training[[2, 0, 1]], pools[0][:3], drawn(3, *SHAPE, seed=7)):
        values, judged, _ = telling.told(
            some, pools, strangers, elsewhere, telling.Truth(truth, held_out, False)
        )
        seen.append({k: v for k, v in values.items() if k.startswith("signal_")})
        seen[-1]["images"] = judged.images
    assert seen[0].keys() == {f"signal_{name}" for name in SIGNALS} | {"images"}
    assert all(torch.equal(one[name], seen[0][name]) for one in seen for name in one)
    found = [
        telling.told(some, pools, strangers, elsewhere, telling.Truth(truth, held_out, False))[0]
        for truth in (training, pools[0][:3])
    ]
    assert (found[0]["true_hits"], found[1]["true_hits"]) == (0, 3)


def test_candidates_of_elsewhere_that_are_training_images_are_no_inventions():
    some = given()
    pools = [drawn(5, *SHAPE, seed=seed) for seed in (1, 2)]
    strangers, held_out = drawn(3, *SHAPE, seed=3), drawn(20, *SHAPE, seed=6)
    truth = telling.Truth(pools[0][:3], held_out, False)
    counts = [
        telling.told(some, pools, strangers, elsewhere, truth)[0]["elsewhere_images"]
        for elsewhere in (pools[0][:3], pools[0][:0])
    ]
    assert counts == [0, 0]


def test_either_sign_is_a_hit_where_the_sign_is_open():
    training, held_out = drawn(2, *SHAPE), drawn(3, *SHAPE, seed=1)
    for is_open, best in ((True, 1), (False, -1)):
        near, _ = telling.Truth(training, held_out, is_open).near(-training)
        assert near.diagonal().tolist() == pytest.approx([best, best])


# --- attacks and runs ------------------------------------------------------------------------------


@pytest.mark.parametrize("attack", tellers.ATTACKS)
def test_every_attack_needs_the_network_alone(attack):
    some = given()
    one, same = (tellers.ATTACKS[attack](some, 0) for _ in range(2))
    assert one.shape[1:] == some.shape and torch.equal(one, same) and torch.isfinite(one).all()
    assert not torch.equal(tellers.ATTACKS[attack](some, 1)[:3], one[:3])


def test_groups_of_rows_share_none():
    some = given()
    groups = [tellers.ATTACKS["rows"](some, start) for start in range(2)]
    assert sum(map(len, groups)) == 2 * 3 * 2
    assert matching.ncc(groups[0], groups[1]).abs().max() < 0.999


def test_a_run_on_digits(scratch):
    how = dict(starts=2, epochs=40, steps=20, held_out=200, pictures=True)
    found = telling.tellings("digits", 0, 10, "kkt eliminated", **how)
    scalars, arrays = split_values(found, "tellings")
    json.dumps(scalars, allow_nan=False)
    m = scalars["candidates"]
    assert {f"signal_{name}" for name in SIGNALS} < arrays.keys()
    assert all(len(arrays[f"signal_{name}"]) == m for name in SIGNALS)
    assert arrays["is_hit"].sum() == scalars["true_hits"]
    assert scalars["misses_natural"] == (~arrays["is_hit"] & arrays["is_natural"]).sum()
    few = min(scalars["true_hits"], scalars["misses_natural"])
    assert ("auroc_agreement" in scalars) == (few >= telling.FEWEST)
    assert all(0 <= v <= 1 for k, v in scalars.items() if k.startswith("auroc"))
    assert 0 <= scalars["precision_top"] <= 1 and scalars["held_out_images"] == 10
    q = len(arrays["quiz_is_hit"])
    assert 0 < q <= 2 * telling.MOST_SHOWN
    for name in ("quiz_pictures", "quiz_nearest_training", "quiz_nearest_held_out"):
        assert arrays[name].dtype == "uint8" and arrays[name].shape[0] == q
    assert arrays["quiz_ncc"].shape == (q, 2)
    hit = arrays["quiz_is_hit"]
    assert (arrays["quiz_ncc"][hit, 0] > scalars["threshold"]).all()
    again = telling.tellings("digits", 0, 10, "kkt eliminated", **how)
    assert all(torch.equal(found[f"signal_{n}"], again[f"signal_{n}"]) for n in SIGNALS)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"attack": "guessing"}, "unknown attack 'guessing', known: unmixed, FastICA"),
        ({"starts": 1}, "starts is 1: what comes back needs at least 2"),
        ({"held_out": 30}, "30 held-out images are fewer than the 40"),
    ],
)
def test_what_cannot_be_run_is_told(scratch, change, words):
    how = dict(attack="rows", starts=2, epochs=1, held_out=200) | change
    with pytest.raises(ValueError, match=words):
        telling.tellings("digits", 0, 10, **how)


def test_settings_of_the_released_attack_are_not_shared():
    settings = tellers.released_for((3, 32, 32))
    settings.pop("sigma")
    assert math.isclose(tellers.released_for((3, 8, 8))["sigma"], 8.86e-4)
    assert tellers.released_for((1, 28, 28))["lr"] == 0.0305
