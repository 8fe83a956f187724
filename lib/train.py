"""Training: mini-batches for any classifier; full batches up to margins in the thousands."""

import math
from collections.abc import Callable, Collection, Iterator

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


LARGEST_MARGIN = 1e20  # float32 ends at 3e38, and gradients of margins are larger than they


class NonFiniteLoss(ArithmeticError):
    """The loss became NaN or infinite; the message says at which step."""


def _require_finite(log_loss: float, step: int) -> None:
    if not math.isfinite(log_loss):
        raise NonFiniteLoss(f"the loss is {log_loss} at step {step}: lower the learning rate")


def fit_margin(
    model: nn.Module,
    x: Tensor,
    signs: Tensor,
    *,
    epochs: int,
    steps: str = "loss-scaled",
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
        steps: "constant": θ ← θ − lr ∇L, the protocol of paper 004, §5.1. "loss-scaled":
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
        ValueError: for an unknown kind of steps, or labels that are not ±1.
    """
    if steps not in ("constant", "loss-scaled"):
        raise ValueError(f"steps is {steps!r}, known: 'constant', 'loss-scaled'")
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
        length = lr if steps == "loss-scaled" else lr * math.exp(value)
        _step(parameters, accepted, gradients, length)
        log_loss, value, smallest = _evaluate(model, x, signs)
        if steps == "constant":
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


PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def fit(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    steps: int,
    lr: float,
    batch: int = 128,
    precision: str = "float32",
    seed: int = 0,
    observe: Callable[[int, nn.Module], None] | None = None,
    observe_at: Collection[int] = (),
) -> list[float]:
    """Mini-batch training with Adam and constant learning rate on the cross-entropy, in place.

    Images already lie on the device, in the layout and precision of the network, so a batch is
    one gather: there is no work per image.

    Args:
        images: [n, ...]; labels: int64 [n]; both on the model's device.
        steps: number of batches; every epoch is a new permutation without its incomplete batch.
        precision: "float32", or "bfloat16" for activations and products (weights, sums and the
            loss stay float32); `native_bfloat16` tells whether a device gains from it.
        seed: of the order of the images.
        observe: called as observe(step, model) after each step in `observe_at`; 0 is the start.

    Returns:
        the loss of each batch (natural logarithm), `steps` values.

    Raises:
        NonFiniteLoss: the message names the step. It is looked for every 100 steps.
        ValueError: an unknown precision, or not one step to take.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}, known: {', '.join(PRECISIONS)}")
    if steps < 1 or not len(images):
        raise ValueError(f"there is nothing to train: {steps} steps on {len(images)} images")
    device, kind = images.device, PRECISIONS[precision]
    batch = min(batch, len(images))
    images = images.to(kind)
    if images.ndim == 4:
        images = images.contiguous(memory_format=torch.channels_last)
        model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, fused=True)
    losses = torch.empty(steps, device=device)
    order = _batches(len(images), batch, seed)
    if 0 in observe_at:
        observe(0, model)
    for step in range(1, steps + 1):
        chosen = next(order).to(device)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, kind, enabled=precision != "float32"):
            logits = model(images[chosen])
        loss = F.cross_entropy(logits.float(), labels[chosen])
        loss.backward()
        optimizer.step()
        losses[step - 1] = loss.detach()
        if step % 100 == 0 or step == steps:
            _require_finite_batches(losses[:step], step)
        if step in observe_at:
            observe(step, model)
    return losses.tolist()


def native_bfloat16(device: torch.device | str = "cpu") -> bool:
    """Whether the device has instructions for bfloat16, without which it only costs time."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # not in older PyTorch
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _batches(n: int, batch: int, seed: int) -> Iterator[Tensor]:
    """Indices [batch], epoch after epoch; the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(n, generator=generator)
        yield from order[: n - n % batch].split(batch)


def _require_finite_batches(losses: Tensor, step: int) -> None:
    recent = losses[-100:]
    if not torch.isfinite(recent).all():
        first = step - len(recent) + int((~torch.isfinite(recent)).nonzero()[0]) + 1
        raise NonFiniteLoss(f"the loss is not finite at step {first}: lower the learning rate")
