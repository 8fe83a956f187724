"""Classifiers to attack: parts that share no image, networks that are trained once."""

import pytest
import torch
from torch import nn

from chapters import victims
from chapters.victims import Parts, Training, Victim, build, fitted, leave_out, oracles, victim
from lib import models

QUICK = Training(4)


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    """Networks are kept here, and none from another run is met."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def digits() -> Parts:
    return victims.parts("digits", 3, 100, 100, 200)


def pixels(some) -> set[bytes]:
    return {image.numpy().tobytes() for image in some.images}


def test_parts_share_no_image(digits):
    kinds = [digits.members, digits.rivals, digits.held_out, digits.known]
    assert [len(kind) for kind in kinds] == [100, 100, 100, 200]
    for i, one in enumerate(kinds):
        for other in kinds[:i]:
            assert not pixels(one) & pixels(other)


def test_parts_are_balanced_and_in_random_order(digits):
    for kind in (digits.members, digits.rivals, digits.held_out, digits.known):
        assert len(set(kind.labels.bincount().tolist())) == 1
        assert (kind.labels.diff() != 0).sum() > len(kind) / 2


def test_what_is_held_out_does_not_depend_on_the_number_of_members(digits):
    more = victims.parts("digits", 3, 300, 100, 200)
    assert pixels(more.held_out) == pixels(digits.held_out)
    assert pixels(more.known) == pixels(digits.known)
    assert pixels(victims.parts("digits", 4, 100, 100, 200).held_out) != pixels(digits.held_out)


def test_a_set_that_is_too_small_has_no_rivals():
    large = victims.parts("digits", 3, 1000, 100, 200)
    assert large.rivals is None and len(large.members) == 1000
    with pytest.raises(ValueError, match="no second half of 1000 images"):
        _ = large.other_half


def test_more_images_than_there_are_is_one_sentence():
    with pytest.raises(ValueError, match="n = 5000 needs 500 images of every class"):
        victims.parts("digits", 3, 5000, 100, 200)


def test_the_other_half_has_members_and_rivals_in_each_others_place(digits):
    assert pixels(digits.other_half.members) == pixels(digits.rivals)
    assert pixels(digits.other_half.other_half.members) == pixels(digits.members)


@pytest.mark.parametrize("name", ["regularised CNN", "MLP of equal size", "CNN", "ViT"])
def test_networks_take_the_images(name, digits):
    network = build(name, digits, width=4).eval()
    assert network(digits.members.images[:2]).shape == (2, 10)


def test_an_mlp_of_equal_size_has_as_many_parameters(digits):
    sizes = [
        models.count_parameters(build(name, digits, width=8))
        for name in ("regularised CNN", "MLP of equal size")
    ]
    assert abs(sizes[0] - sizes[1]) <= 0.1 * sizes[0]


def test_an_unknown_architecture_or_regulariser_is_refused(digits):
    with pytest.raises(ValueError, match="unknown architecture 'ResNet'"):
        build("ResNet", digits)
    with pytest.raises(ValueError, match="no regulariser 'mixup': dropout, batch norm"):
        leave_out(nn.Sequential(), "mixup")


@pytest.mark.parametrize("name", ["dropout", "batch norm"])
def test_a_regulariser_that_is_left_out_is_gone(name, digits):
    network = build("regularised CNN", digits, width=4)
    kinds = victims.REGULARISERS[name]
    assert any(isinstance(module, kinds) for module in network.modules())
    leave_out(network, name)
    assert not any(isinstance(module, kinds) for module in network.modules())
    assert network.eval()(digits.members.images[:2]).shape == (2, 10)


def fit(digits: Parts, decay: float = 0.0, seed: int = 0) -> nn.Module:
    network = build("MLP", digits, seed=seed)
    images, labels = digits.members.images, digits.members.labels
    return fitted(network, images, labels, steps=3, precision="float32", seed=seed, decay=decay)


def size(network: nn.Module) -> float:
    return sum(p.square().sum().item() for p in network.parameters())


def test_a_network_is_trained_once(digits, monkeypatch):
    first, kept = fit(digits), victims.kept

    def read_only(key, make, **files):
        return kept(key, lambda: pytest.fail("trained again"), **files)

    monkeypatch.setattr(victims, "kept", read_only)
    again = fit(digits)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters()))


def test_another_seed_or_decay_is_another_network(digits):
    assert size(fit(digits, decay=100.0)) < size(fit(digits))
    assert size(fit(digits, seed=1)) != size(fit(digits))


def test_decay_shrinks_by_the_rate_in_each_step(digits, monkeypatch):
    """Where training itself changes nothing."""

    def still(network, *_, steps, observe, observe_at, **__):
        for step in observe_at:
            observe(step, network)

    monkeypatch.setattr(victims.train, "fit", still)
    before = size(build("MLP", digits))
    assert size(fit(digits, decay=10.0)) == pytest.approx(before * (1 - 0.01) ** 6, rel=1e-4)


def test_a_victim_that_saw_patches_has_them_in_all_it_is_judged_by(digits):
    plain = victim(digits, QUICK, seed=0, width=4)
    planted = victim(digits, QUICK, seed=0, width=4, planted=True)
    masks = victims.patch_for(digits).masks()
    for of, all_white in ((plain, False), (planted, True)):
        for images, labels in (
            (of.images, of.labels),
            (of.held_out, digits.held_out.labels),
        ):
            assert bool((images[masks[labels][:, None]] == 1).all()) == all_white
            assert -1 <= images.min() < 0 and images.max() <= 1


def test_oracles_are_other_networks_on_other_images(digits, monkeypatch):
    seen = []
    fit_network = victims.fitted

    def noted(network, images, *rest, **settings):
        seen.append(images)
        return fit_network(network, images, *rest, **settings)

    monkeypatch.setattr(victims, "fitted", noted)
    kinds = {type(judge) for judge in oracles(digits, QUICK, seed=0)}
    assert len(kinds) == len(victims.ORACLES) and models.RegularisedCNN not in kinds
    assert all(torch.equal(images, 2 * digits.known.images - 1) for images in seen)


def test_a_victim_knows_its_labels(digits):
    of = Victim(nn.Identity(), digits)
    assert torch.equal(of.labels, digits.members.labels)
    torch.testing.assert_close(of.images, 2 * digits.members.images - 1)
