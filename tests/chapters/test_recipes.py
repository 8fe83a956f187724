"""Recipes: what each changes, by two routes or by hand, on a few digits."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from chapters import recipes, two_classes
from chapters.recipes import Recipe
from lib.losses import NonFiniteLoss

SHORT = {"width": 20, "held_out": 40}


def victim(recipe: Recipe | str = "plain", n: int = 6, steps: int = 12, **more) -> recipes.Victim:
    how = recipes.named(recipe) if isinstance(recipe, str) else recipe
    return recipes.victim("digits", n, 0, replace(how, steps=steps), **{**SHORT, **more})


def first(network: nn.Module) -> torch.Tensor:
    return recipes.layers(network)[0].weight.detach().flatten(1)


# --- recipes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", recipes.KNOWN)
def test_every_recipe_gives_a_network_of_one_output(name):
    of = victim(name)
    published = recipes.publish(of.network, recipes.named(name), seed=0)
    x = of.held_out.images - of.mean
    with torch.no_grad():
        outputs = published(x)
    assert outputs.shape == (len(x),) and torch.isfinite(outputs).all()
    assert not published.training and (first(of.network) - of.start[0][0].flatten(1)).any()
    assert (of.epsilon < float("inf")) == name.startswith("DP-SGD")


def test_unknown_recipes_are_said():
    with pytest.raises(ValueError, match="unknown recipe 'stripes', known: plain"):
        recipes.named("stripes")


def test_what_is_done_after_training_shares_the_trained_network():
    assert victim("plain") is victim("8 bits") is victim("noise as strong")
    assert victim("convolution") is victim("behind a convolution")


def test_wrong_labels_are_as_many_as_asked_for():
    of = victim("label noise", n=10)
    assert (of.signs != 2.0 * of.training.labels - 1).sum() == 2
    assert torch.equal(victim(n=10).signs, 2.0 * of.training.labels - 1)


# --- training -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["plain", "full batch", "default initialisation", "batch norm"])
def test_training_in_the_span_takes_the_same_steps(name):
    how = replace(recipes.named(name), steps=25, lr=0.05, batch=3)
    assert recipes.stays_in_span(how)
    training, _ = two_classes.task("digits", 6, 0, None, 40)
    x, signs, _ = two_classes.centred(training)
    whole, small = (recipes.build(how, (1, 8, 8), 20, seed=1) for _ in range(2))
    recipes.fit(whole, x, signs, how, seed=2)
    recipes.in_span(small, x, lambda z: recipes.fit(small, z, signs, how, seed=2))
    for a, b in zip(whole.state_dict().values(), small.state_dict().values()):
        assert torch.allclose(a.double(), b.double(), atol=2e-4)
    assert (first(whole) - first(recipes.build(how, (1, 8, 8), 20, seed=1))).abs().max() > 1e-3


def outside(of: recipes.Victim) -> float:
    """Share of the change of the first layer that is no mixture of the training images."""
    change = first(of.network) - of.start[0][0].flatten(1)
    x = (of.training.images - of.mean).flatten(1)
    inside = torch.linalg.lstsq(x.T, change.T).solution.T @ x
    return ((change - inside).norm() / change.norm()).item()


@pytest.mark.parametrize("name", ["plain", "default initialisation", "fine-tuned", "label noise"])
def test_the_change_is_a_mixture_of_the_training_images(name):
    assert outside(victim(name)) < 1e-3


@pytest.mark.parametrize("name", ["Adam", "augmentation", "DP-SGD, noise 0.5"])
def test_of_some_recipes_it_is_not(name):
    assert not recipes.stays_in_span(recipes.named(name)) and outside(victim(name)) > 0.01


def test_a_loss_that_is_not_finite_is_said_with_its_step():
    with pytest.raises(NonFiniteLoss, match="at step"):
        victim(Recipe(lr=1e20), steps=40)


def test_early_stopping_keeps_the_weights_of_the_lowest_loss():
    network = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Flatten(0))
    watch = recipes.Patience(network, torch.ones(2, 1), torch.ones(2))
    stopped = []
    for weight in [1.0, 3.0, *[2.0] * 30]:
        nn.init.constant_(network[0].weight, weight)
        stopped.append(watch())
    assert watch.kept["0.weight"].item() == 3.0
    assert stopped == [False] * 31 + [True]


def test_early_stopping_is_judged_on_other_images_than_it_stops_by():
    of, plain = victim("early stopping"), victim("plain")
    mine, all_of_them = (
        {image.numpy().tobytes() for image in v.held_out.images} for v in (of, plain)
    )
    assert len(of.held_out) == 20 and mine < all_of_them


# --- images ---------------------------------------------------------------------------------------


def test_augmented_images_are_shifts_of_the_image_or_its_mirror():
    x = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    found = recipes.augmented(x, torch.Generator().manual_seed(1))
    seen = set()
    for image, made in zip(x, found):
        ways = {
            (flip, dy, dx)
            for flip in (False, True)
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
            if torch.equal(made, shifted(image.flip(-1) if flip else image, dy, dx))
        }
        assert len(ways) == 1
        seen |= ways
    assert len(seen) > 10


def shifted(image: torch.Tensor, dy: int, dx: int) -> torch.Tensor:
    """out[y, x] = image[y + dy, x + dx], 0 outside."""
    out = torch.zeros_like(image)
    for y in range(8):
        for x in range(8):
            if 0 <= y + dy < 8 and 0 <= x + dx < 8:
                out[:, y, x] = image[:, y + dy, x + dx]
    return out


def test_a_public_network_never_saw_the_two_classes():
    mine, strangers, others = recipes.private_task("digits", 6, 0, None, 40, "cpu")
    assert mine.classes == ("8", "9") == strangers.classes
    assert others.classes == tuple("01234567") and others.labels.unique().tolist() == [*range(8)]
    seen = {image.numpy().tobytes() for image in others.images}
    assert not seen & {image.numpy().tobytes() for image in mine.images}
    assert len(mine) == 6 and len(strangers) == 40


def test_without_other_classes_there_is_no_public_network(tmp_path):
    from PIL import Image

    for split in ("train", "test"):
        for k, name in enumerate(("left", "right")):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for i in range(6):
                Image.new("L", (8, 8), 40 * i + k).save(folder / f"{i}.png")
    with pytest.raises(ValueError, match="has 2 classes: a public network needs two others"):
        recipes.private_task(str(tmp_path), 2, 0, None, 2, "cpu")


# --- layers ---------------------------------------------------------------------------------------


def test_patches_times_kernels_are_the_convolution():
    network = recipes.build(Recipe(convolution=True), (3, 16, 16), 5, seed=0)
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    patches = recipes.entering(network, 0, x)
    weight, bias = network.convolution.weight, network.convolution.bias
    product = patches.flatten(2) @ weight.flatten(1).T + bias
    assert torch.allclose(product.mT.reshape(2, 32, 8, 8), network.convolution(x), atol=1e-5)
    assert recipes.entering(network, 1, x).shape == (2, 1, 32, 8, 8)
    assert recipes.layers(network)[1].in_features == 32 * 8 * 8


@pytest.mark.parametrize("side", [8, 28, 32])
def test_a_convolution_fits_every_image(side):
    network = recipes.build(Recipe(convolution=True), (1, side, side), 5, seed=0)
    assert network(torch.zeros(2, 1, side, side)).shape == (2,)


def test_what_enters_a_fully_connected_layer_is_the_image():
    network = recipes.build(Recipe(), (1, 8, 8), 5, seed=0)
    x = torch.rand(3, 1, 8, 8)
    assert torch.equal(recipes.entering(network, 0, x)[:, 0], x)


# --- publishing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [4, 8])
def test_rounded_weights_have_so_many_values_and_lie_within_half_a_step(bits):
    network = recipes.build(Recipe(first_std=None), (1, 8, 8), 30, seed=0)
    before = first(network).clone()
    rounded = first(recipes.publish(network, Recipe(bits=bits), seed=0))
    step = before.abs().max() / (2 ** (bits - 1) - 1)
    assert len(rounded.unique()) <= 2**bits - 1
    assert (rounded - before).abs().max() <= 0.501 * step
    assert torch.equal(first(network), before)


def test_noise_is_as_strong_as_was_asked_for():
    network = recipes.build(Recipe(first_std=None), (1, 8, 8), 30, seed=0)
    noisy = recipes.publish(network, Recipe(noise=0.3), seed=0)
    assert (first(noisy) - first(network)).norm() / first(network).norm() == pytest.approx(
        0.3, 1e-4
    )
    assert torch.equal(noisy.layers[1].weight, network.layers[1].weight)


def test_accuracy_by_hand():
    network = nn.Flatten(0)
    x = torch.tensor([[1.0], [-1.0], [2.0], [0.0]])
    assert recipes.accuracy(network, x, torch.tensor([1.0, 1.0, 1.0, 1.0])) == 0.5
