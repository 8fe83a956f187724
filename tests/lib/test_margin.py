"""The logistic loss far beyond float range, and the two kinds of full-batch steps."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from lib.losses import NonFiniteLoss
from lib.margin import (
    LARGEST_MARGIN,
    fit_margin,
    fit_margin_in_span,
    log_logistic_loss,
    margins,
)
from lib.models import MLP


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


def test_a_column_of_outputs_gives_the_same_margins_and_several_are_refused(problem):
    model, x, signs = problem
    column = margins(lambda x: model(x)[:, None], x, signs)
    assert column.shape == (10,) and torch.equal(column, margins(model, x, signs))
    with pytest.raises(ValueError, match=r"output is \[2\] an image; margins .* of one output"):
        margins(lambda x: torch.stack([model(x)] * 2, 1), x, signs)


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
    history = fit_margin(model, x, signs, epochs=20, protocol="constant", lr=0.3)
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
    fit_margin(other, x, signs, epochs=1, protocol="constant", lr=0.1 / loss)
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
    constant = fit_margin(other, x, signs, epochs=1500, protocol="constant")
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
        fit_margin(model, x, signs, epochs=20, protocol="constant", lr=1e200)


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


def test_unknown_protocols_are_refused(problem):
    with pytest.raises(ValueError, match="'adam', known: 'constant', 'loss-scaled'"):
        fit_margin(*problem, epochs=1, protocol="adam")


@pytest.mark.parametrize("protocol", ["constant", "loss-scaled"])
def test_training_in_the_span_takes_the_same_steps(protocol):
    x = torch.randn(6, 2, 3, 5, generator=seeded(0), dtype=torch.float64)
    signs = torch.tensor([1.0, -1.0] * 3, dtype=torch.float64)
    model = MLP(30, (20, 10), generator=seeded(1), first_std=0.1, dtype=torch.float64)
    other = copy.deepcopy(model)
    seen = {}
    expected = fit_margin(model, x, signs, epochs=30, protocol=protocol)
    history = fit_margin_in_span(
        other, x, signs, epochs=30, protocol=protocol, observe_at={7, 30},
        observe=lambda epoch, m: seen.update({epoch: margins(m, x, signs).min().item()}),
    )  # fmt: skip
    assert history["log_loss"] == pytest.approx(expected["log_loss"], rel=1e-8)
    for ours, theirs in zip(other.parameters(), model.parameters()):
        assert torch.allclose(ours, theirs, rtol=1e-7, atol=1e-10)
    smallest = expected["smallest_margin"]
    assert seen == pytest.approx({7: smallest[6], 30: smallest[29]}, rel=1e-6)
