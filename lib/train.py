"""Training any classifier on mini-batches."""

from collections.abc import Callable, Collection, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.losses import NonFiniteLoss

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


def precision_for(name: str, device: torch.device | str = "cpu") -> str:
    """The precision that a name stands for: "auto" is bfloat16 where that is native."""
    if name != "auto":
        return name
    return "bfloat16" if native_bfloat16(device) else "float32"


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
