"""The nine terms of the reconstruction loss, and the norms of gradients."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lib import likeness, models
from lib.generator import Conditions, Generator
from lib.inversion import Batch, invert

DOUBLE = torch.float64


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int = 4, channels: int = 1, size: int = 8, seed: int = 0) -> torch.Tensor:
    return 2 * torch.rand(n, channels, size, size, generator=random(seed)) - 1


NETWORKS = {
    "regularised CNN": lambda: models.RegularisedCNN(1, 8, 3, width=4, hidden=6),
    "CNN": lambda: models.CNN(1, 8, 3, generator=random(1)),
    "MLP": lambda: models.MLP(64, (7, 5), 3, first_std=None, homogeneous=False),
    "ViT": lambda: models.ViT(1, 8, 3, dim=8, heads=2),
    "circular": lambda: models.CNN(1, 8, 3, padding="circular", generator=random(1)),
}


@pytest.fixture(params=NETWORKS)
def classifier(request) -> nn.Module:
    torch.manual_seed(0)
    network = NETWORKS[request.param]().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # as after training
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 2)
    return network


def one_by_one(network: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    norms = []
    for image, label in zip(x, y):
        loss = F.cross_entropy(network(image[None]), label[None])
        found = torch.autograd.grad(loss, list(network.parameters()), create_graph=True)
        norms.append(sum(g.square().sum() for g in found).sqrt())
    return torch.stack(norms)


# --- priors -------------------------------------------------------------------------------------


def test_variation_is_the_sum_written_out():
    x = images(3, channels=2, size=4)
    total = 0.0
    for image in x:
        for channel in image:
            for h in range(4):
                for w in range(4):
                    total += (channel[h + 1, w] - channel[h, w]).item() ** 2 if h < 3 else 0
                    total += (channel[h, w + 1] - channel[h, w]).item() ** 2 if w < 3 else 0
    assert likeness.variation(x).item() == pytest.approx(total / 3, rel=1e-5)
    assert likeness.variation(torch.ones(2, 3, 4, 4)) == 0


def test_pixels_outside_the_range_count_by_how_far():
    x = torch.tensor([-0.5, 0.0, 0.3, 1.0, 1.25, 3.0]).reshape(2, 1, 1, 3)
    assert likeness.outside_range(x).item() == pytest.approx((0.5 + 0.25 + 2) / 2)
    assert likeness.outside_range((images() + 1) / 2) == 0


# --- perturbation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("uphill", [None, lambda x: x.flatten(1).square().sum(1)])
def test_no_pixel_moves_farther_than_the_radius_or_out_of_the_range(uphill):
    x = images()
    moved = likeness.perturbed(x, 0.1, uphill=uphill)
    assert (moved - x).abs().max() <= 0.1 + 1e-6
    assert moved.abs().max() <= 1
    inside = x.abs() < 0.9
    torch.testing.assert_close((moved - x)[inside].abs(), torch.full_like(x[inside], 0.1))


def test_an_adversarial_step_raises_the_loss_more_than_a_random_one(classifier):
    x, y = images(16), torch.arange(16) % 3

    def loss(some):
        return F.cross_entropy(classifier(some), y, reduction="none")

    torch.manual_seed(0)
    drawn = loss(likeness.perturbed(x, 0.05))
    stepped = loss(likeness.perturbed(x, 0.05, uphill=loss))
    assert stepped.mean() > max(drawn.mean(), loss(x).mean())


def test_gradients_pass_through_a_perturbation():
    x = (0.5 * images()).requires_grad_()
    likeness.perturbed(x, 0.1, uphill=lambda some: some.flatten(1).sum(1)).sum().backward()
    torch.testing.assert_close(x.grad, torch.ones_like(x))


# --- gradients ------------------------------------------------------------------------------------


def test_norms_are_those_of_the_images_one_by_one(classifier):
    x, y = images(), torch.tensor([0, 1, 2, 0])
    found = likeness.weight_gradient_norms(classifier, x, y)
    torch.testing.assert_close(found, one_by_one(classifier, x, y), rtol=1e-4, atol=1e-6)


def test_norms_teach_their_images_as_autograd_would(classifier):
    x, y = images().requires_grad_(), torch.tensor([0, 1, 2, 0])
    (wanted,) = torch.autograd.grad(one_by_one(classifier, x, y).sum(), x)
    (found,) = torch.autograd.grad(likeness.weight_gradient_norms(classifier, x, y).sum(), x)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-5)


def test_a_batch_has_a_smaller_gradient_than_its_images(classifier):
    x, y = images(), torch.tensor([0, 1, 2, 0])
    whole = likeness.batch_gradient_norm(classifier, x, y)
    assert 0 < whole < likeness.weight_gradient_norms(classifier, x, y).mean()
    one = likeness.weight_gradient_norms(classifier, x[:1], y[:1])[0]
    torch.testing.assert_close(likeness.batch_gradient_norm(classifier, x[:1], y[:1]), one)


def test_images_that_explain_the_weights_are_stationary():
    """For a linear classifier the gradient of one image is known in closed form."""
    x, y = images(1).flatten(1), torch.tensor([1])
    network = nn.Linear(64, 2, bias=False)
    network.weight.data = 0.01 * torch.stack([-x[0], x[0]])
    assert likeness.misalignment(network, x, y).item() == pytest.approx(0, abs=1e-5)
    network.weight.data.neg_()
    assert likeness.misalignment(network, x, y).item() == pytest.approx(2, abs=1e-5)


@pytest.mark.parametrize("of", ["output", "probability", "loss"])
def test_input_gradients_agree_with_finite_differences(classifier, of):
    classifier.double()
    x, y = images().to(DOUBLE), torch.tensor([0, 1, 2, 0])
    found = likeness.input_gradient_norms(classifier, x, y, of=of)

    def value(some):
        logits = classifier(some)
        if of == "loss":
            return F.cross_entropy(logits, y, reduction="none")
        return (logits if of == "output" else logits.softmax(1)).gather(1, y[:, None])[:, 0]

    slopes = torch.zeros(4, 64, dtype=DOUBLE)
    for pixel in range(64):
        step = torch.zeros(64, dtype=DOUBLE)
        step[pixel] = 1e-6
        step = step.reshape(1, 1, 8, 8)
        slopes[:, pixel] = (value(x + step) - value(x - step)) / 2e-6
    torch.testing.assert_close(found, slopes.norm(dim=1), rtol=1e-4, atol=1e-8)


def test_gradients_of_something_else_are_refused(classifier):
    with pytest.raises(ValueError, match="gradients of 'logits'; known: 'output'"):
        likeness.input_gradient_norms(classifier, images(), torch.arange(4) % 3, of="logits")


# --- the loss -------------------------------------------------------------------------------------


def batch_for(network: nn.Module, x: torch.Tensor) -> Batch:
    labels = torch.arange(len(x)) % 3
    hot = F.one_hot(labels, 3).float()

    def look(some):
        logits = network(some)
        return logits, logits

    return Batch(x, Conditions(labels, hot, hot[:, None]), *look(x), look)


def test_a_term_without_weight_is_not_computed(classifier):
    loss = likeness.ReconstructionLoss(classifier)
    terms = loss(batch_for(classifier, images(6)), {"ce": 1.0, "gradient": 0.0})
    named = dict(zip(loss.names, terms.tolist()))
    assert named.pop("ce") > 0
    assert set(named.values()) == {0.0}


def test_hot_vectors_make_divergence_and_cross_entropy_one_term(classifier):
    loss = likeness.ReconstructionLoss(classifier)
    weights = dict.fromkeys(("kl", "ce", "perturbed_kl", "perturbed_ce"), 1.0)
    named = dict(zip(loss.names, loss(batch_for(classifier, images(6)), weights).tolist()))
    assert named["kl"] == pytest.approx(named["ce"], rel=1e-5)
    assert named["perturbed_kl"] == pytest.approx(named["perturbed_ce"], rel=1e-5)
    assert named["perturbed_ce"] != named["ce"]


@pytest.mark.parametrize("name", [*likeness.TERMS, likeness.STATIONARITY])
def test_every_term_alone_teaches_a_generator(name):
    """But for the pixels', which is 0 for a generator that ends in tanh."""
    torch.manual_seed(0)
    classifier = NETWORKS["regularised CNN"]().eval()
    generator = Generator(3, 1, 8, width=4, vector="hot")
    before = [p.clone() for p in generator.parameters()]
    history = invert(
        classifier,
        generator,
        steps=2,
        weights={name: 1.0},
        batch=6,
        observed=6,
        objective=likeness.ReconstructionLoss(classifier, perturbation="adversarial"),
    )
    moved = any(not torch.equal(a, b) for a, b in zip(before, generator.parameters()))
    assert moved == (name != "pixels")
    assert (history[name][-1] == 0) == (name == "pixels")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"perturbation": "pgd"}, "'pgd' is not one of 'random', 'adversarial'"),
        ({"gradient": "mean"}, "'mean' is not one of 'single images', 'batch'"),
        ({"radius": 0}, "a share of the pixels' range, not 0"),
    ],
)
def test_unknown_switches_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        likeness.ReconstructionLoss(nn.Identity(), **wrong)
