"""Training on mini-batches: the steps of Adam, the order of the images, what is refused."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lib import data
from lib.losses import NonFiniteLoss
from lib.models import CNN, MLP, ViT
from lib.train import fit, native_bfloat16


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Recorder(nn.Module):
    """A network that keeps every batch it was given while it was trained."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.seen = []

    def forward(self, x):
        self.seen.append(x.detach().clone())
        return self.network(x)


class Oracle(nn.Module):
    """Reads the label off the only pixel, x mod 3, and is sure of it: its loss is nearly zero."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(20.0))

    def forward(self, x):
        return self.scale * F.one_hot(x.flatten().long() % 3, 3)


def numbered(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images of one pixel whose value is their position, labels position mod 3."""
    return torch.arange(n).float().reshape(n, 1, 1, 1), torch.arange(n) % 3


def linear(inputs: int = 1, outputs: int = 3) -> nn.Module:
    return MLP(inputs, (8,), outputs, first_std=None, generator=seeded(0))


@pytest.fixture(scope="module")
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    whole = data.load("digits")
    return 2 * whole.images - 1, whole.labels


NETWORKS = {
    "MLP": lambda: MLP(64, (64, 64), 10, first_std=None, homogeneous=False, generator=seeded(0)),
    "CNN": lambda: CNN(1, 8, generator=seeded(0)),
    "ViT": lambda: ViT(1, 8, dim=32, generator=seeded(0)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_loss_falls_on_digits(digits, name):
    losses = fit(NETWORKS[name](), *digits, steps=80, lr=3e-3, batch=64)
    assert len(losses) == 80
    assert losses[0] == pytest.approx(math.log(10), abs=0.3)
    assert np.mean(losses[-10:]) < 0.5 * losses[0]


@pytest.mark.parametrize("name", ["MLP", "CNN"])
def test_steps_are_those_of_adam_by_hand(digits, name):
    """β = (0.9, 0.999) and ε = 1e-8 as in Kingma & Ba, on the batches that the network saw."""
    images, labels = digits
    model = Recorder(NETWORKS[name]())
    by_hand = copy.deepcopy(model.network)
    losses = fit(model, images, labels, steps=3, lr=1e-3, batch=50)
    parameters = list(by_hand.parameters())
    first, second = ([torch.zeros_like(p) for p in parameters] for _ in range(2))
    for step, x in enumerate(model.seen, 1):
        y = labels[(x[:, None] == images[None]).flatten(2).all(2).int().argmax(1)]
        loss = -by_hand(x).log_softmax(1)[torch.arange(50), y].mean()
        gradients = torch.autograd.grad(loss, parameters)
        assert losses[step - 1] == pytest.approx(loss.item(), rel=1e-4)
        with torch.no_grad():
            for p, g, m, v in zip(parameters, gradients, first, second):
                m.mul_(0.9).add_(0.1 * g)
                v.mul_(0.999).add_(0.001 * g**2)
                p -= 1e-3 * (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)).sqrt() + 1e-8)
    for ours, theirs in zip(model.network.parameters(), parameters):
        # a gradient of rounding size may change its sign: Adam then steps the other way
        off = (ours - theirs).abs()
        assert (off < 1e-7).float().mean() > 0.95 and off.max() < 6.1e-3


def test_every_epoch_is_a_permutation_without_its_incomplete_batch():
    images, labels = numbered(10)
    model = Recorder(linear())
    fit(model, images, labels, steps=40, lr=1e-3, batch=4, seed=3)
    assert [len(x) for x in model.seen] == [4] * 40
    epochs = [torch.cat(model.seen[i : i + 2]).flatten().tolist() for i in range(0, 40, 2)]
    assert all(len(set(epoch)) == 8 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 20
    left_out = {value for epoch in epochs for value in set(range(10)) - set(epoch)}
    assert left_out == set(range(10))


def test_every_image_keeps_its_label():
    images, labels = numbered(30)
    right = fit(Oracle(), images, labels, steps=12, lr=1e-6, batch=7)
    wrong = fit(Oracle(), images, labels.roll(1), steps=12, lr=1e-6, batch=7)
    assert max(right) < 1e-6 and min(wrong) > 10


@pytest.mark.parametrize("batch", [10, 11, 1000])
def test_a_batch_larger_than_the_set_is_the_whole_set(batch):
    images, labels = numbered(10)
    model = Recorder(linear())
    assert len(fit(model, images, labels, steps=5, lr=1e-3, batch=batch)) == 5
    assert all(x.flatten().sort().values.tolist() == list(range(10)) for x in model.seen)


def test_a_seed_gives_the_same_training_and_another_seed_another(digits):
    models = [NETWORKS["CNN"]() for _ in range(3)]
    losses = [
        fit(model, *digits, steps=8, lr=1e-3, batch=64, seed=s)
        for model, s in zip(models, (3, 3, 4))
    ]
    assert losses[0] == losses[1] != losses[2]
    for a, b, c in zip(*(model.parameters() for model in models)):
        assert torch.equal(a, b) and not torch.equal(a, c)


def test_training_does_not_depend_on_the_global_random_state(digits):
    losses = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        losses.append(fit(NETWORKS["MLP"](), *digits, steps=5, lr=1e-3))
    assert losses[0] == losses[1]


def test_observe_sees_the_start_and_the_model_after_its_steps(digits):
    images, labels = digits
    seen = {}

    def observe(step, model):
        seen[step] = [parameter.detach().clone() for parameter in model.parameters()]

    model = NETWORKS["MLP"]()
    start = copy.deepcopy(model)
    fit(model, images, labels, steps=7, lr=1e-3, observe=observe, observe_at={7, 3, 0, 1, 50})
    assert list(seen) == [0, 1, 3, 7]
    shorter = copy.deepcopy(start)
    fit(shorter, images, labels, steps=3, lr=1e-3)
    for network, step in ((start, 0), (shorter, 3), (model, 7)):
        for ours, theirs in zip(network.parameters(), seen[step], strict=True):
            assert torch.equal(ours, theirs)


def test_watching_changes_nothing(digits):
    def observe(step, model):
        with torch.no_grad():
            model(digits[0])

    watched = fit(
        NETWORKS["CNN"](), *digits, steps=5, lr=1e-3, observe=observe, observe_at=range(6)
    )
    assert watched == fit(NETWORKS["CNN"](), *digits, steps=5, lr=1e-3)


@pytest.mark.parametrize("seed", range(6))
def test_a_non_finite_loss_names_its_step(seed):
    """One image in 250, one image a step: the step at which it comes is known."""
    images, labels = numbered(250)
    images[17] = math.nan
    model = Recorder(linear())
    with pytest.raises(NonFiniteLoss, match="lower the learning rate") as caught:
        fit(model, images / 250, labels, steps=250, lr=1e-3, batch=1, seed=seed)
    bad = [i for i, x in enumerate(model.seen, 1) if x.isnan().any()]
    assert f"step {bad[0]}:" in str(caught.value)
    assert bad[0] <= len(model.seen) < bad[0] + 100


def test_a_learning_rate_without_limits_is_noticed(digits):
    with pytest.raises(NonFiniteLoss, match=r"at step ([2-9]|10): lower the learning rate"):
        fit(NETWORKS["MLP"](), *digits, steps=10, lr=1e30)


def test_unknown_precisions_are_refused(digits):
    with pytest.raises(ValueError, match="'float16', known: float32, bfloat16"):
        fit(NETWORKS["MLP"](), *digits, steps=1, lr=1e-3, precision="float16")


@pytest.mark.parametrize(("steps", "n"), [(0, 5), (-1, 5), (3, 0)])
def test_nothing_to_train_is_an_error(digits, steps, n):
    with pytest.raises(ValueError, match=f"{steps} steps on {n} images"):
        fit(NETWORKS["MLP"](), digits[0][:n], digits[1][:n], steps=steps, lr=1e-3)


@pytest.mark.parametrize("name", NETWORKS)
def test_bfloat16_keeps_float32_weights_and_comes_close(digits, name):
    runs = {}
    for precision, kind in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        model = Recorder(NETWORKS[name]())
        losses = fit(model, *digits, steps=60, lr=3e-3, batch=64, precision=precision)
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        assert {x.dtype for x in model.seen} == {kind}
        runs[precision] = np.array(losses)
    assert (runs["float32"] != runs["bfloat16"]).any()
    assert runs["bfloat16"][:3] == pytest.approx(runs["float32"][:3], rel=0.02)
    ends = {precision: losses[-15:].mean() for precision, losses in runs.items()}
    assert ends["bfloat16"] == pytest.approx(ends["float32"], rel=0.15)
    assert ends["bfloat16"] < 0.6 * runs["bfloat16"][0]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_images_and_labels_stay_as_they_were(digits, precision):
    images, labels = (part.clone() for part in digits)
    fit(NETWORKS["CNN"](), images, labels, steps=3, lr=1e-3, precision=precision)
    assert torch.equal(images, digits[0]) and torch.equal(labels, digits[1])
    assert images.is_contiguous() and images.dtype == torch.float32 and images.grad is None


def test_whether_bfloat16_is_native_follows_the_processor(monkeypatch):
    def claims(**capabilities):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
        return native_bfloat16("cpu")

    assert claims(avx512_bf16=True) is claims(amx_bf16=True, avx512_bf16=False) is True
    assert claims(avx2=True) is claims() is claims(avx512_bf16=False, amx_bf16=False) is False
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert native_bfloat16() is False
