"""The logistic loss far beyond float range, the two kinds of full-batch steps, mini-batches."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lib import data
from lib.models import CNN, MLP, ViT
from lib.train import (
    LARGEST_MARGIN,
    NonFiniteLoss,
    fit,
    fit_margin,
    fit_margin_in_span,
    log_logistic_loss,
    margins,
    native_bfloat16,
)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def problem():
    """Ten points in four dimensions, a small network and labels that it can learn."""
    model = MLP(4, (30, 20), first_std=0.1, generator=seeded(0), dtype=torch.float64)
    x = torch.randn(10, 4, generator=seeded(1), dtype=torch.float64)
    signs = torch.where(x[:, 0] > 0, 1.0, -1.0).double()
    return model, x, signs


def test_margins_are_the_labelled_outputs(problem):
    model, x, signs = problem
    assert torch.equal(margins(model, x, signs), model(x) * signs)


@pytest.mark.parametrize("scale", [0.1, 5, 14, 30, 300])
def test_log_loss_equals_the_naive_one_at_moderate_margins(scale):
    q = scale * torch.randn(50, generator=seeded(0), dtype=torch.float64)
    q = torch.cat([q, torch.tensor([15 - 1e-9, 15, 15 + 1e-9], dtype=torch.float64)])
    naive = torch.log1p(torch.exp(-q)).mean().log()
    assert log_logistic_loss(q).item() == pytest.approx(naive.item(), rel=1e-9)


def test_log_loss_of_three_margins_by_hand():
    q = torch.tensor([0.0, math.log(3.0), -math.log(2.0)], dtype=torch.float64)
    by_hand = math.log((math.log(2) + math.log(4 / 3) + math.log(3)) / 3)
    assert log_logistic_loss(q).item() == pytest.approx(by_hand, rel=1e-14)


@pytest.mark.parametrize(("dtype", "precision"), [(torch.float32, 1e-3), (torch.float64, 1e-11)])
def test_log_loss_and_gradient_at_margins_of_ten_thousand(dtype, precision):
    """There the loss is Σ exp(-qᵢ)/n, so the gradient is minus a softmax of -q.

    In float32 the loss itself, near -10,000, is only known to 1e-3.
    """
    q = torch.tensor([1e4, 1e4 + 1, 1e4 + 2, 3e4], dtype=dtype, requires_grad=True)
    loss = log_logistic_loss(q)
    (gradient,) = torch.autograd.grad(loss, q)
    expected = -1e4 + math.log((1 + math.exp(-1) + math.exp(-2)) / 4)
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert torch.allclose(gradient, -torch.softmax(-q.detach(), 0), rtol=precision)


def test_gradient_crosses_the_switch_between_the_two_formulas():
    q = torch.tensor([14.999, 15.001, 3.0, -8.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(log_logistic_loss, q, atol=1e-6)


def test_log_loss_of_very_wrong_margins():
    q = torch.tensor([-1e4, 5.0])
    assert log_logistic_loss(q).item() == pytest.approx(math.log(5e3), rel=1e-6)


def test_constant_steps_are_plain_gradient_descent(problem):
    model, x, signs = problem
    by_hand = copy.deepcopy(model)
    history = fit_margin(model, x, signs, epochs=20, steps="constant", lr=0.3)
    losses = []
    for _ in range(20):
        by_hand.zero_grad()
        F.softplus(-signs * by_hand(x)).mean().backward()
        with torch.no_grad():
            for parameter in by_hand.parameters():
                parameter -= 0.3 * parameter.grad
            losses.append(F.softplus(-signs * by_hand(x)).mean().item())
    for ours, theirs in zip(model.parameters(), by_hand.parameters()):
        assert torch.allclose(ours, theirs, rtol=1e-11, atol=1e-13)
    assert [math.exp(v) for v in history["log_loss"]] == pytest.approx(losses, rel=1e-12)
    assert losses[-1] < losses[0]
    assert set(history["lr"]) == {0.3}


def test_one_loss_scaled_step_is_a_constant_step_over_the_loss(problem):
    model, x, signs = problem
    other = copy.deepcopy(model)
    loss = F.softplus(-signs * model(x)).mean().item()
    fit_margin(model, x, signs, epochs=1, lr=0.1, grow=1.0)
    fit_margin(other, x, signs, epochs=1, steps="constant", lr=0.1 / loss)
    for a, b in zip(model.parameters(), other.parameters()):
        assert torch.allclose(a, b, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("patience", [1, 4])
def test_the_loss_stays_below_the_last_few(problem, patience):
    model, x, signs = problem
    history = fit_margin(
        model, x, signs, epochs=300, lr=0.05, grow=1.2, shrink=0.5, patience=patience
    )
    loss = history["log_loss"]
    for i in range(patience, len(loss)):
        worst = max(loss[i - patience : i])
        assert loss[i] <= worst + 1e-6 * abs(worst)
    rises = [b > a + 1e-6 * abs(a) for a, b in zip(loss[:-1], loss[1:])]
    assert any(rises) == (patience > 1)
    ratios = [b / a for a, b in zip(history["lr"][:-1], history["lr"][1:])]
    assert max(ratios) == pytest.approx(1.2) and min(ratios) < 1


def test_a_network_that_used_to_blow_up_keeps_its_margin():
    x = torch.randn(6, 20, generator=torch.Generator().manual_seed(1))
    signs = torch.tensor([1.0, -1.0] * 3)
    model = MLP(20, (30, 20), first_std=1e-3, generator=torch.Generator().manual_seed(0))
    history = fit_margin(model, x, signs, epochs=600)
    assert history["smallest_margin"][-1] > 0
    assert all(math.isfinite(value) for value in history["log_loss"])
    assert margins(model, x, signs).abs().max() < LARGEST_MARGIN


def test_loss_scaled_steps_go_far_beyond_constant_ones(problem):
    model, x, signs = problem
    other = copy.deepcopy(model)
    scaled = fit_margin(model, x, signs, epochs=1500)
    constant = fit_margin(other, x, signs, epochs=1500, steps="constant")
    assert scaled["smallest_margin"][-1] > 1000
    assert scaled["smallest_margin"][-1] > 100 * constant["smallest_margin"][-1]
    assert scaled["log_loss"][-1] < -1000  # exp of it is zero even in float64


def test_history_has_one_value_after_each_step(problem):
    model, x, signs = problem
    history = fit_margin(model, x, signs, epochs=7)
    assert {len(values) for values in history.values()} == {7}
    assert history["smallest_margin"][-1] == margins(model, x, signs).min().item()
    assert set(history) == {"log_loss", "smallest_margin", "lr"}


def test_observe_sees_the_model_after_its_epochs(problem):
    model, x, signs = problem
    seen = []
    history = fit_margin(
        model,
        x,
        signs,
        epochs=10,
        observe=lambda epoch, m: seen.append((epoch, margins(m, x, signs).min().item())),
        observe_at={1, 4, 9, 10, 50},
    )
    assert [epoch for epoch, _ in seen] == [1, 4, 9, 10]
    for epoch, margin in seen:
        assert margin == history["smallest_margin"][epoch - 1]


def test_non_finite_loss_names_the_step(problem):
    model, x, signs = problem
    with pytest.raises(NonFiniteLoss, match=r"at step [1-4]: lower the learning rate"):
        fit_margin(model, x, signs, epochs=20, steps="constant", lr=1e200)


def test_non_finite_input_is_noticed_before_the_first_step(problem):
    model, x, signs = problem
    x[3, 1] = math.nan
    with pytest.raises(NonFiniteLoss, match="nan at step 0"):
        fit_margin(model, x, signs, epochs=2)


@pytest.mark.parametrize("bad", [0.0, 2.0, math.nan])
def test_labels_that_are_not_signs_are_refused(problem, bad):
    model, x, signs = problem
    signs[2] = bad
    with pytest.raises(ValueError, match="-1 or"):
        fit_margin(model, x, signs, epochs=1)


def test_unknown_steps_are_refused(problem):
    with pytest.raises(ValueError, match="'adam', known: 'constant', 'loss-scaled'"):
        fit_margin(*problem, epochs=1, steps="adam")


@pytest.mark.parametrize("steps", ["constant", "loss-scaled"])
def test_training_in_the_span_takes_the_same_steps(steps):
    x = torch.randn(6, 2, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    signs = torch.tensor([1.0, -1.0] * 3, dtype=torch.float64)
    model = MLP(30, (20, 10), generator=torch.Generator().manual_seed(1), first_std=0.1, dtype=torch.float64)
    other = copy.deepcopy(model)
    seen = {}
    expected = fit_margin(model, x, signs, epochs=30, steps=steps)
    history = fit_margin_in_span(
        other, x, signs, epochs=30, steps=steps, observe_at={7, 30},
        observe=lambda epoch, m: seen.update({epoch: margins(m, x, signs).min().item()}),
    )  # fmt: skip
    assert history["log_loss"] == pytest.approx(expected["log_loss"], rel=1e-8)
    for ours, theirs in zip(other.parameters(), model.parameters()):
        assert torch.allclose(ours, theirs, rtol=1e-7, atol=1e-10)
    assert seen == pytest.approx({7: expected["smallest_margin"][6], 30: expected["smallest_margin"][29]}, rel=1e-6)


# --- mini-batches --------------------------------------------------------------------------------


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
        monkeypatch.setattr(
            torch.cpu, "get_capabilities", lambda: capabilities, raising=False
        )
        return native_bfloat16("cpu")

    assert claims(avx512_bf16=True) is claims(amx_bf16=True, avx512_bf16=False) is True
    assert claims(avx2=True) is claims() is claims(avx512_bf16=False, amx_bf16=False) is False
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert native_bfloat16() is False
