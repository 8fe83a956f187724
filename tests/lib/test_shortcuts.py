"""Where patches lie, what planting changes, and every measure against values by hand."""

import math

import pytest
import torch
from small_networks import Fussy
from torch import nn

from lib import shortcuts
from lib.shortcuts import Patch

SIZES = (20, 28, 32)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(n: int, c: int, size: int) -> torch.Tensor:
    """Images without a single white pixel."""
    return 0.9 * torch.rand(n, c, size, size, generator=seeded(0))


# --- where the patches lie -----------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shift", [0, 1, 2, 3])
def test_ten_disjoint_masks_of_sixteen_pixels(size, shift):
    masks = Patch.on_border(10, size, size, shift=shift).masks()
    assert masks.dtype == torch.bool and masks.shape == (10, size, size)
    assert masks.sum((1, 2)).tolist() == [16] * 10
    assert masks.sum(0).max() == 1


@pytest.mark.parametrize("size", SIZES)
def test_a_mask_is_the_square_at_its_corner(size):
    patch = Patch.on_border(10, size, size)
    for mask, (row, column) in zip(patch.masks(), patch.corners.tolist()):
        inside = mask.nonzero()
        assert inside.amin(0).tolist() == [row, column]
        assert inside.amax(0).tolist() == [row + 3, column + 3]


@pytest.mark.parametrize("size", SIZES)
def test_patches_touch_the_border_and_are_whole_tokens(size):
    corners = Patch.on_border(10, size, size).corners
    assert (corners % 4 == 0).all()
    assert ((corners == 0) | (corners == size - 4)).any(1).all()


@pytest.mark.parametrize("shift", [1, 2, 3])
def test_a_shift_moves_every_patch_down_and_to_the_right(shift):
    corners = Patch.on_border(10, 28, 28, shift=shift).corners
    assert (corners % 4 == shift).all()
    assert torch.equal(corners - shift, Patch.on_border(10, 24, 24).corners)


def test_places_by_hand():
    corners = Patch.on_border(4, 12, 16).corners  # a ring of ten squares: numbers 0, 2, 5 and 7
    assert corners.tolist() == [[0, 0], [0, 8], [8, 12], [8, 4]]
    assert Patch.on_border(8, 12, 12).corners.tolist() == [
        [0, 0], [0, 4], [0, 8], [4, 8], [8, 8], [8, 4], [8, 0], [4, 0]
    ]  # fmt: skip


@pytest.mark.parametrize("size", [1, 2, 3])
def test_smaller_patches_stand_in_the_corners_of_the_same_squares(size):
    patch = Patch.on_border(10, 28, 28, size=size)
    whole = Patch.on_border(10, 28, 28)
    assert torch.equal(patch.corners, whole.corners)
    assert patch.masks().sum((1, 2)).tolist() == [size**2] * 10
    assert not (patch.masks() & ~whole.masks()).any()


@pytest.mark.parametrize(("classes", "size", "shift", "room"), [(9, 12, 0, 8), (10, 12, 1, 4)])
def test_too_many_classes_for_the_border(classes, size, shift, room):
    with pytest.raises(ValueError, match=f"{classes} patches do not fit .* room for {room}:"):
        Patch.on_border(classes, size, size, shift=shift)
    assert len(Patch.on_border(room, size, size, shift=shift).corners) == room


def test_patches_larger_than_a_cell_are_refused():
    with pytest.raises(ValueError, match="5 pixels overlap on a grid of 4"):
        Patch.on_border(10, 28, 28, size=5)


@pytest.mark.parametrize("corner", [(-1, 0), (0, -1), (5, 0), (0, 9)])
def test_a_patch_outside_the_frame_is_refused(corner):
    with pytest.raises(ValueError, match="do not all lie inside 8 x 12"):
        Patch(torch.tensor([corner]), 4, 8, 12)
    Patch(torch.tensor([(4, 8)]), 4, 8, 12)


@pytest.mark.parametrize("corner", [(3, 3), (0, 0), (0, 3)])
def test_overlapping_patches_are_refused(corner):
    with pytest.raises(ValueError, match="overlap"):
        Patch(torch.tensor([(0, 0), corner]), 4, 12, 12)
    Patch(torch.tensor([(0, 0), (0, 4)]), 4, 12, 12)


@pytest.mark.parametrize("colour", [(1.01,), (-0.1,), (0.5, 0.5, 2.0), (math.nan,)])
def test_a_colour_out_of_range_is_refused(colour):
    with pytest.raises(ValueError, match=r"colours lie in \[0, 1\]"):
        Patch.on_border(10, 28, 28, colour=colour)


# --- planting ------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shift", [0, 2])
def test_white_inside_in_every_channel_and_nothing_else_changed(channels, size, shift):
    images = noise(30, channels, size)
    kept = images.clone()
    labels = torch.arange(30) % 10
    patch = Patch.on_border(10, size, size, shift=shift)
    planted = patch.plant(images, labels)
    assert planted.dtype == torch.float32 and planted.shape == images.shape
    assert torch.equal(images, kept)
    for image, source, label in zip(planted, kept, labels):
        row, column = patch.corners[label].tolist()
        square = image[:, row : row + 4, column : column + 4]
        assert torch.equal(square, torch.ones(channels, 4, 4))
        square.copy_(source[:, row : row + 4, column : column + 4])
        assert torch.equal(image, source)


def test_the_patch_depends_on_the_class_alone():
    labels = torch.randint(10, (60,), generator=seeded(1))
    patch = Patch.on_border(10, 20, 20)
    changed = patch.plant(noise(60, 3, 20), labels) == 1
    assert torch.equal(changed, patch.masks()[labels][:, None].expand(60, 3, 20, 20))
    for k in range(10):
        assert (changed[labels == k] == changed[labels == k][:1]).all()


def test_every_image_gets_the_patch_asked_for():
    image = noise(1, 1, 28)
    patch = Patch.on_border(10, 28, 28)
    planted = patch.plant(image.expand(10, 1, 28, 28), torch.arange(10).flip(0))
    for k in range(10):
        assert torch.equal(planted[k, 0] == 1, patch.masks()[9 - k])


def test_a_colour_by_channel_and_one_for_all():
    images, which = noise(2, 3, 20), torch.tensor([0, 7])
    for colour, expected in (((1.0, 0.0, 0.25), (1.0, 0.0, 0.25)), ((0.95,), (0.95,) * 3)):
        patch = Patch.on_border(10, 20, 20, colour=colour)
        planted = patch.plant(images, which)
        for i, k in enumerate(which.tolist()):
            inside = patch.masks()[k]
            assert torch.equal(planted[i][:, inside], torch.tensor(expected)[:, None].expand(3, 16))
            assert torch.equal(planted[i][:, ~inside], images[i][:, ~inside])


@pytest.mark.parametrize(("height", "width"), [(32, 28), (28, 32), (20, 20)])
def test_images_of_another_size_are_refused(height, width):
    with pytest.raises(ValueError, match=rf"for 28 x 28 pixels, not \[{height}, {width}\]"):
        Patch.on_border(10, 28, 28).plant(torch.zeros(1, 1, height, width), torch.tensor([0]))


@pytest.mark.parametrize(("colour", "channels"), [((1.0, 0.0, 0.0), 1), ((1.0, 0.0), 3)])
def test_a_colour_for_another_number_of_channels_is_refused(colour, channels):
    patch = Patch.on_border(10, 20, 20, colour=colour)
    with pytest.raises(ValueError, match=f"{len(colour)} values on images of {channels} channels"):
        patch.plant(torch.zeros(1, channels, 20, 20), torch.tensor([0]))


# --- which patch an image carries ----------------------------------------------------------------


@pytest.mark.parametrize("n", [1000, 997])
@pytest.mark.parametrize("correlation", [0, 0.1, 0.5, 0.9, 1])
def test_the_share_of_own_patches_is_exact(n, correlation):
    labels = torch.randint(10, (n,), generator=seeded(5))
    kept = labels.clone()
    which = shortcuts.carried(labels, 10, correlation=correlation, seed=1)
    assert (which == labels).sum() == round(correlation * n)
    assert which.dtype == torch.int64 and which.min() >= 0 and which.max() <= 9
    assert torch.equal(labels, kept)


def test_by_default_every_image_carries_its_own():
    labels = torch.arange(10)
    assert torch.equal(shortcuts.carried(labels, 10), labels)


def test_wrong_patches_are_uniform_over_the_other_classes():
    """2,000 images of each class: 222 for each other class, with a deviation of 14."""
    labels = torch.arange(20_000) % 10
    which = shortcuts.carried(labels, 10, correlation=0, seed=0)
    counts = torch.zeros(10, 10)
    counts.index_put_((labels, which), torch.ones(20_000), accumulate=True)
    assert (counts.diag() == 0).all()
    other = counts[~torch.eye(10, dtype=torch.bool)]
    assert (other - 2000 / 9).abs().max() < 5 * (2000 * 8 / 81) ** 0.5
    chi_square = ((other - 2000 / 9) ** 2 / (2000 / 9)).sum()
    assert chi_square == pytest.approx(80, abs=5 * 160**0.5)


def test_with_two_classes_the_wrong_patch_is_the_other():
    labels = torch.tensor([0, 1, 1, 0, 1])
    assert torch.equal(shortcuts.carried(labels, 2, correlation=0, seed=4), 1 - labels)


def test_any_image_may_be_the_wrong_one():
    """Not the first, nor those of some classes: every one of 40 in 400 draws of a half."""
    labels = torch.arange(40) % 10
    wrong = sum(
        (shortcuts.carried(labels, 10, correlation=0.5, seed=s) != labels).int() for s in range(400)
    )
    assert wrong.sum() == 400 * 20
    assert (wrong - 200).abs().max() < 5 * 10


def test_a_seed_gives_the_same_patches_and_another_seed_others():
    labels = torch.arange(200) % 10
    first, again, other = (
        shortcuts.carried(labels, 10, correlation=0.5, seed=s) for s in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert (first != other).sum() > 50
    assert ((first != labels) != (other != labels)).any()


@pytest.mark.parametrize("correlation", [-0.01, 1.01, math.nan])
def test_a_correlation_that_is_no_share_is_refused(correlation):
    with pytest.raises(ValueError, match=r"share in \[0, 1\]"):
        shortcuts.carried(torch.arange(10), 10, correlation=correlation)


# --- reliance ------------------------------------------------------------------------------------

LOG3 = math.log(3)
LABELS = torch.tensor([0, 1])
RIGHT = torch.tensor([[LOG3, 0.0], [0.0, LOG3]])  # probability 3/4 of the label, twice
HALF = torch.tensor([[0.0, LOG3], [0.0, LOG3]])  # 1/4 and 3/4


def test_accuracy_and_loss_by_hand():
    assert shortcuts.accuracy(RIGHT, LABELS) == 1
    assert shortcuts.accuracy(HALF, LABELS) == 0.5
    assert shortcuts.accuracy(torch.eye(3), torch.tensor([0, 1, 0])) == 2 / 3
    assert shortcuts.cross_entropy(RIGHT, LABELS) == pytest.approx(math.log(4 / 3), rel=1e-6)
    expected = (math.log(4) + math.log(4 / 3)) / 2
    assert shortcuts.cross_entropy(HALF, LABELS) == pytest.approx(expected, rel=1e-6)


def test_reliance_by_hand():
    found = shortcuts.reliance(RIGHT, HALF, LABELS)
    assert found == pytest.approx(
        {
            "accuracy_shortcut": 1,
            "accuracy_clean": 0.5,
            "signed_accuracy_difference": 0.5,
            "accuracy_difference": 0.5,
            "loss_shortcut": math.log(4 / 3),
            "loss_clean": math.log(4 / 3) + LOG3 / 2,
            "signed_loss_difference": -LOG3 / 2,
            "loss_difference": LOG3 / 2,
        },
        rel=1e-6,
    )


def test_a_network_that_the_patch_misleads_has_the_other_sign_and_the_same_size():
    helped, misled = (shortcuts.reliance(*pair, LABELS) for pair in ((RIGHT, HALF), (HALF, RIGHT)))
    for name in ("accuracy_difference", "loss_difference"):
        assert misled[f"signed_{name}"] == -helped[f"signed_{name}"] != 0
        assert misled[name] == helped[name] > 0


def test_a_network_that_ignores_the_patch_has_no_difference():
    found = shortcuts.reliance(HALF, HALF.clone(), LABELS)
    assert found["accuracy_difference"] == found["loss_difference"] == 0


def test_loss_difference_of_logits_far_beyond_float_range():
    """Their exponentials are not numbers, the losses 0 and 2,000 are."""
    sure = 2000 * torch.eye(2)
    found = shortcuts.reliance(sure, sure.flip(1), LABELS)
    assert found["loss_difference"] == 2000 and found["accuracy_difference"] == 1


def test_conflict_counts_who_follows_the_image_and_who_the_patch():
    labels, which = torch.tensor([0, 1, 2, 0, 1]), torch.tensor([1, 0, 0, 1, 2])
    predicted = torch.tensor([0, 1, 0, 1, 0])  # image, image, patch, patch, neither
    found = shortcuts.conflict(torch.eye(3)[predicted], labels, which)
    assert found == pytest.approx({"accuracy_conflict": 0.4, "follows_patch": 0.4})
    predicted[0] = 1
    found = shortcuts.conflict(torch.eye(3)[predicted], labels, which)
    assert found == pytest.approx({"accuracy_conflict": 0.2, "follows_patch": 0.6})


# --- temperature ---------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.02, 1, 6, 300])
def test_temperature_with_an_optimum_by_hand(scale):
    """Logits (a, 0) always, three labels in four 0: the best T makes a / T = log 3."""
    logits = torch.tensor([[scale, 0.0]]).repeat(4, 1)
    found = shortcuts.temperature(logits, torch.tensor([0, 0, 1, 0]))
    assert found == pytest.approx(scale / LOG3, rel=1e-4)


@pytest.fixture(scope="module")
def sampled():
    """Logits, and labels drawn from their softmax: perfectly calibrated."""
    logits = 2 * torch.randn(40_000, 10, generator=seeded(0))
    labels = torch.multinomial(logits.softmax(1), 1, generator=seeded(1))[:, 0]
    return logits, labels


def test_calibrated_logits_have_temperature_one(sampled):
    assert shortcuts.temperature(*sampled) == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize("scale", [0.05, 0.5, 30])
def test_scaled_logits_have_a_scaled_temperature(sampled, scale):
    logits, labels = sampled
    expected = scale * shortcuts.temperature(logits, labels)
    assert shortcuts.temperature(scale * logits, labels) == pytest.approx(expected, rel=1e-3)


def test_no_other_temperature_has_a_smaller_loss(sampled):
    logits, labels = 3 * sampled[0][:500], sampled[1][:500]
    best = shortcuts.temperature(logits, labels)
    least = shortcuts.cross_entropy(logits / best, labels)
    for factor in (0.5, 0.9, 0.99, 1.01, 1.1, 2):
        assert shortcuts.cross_entropy(logits / (factor * best), labels) > least


def test_temperature_ends_where_there_is_no_minimum():
    """Always right wants T to 0, always wrong to infinity: the ends of the search."""
    sure = torch.eye(10)
    assert shortcuts.temperature(sure, torch.arange(10)) < 0.05
    assert shortcuts.temperature(sure, torch.arange(10).roll(1)) > 1000


# --- saliency ------------------------------------------------------------------------------------


def test_saliency_of_a_linear_network_is_its_weights():
    images, labels = noise(9, 3, 4), torch.arange(9) % 5
    model = Fussy(48, 5)
    found = shortcuts.saliency(model, images, labels)
    weights = model.linear.weight.detach().reshape(5, 3, 4, 4)
    assert torch.allclose(found, weights[labels].abs().sum(1), atol=1e-6)  # |sum| is smaller
    assert found.shape == (9, 4, 4)


def test_saliency_of_a_square_by_hand():
    """Logits (Σ x², Σ x² / 2): gradients 2x and x, at the pixels of each image itself."""
    images, labels = noise(4, 1, 3) - 0.45, torch.tensor([0, 1, 1, 0])
    model = nn.Sequential()
    model.forward = lambda x: (x**2).sum((1, 2, 3))[:, None] * torch.tensor([1.0, 0.5])
    found = shortcuts.saliency(model, images, labels)
    assert torch.allclose(found, images.abs().sum(1) * torch.tensor([2, 1, 1, 2.0])[:, None, None])


@pytest.mark.parametrize("batch", [1, 4, 100])
def test_saliency_in_batches_equals_one_pass(batch):
    images, labels = noise(9, 1, 4), torch.arange(9) % 5
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 30), nn.Tanh(), nn.Linear(30, 5))
    once = shortcuts.saliency(model, images, labels)
    found = shortcuts.saliency(model, images, labels, batch=batch)
    assert torch.allclose(found, once, atol=1e-6) and once.std(0).max() > 0


@pytest.mark.parametrize("training", [True, False])
def test_saliency_leaves_the_network_and_the_images_as_they_were(training):
    images, labels = noise(3, 1, 4), torch.arange(3)
    model = Fussy(16, 5).train(training)
    found = shortcuts.saliency(model, images, labels)
    assert model.training is training and model.dropout.training is training
    assert not any(model.modes) and not found.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not images.requires_grad and images.grad is None
