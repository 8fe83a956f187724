"""Chapter 8's KKT attack from given starts, and the landscape between end points."""

import itertools
import json

import pytest
import torch
from torch import Tensor

from chapters import kkt_starts, starting
from harness.store import split_values

SMALL = {"dataset": "digits", "seed": 0, "n": 4, "held_out": 100}
BRIEF = SMALL | {"epochs": 50}
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    """An empty working directory: networks are kept in a folder relative to it."""
    monkeypatch.chdir(tmp_path)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).double()


# --- from a start ----------------------------------------------------------------------------------


def test_twenty_five_mixtures_make_twenty_one_starts():
    images = starting.pools("digits", 4, 0, held_out=100)
    made = [starting.start(images, *pair) for pair in itertools.product(SHARES, SHARES)]
    assert len(made) == 25
    assert len({one.numpy().tobytes() for one in made}) == 21


def test_the_truth_is_a_solution_for_the_affine_network():
    found = kkt_starts.kkt(**BRIEF, network="affine", truth_share=1, image_share=1, steps=3)
    assert found["residual"] < 1e-10 and found["residual_at_start"] < 1e-10
    assert found["to_truth"] < 1e-4 and found["own_image_nearest"] == 1
    assert found["contribution"].sum().item() == pytest.approx(1, abs=1e-5)
    assert (found["multiplier"] >= 0).all()


@pytest.mark.parametrize("network", ["affine", "hidden", "three-layer"])
def test_steps_from_other_images_lower_the_residual(network):
    how = dict(**BRIEF, network=network, truth_share=0.0, image_share=1.0)
    found = kkt_starts.kkt(**how, steps=20, pictures=True)
    scalars, arrays = split_values(found, "kkt")
    json.dumps(scalars, allow_nan=False)
    assert found["residual"] < found["residual_at_start"] <= 1
    assert found["to_partition_at_start"] == 0 < found["to_partition"]
    assert len(found["along_residual"]) == len(found["along_step"]) == 21
    assert arrays["shown_outputs"].shape[0] == 4 == len(arrays["confidence"])
    still = kkt_starts.kkt(**how, steps=0)
    assert still["residual"] == still["residual_at_start"] == found["residual_at_start"]
    assert still["moved"] == 0


def test_noise_of_a_scale_replaces_the_start():
    how = dict(**BRIEF, network="three-layer", truth_share=1.0, image_share=1.0, steps=0)
    small, large = (kkt_starts.kkt(**how, sigma=sigma) for sigma in (1e-3, 1.0))
    assert small["to_truth_at_start"] < large["to_truth_at_start"]
    assert large["auroc_at_start"] < 1 == kkt_starts.kkt(**how)["auroc_at_start"]


def test_an_unknown_network_is_told():
    with pytest.raises(ValueError, match="network is 'deep', known: affine"):
        kkt_starts.kkt(**BRIEF, network="deep", truth_share=1, image_share=1, steps=1)


# --- the landscape ---------------------------------------------------------------------------------


def test_partners_are_found_within_a_class():
    one = drawn(5, 3)
    signs = torch.tensor([1.0, 1, 1, -1, -1])
    order = torch.tensor([2, 0, 1, 4, 3])
    shuffled = one[order] + 1e-3 * drawn(5, 3, seed=1)
    partner = kkt_starts.paired(one, shuffled, signs)
    assert torch.equal(order[partner], torch.arange(5))
    crossed = kkt_starts.paired(one, one[[3, 1, 2, 0, 4]], signs)  # would cross classes
    assert set(crossed[:3].tolist()) == {0, 1, 2}
    assert kkt_starts.distances([one, shuffled], signs)[0, 1] < 0.01


def test_end_points_of_two_valleys():
    """Five starts on a line run to the nearer of two points."""
    starts = [torch.tensor([[float(x)]]) for x in (0, 1, 2, 8, 9)]
    ends = [torch.tensor([[1.0 if x < 5 else 8.0]]) + 1e-3 * x for x in (0, 1, 2, 8, 9)]
    signs = torch.ones(1)
    apart, at_start = (kkt_starts.distances(some, signs) for some in (ends, starts))
    assert kkt_starts.valleys(apart, at_start) == 2
    assert kkt_starts.valleys(at_start, at_start) == 5
    assert kkt_starts.valleys(0 * apart, at_start) == 1


def test_a_chain_of_near_pairs_is_one_valley():
    far = torch.full((4, 4), 10.0)
    chain = far.clone()
    for i in range(3):
        chain[i, i + 1] = chain[i + 1, i] = 0.5
    chain.fill_diagonal_(0)
    assert kkt_starts.valleys(chain, far) == 1


def test_barriers_of_a_double_well_and_of_a_bowl():
    a, b = torch.tensor([[0.0]]), torch.tensor([[2.0]])
    wells = lambda x: min((x - a).square().item(), (x - b).square().item())  # noqa: E731
    bowl = lambda x: (x - 5).square().item()  # noqa: E731
    signs = torch.ones(1)
    assert kkt_starts.barriers(wells, [a, b], signs).tolist() == pytest.approx([1.0])
    assert kkt_starts.barriers(bowl, [a, b, b + 1], signs).tolist() == [0, 0, 0]


def test_the_slice_goes_through_its_corners():
    corners = [drawn(3, 2, seed=seed) for seed in range(3)]
    plane, axis, where = kkt_starts.slice_through(lambda x: x.sum().item(), corners, 7)
    assert plane.shape == (7, 7) and axis[0] == -0.25 and axis[-1] == 1.25
    for corner, (x, y) in zip(corners, where.tolist()):
        column, row = (round((v + 0.25) / 0.25) for v in (x, y))
        assert plane[row, column].item() == pytest.approx(corner.sum().item(), abs=1e-9)


@pytest.mark.parametrize("attack", ["kkt", "bilevel"])
def test_a_landscape_on_digits(attack):
    found = kkt_starts.landscape(**SMALL, attack=attack, starts=4, steps=8, grid=3)
    scalars, arrays = split_values(found, "landscape")
    json.dumps(scalars, allow_nan=False)
    assert 1 <= found["end_points"] <= 4 == found["starts"]
    assert (found["end_losses"] <= found["start_losses"] + 1e-12).all()
    assert found["end_losses"][0] < 1e-10  # the truth
    assert arrays["barrier_between"].shape == (6,) and (arrays["barrier_between"] >= 0).all()
    assert found["barriers"] == pytest.approx(arrays["barrier_between"].mean())
    assert arrays["slice"].shape == (3, 3) and arrays["slice_points"].shape == (3, 2)


def test_starts_have_their_labels_in_one_order_and_are_all_different():
    images = starting.pools("digits", 4, 0, held_out=100)
    found = kkt_starts.several(images, 7, 0)
    assert len({one.numpy().tobytes() for one in found}) == 7
    by_pixels = {
        image.flatten().double().numpy().tobytes(): int(label)
        for some in (images.training, images.partition, images.held_out)
        for image, label in zip(some.images, some.labels)
    }
    labels = [
        [by_pixels[row.numpy().tobytes()] for row in one] for one in (found[0], found[1], found[3])
    ]
    assert labels[0] == labels[1] == labels[2] == images.training.labels.tolist()
    with pytest.raises(ValueError, match="truth, partition and noise are three"):
        kkt_starts.several(images, 2, 0)


def test_an_unknown_attack_is_told():
    with pytest.raises(ValueError, match="attack is 'both', known: bilevel, kkt"):
        kkt_starts.landscape(**SMALL, attack="both", starts=3, steps=1, grid=2)
