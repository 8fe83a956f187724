"""Full-batch margin training of binary classifiers, up to margins in the thousands."""

import math
from collections.abc import Callable, Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def margins(model: nn.Module, x: Tensor, signs: Tensor) -> Tensor:
    """yᵢ Φ(θ; xᵢ) for x [n, ...] and signs [n] in {-1, +1} -> [n]."""
    return signs * model(x)


def log_logistic_loss(margins: Tensor) -> Tensor:
    """log of the mean logistic loss, log (1/n) Σ log(1 + exp(-qᵢ)), margins [n] -> scalar.

    Finite for margins of any size (Lyu & Li 2020, appendix on numerical stability): beyond
    q = 15 log(1 + exp(-q)) equals exp(-q) to float precision, so its logarithm is -q. The
    paper's sum differs by log n.
    """
    small = margins.clamp(max=15)
    log_losses = torch.where(margins > 15, -margins, F.softplus(-small).log())
    return log_losses.logsumexp(0) - math.log(len(margins))


class NonFiniteLoss(ArithmeticError):
    """The loss became NaN or infinite; the message says at which step."""


def _finite(value: float, step: int) -> float:
    if not math.isfinite(value):
        raise NonFiniteLoss(f"the loss is {value} at step {step}: lower the learning rate")
    return value


def fit_margin(
    model: nn.Module,
    x: Tensor,
    signs: Tensor,
    *,
    epochs: int,
    steps: str = "loss-scaled",
    lr: float = 0.01,
    grow: float = 1.01,
    shrink: float = 0.7,
    observe: Callable[[int, nn.Module], None] | None = None,
    observe_at: Collection[int] = (),
) -> dict[str, list[float]]:
    """Full-batch gradient descent on the logistic loss, in place.

    Args:
        x: inputs [n, ...]; signs: labels in {-1, +1} [n].
        steps: "constant": θ ← θ − lr ∇L, the protocol of paper 004, §5.1. "loss-scaled":
            θ ← θ − lr ∇log L, that is, a step proportional to 1/L as in Lyu & Li 2020; here lr
            is multiplied by `grow` while the loss falls and by `shrink` when it rises (by more
            than rounding, 1e-6 relative). L falls below float range, log L does not.
        observe: called as observe(epoch, model) after each epoch in `observe_at`.

    Returns:
        history by epoch: "log_loss" (natural logarithm of the mean loss before the step),
        "smallest_margin" and "lr".

    Raises:
        NonFiniteLoss: the message names the step.
        ValueError: for an unknown kind of steps, or labels that are not ±1.
    """
    if steps not in ("constant", "loss-scaled"):
        raise ValueError(f"steps is {steps!r}, known: 'constant', 'loss-scaled'")
    if not torch.equal(signs.abs(), torch.ones_like(signs)):
        raise ValueError("signs must be -1 or +1")
    parameters = list(model.parameters())
    history = {"log_loss": [], "smallest_margin": [], "lr": []}
    previous = math.inf
    for epoch in range(1, epochs + 1):
        q = margins(model, x, signs)
        log_loss = log_logistic_loss(q)
        value = _finite(log_loss.item(), epoch)
        gradients = torch.autograd.grad(log_loss, parameters)
        if steps == "loss-scaled":
            lr *= shrink if value > previous + 1e-6 * abs(previous) else grow
        scale = lr if steps == "loss-scaled" else lr * math.exp(value)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients):
                parameter.sub_(gradient, alpha=scale)
        previous = value
        history["log_loss"].append(value)
        history["smallest_margin"].append(q.min().item())
        history["lr"].append(lr)
        if epoch in observe_at:
            observe(epoch, model)
    return history
