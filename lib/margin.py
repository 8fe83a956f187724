"""Full-batch training of small networks up to margins in the thousands."""

import math
from collections.abc import Callable, Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.losses import NonFiniteLoss
from lib.predict import one_output


def margins(model: nn.Module, x: Tensor, signs: Tensor) -> Tensor:
    """yᵢ Φ(θ; xᵢ) for x [n, ...] and signs [n] in {-1, +1} -> [n].

    Raises ValueError for a model with more than one output.
    """
    return signs * one_output(model(x))


def log_logistic_loss(margins: Tensor) -> Tensor:
    """log of the mean logistic loss, log (1/n) Σ log(1 + exp(-qᵢ)), margins [n] -> scalar.

    Finite for margins of any size (Lyu & Li 2020, appendix on numerical stability): beyond
    q = 15 log(1 + exp(-q)) equals exp(-q) to float precision, so its logarithm is -q. The
    paper's sum differs by log n.
    """
    small = margins.clamp(max=15)
    log_losses = torch.where(margins > 15, -margins, F.softplus(-small).log())
    return log_losses.logsumexp(0) - math.log(len(margins))


LARGEST_MARGIN = 1e20  # float32 ends at 3e38, and gradients of margins are larger than they


def _require_finite(log_loss: float, step: int) -> None:
    if not math.isfinite(log_loss):
        raise NonFiniteLoss(f"the loss is {log_loss} at step {step}: lower the learning rate")


def fit_margin(
    model: nn.Module,
    x: Tensor,
    signs: Tensor,
    *,
    epochs: int,
    protocol: str = "loss-scaled",
    lr: float = 0.01,
    grow: float = 1.05,
    shrink: float = 0.7,
    patience: int = 10,
    observe: Callable[[int, nn.Module], None] | None = None,
    observe_at: Collection[int] = (),
) -> dict[str, list[float]]:
    """Full-batch gradient descent on the logistic loss, in place.

    Args:
        x: inputs [n, ...]; signs: labels in {-1, +1} [n].
        epochs: number of steps taken.
        protocol: "constant": θ ← θ − lr ∇L, the protocol of paper 004, §5.1. "loss-scaled":
            θ ← θ − lr ∇log L, that is, a step proportional to 1/L as in Lyu & Li 2020. L falls
            below float range, log L does not.
        grow, shrink: factors on lr after a loss-scaled step that lowers the loss, and after one
            that raises it (by more than rounding, 1e-6 relative).
        patience: a loss-scaled step is shortened until its loss is at most the largest of the
            last `patience` ones (nonmonotone line search, Grippo et al. 1986). With 1 the loss
            never rises; a few rises, at the edge of stability, let margins grow far faster.
        observe: called as observe(epoch, model) after each epoch in `observe_at`.

    Returns:
        history, one value after each epoch: "log_loss" (natural logarithm of the mean loss),
        "smallest_margin" and "lr".

    Raises:
        NonFiniteLoss: the message names the step.
        ValueError: for an unknown protocol, or labels that are not ±1.
    """
    if protocol not in ("constant", "loss-scaled"):
        raise ValueError(f"protocol is {protocol!r}, known: 'constant', 'loss-scaled'")
    if not torch.equal(signs.abs(), torch.ones_like(signs)):
        raise ValueError("signs must be -1 or +1")
    parameters = list(model.parameters())
    history = {"log_loss": [], "smallest_margin": [], "lr": []}

    accepted = [parameter.detach().clone() for parameter in parameters]
    log_loss, value, _ = _evaluate(model, x, signs)
    _require_finite(value, 0)
    recent = [value]
    for epoch in range(1, epochs + 1):
        gradients = torch.autograd.grad(log_loss, parameters)
        length = lr if protocol == "loss-scaled" else lr * math.exp(value)
        _step(parameters, accepted, gradients, length)
        log_loss, value, smallest = _evaluate(model, x, signs)
        if protocol == "constant":
            _require_finite(value, epoch)
        else:
            worst = max(recent[-patience:])
            while not value <= worst + 1e-6 * abs(worst):  # also when it is not a number
                lr *= shrink
                if lr == 0:
                    _require_finite(value, epoch)
                _step(parameters, accepted, gradients, lr)
                log_loss, value, smallest = _evaluate(model, x, signs)
            lr *= grow if value <= recent[-1] + 1e-6 * abs(recent[-1]) else shrink
        recent.append(value)
        for kept, parameter in zip(accepted, parameters):
            kept.copy_(parameter.detach())
        history["log_loss"].append(value)
        history["smallest_margin"].append(smallest)
        history["lr"].append(lr)
        if epoch in observe_at:
            observe(epoch, model)
    return history


def _evaluate(model: nn.Module, x: Tensor, signs: Tensor) -> tuple[Tensor, float, float]:
    """log-loss with its graph, its value, and the smallest margin; NaN near the end of range."""
    q = margins(model, x, signs)
    log_loss = log_logistic_loss(q)
    inside = q.detach().abs().max().item() < LARGEST_MARGIN
    return log_loss, log_loss.item() if inside else math.nan, q.min().item()


def _step(parameters, start, gradients, length: float) -> None:
    """θ ← start − length · gradient, in place."""
    with torch.no_grad():
        for parameter, value, gradient in zip(parameters, start, gradients):
            torch.sub(value, gradient, alpha=length, out=parameter)


def fit_margin_in_span(
    model: nn.Module,
    x: Tensor,
    signs: Tensor,
    *,
    observe: Callable[[int, nn.Module], None] | None = None,
    **settings,
) -> dict[str, list[float]]:
    """`fit_margin` in the n dimensions that the inputs span: the same steps, fewer operations.

    Every gradient of the first weight matrix is a combination of the inputs, so W₁ − W₁(0) never
    leaves their span and training happens in coordinates of an orthonormal basis of it. Results
    agree with `fit_margin` up to rounding. The model's first linear layer must take the
    flattened input; the arguments are those of `fit_margin`.
    """
    first = next(module for module in model.modules() if isinstance(module, nn.Linear))
    flat = x.flatten(1)
    basis = torch.linalg.qr(flat.T).Q.T
    initial = first.weight.detach()
    projected = initial @ basis.T

    def whole(weight: Tensor) -> nn.Parameter:
        return nn.Parameter(initial + (weight.detach() - projected) @ basis)

    def watch(epoch: int, _: nn.Module) -> None:
        small = first.weight
        first.weight = whole(small)
        observe(epoch, model)
        first.weight = small

    first.weight = nn.Parameter(projected.clone())
    try:
        return fit_margin(
            model, flat @ basis.T, signs, observe=watch if observe else None, **settings
        )
    finally:
        first.weight = whole(first.weight)
