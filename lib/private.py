"""DP-SGD: steps whose trace of any one training image is clipped and drowned in noise."""

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.losses import NonFiniteLoss


def fit_private(
    model: nn.Module,
    x: Tensor,
    signs: Tensor,
    *,
    steps: int,
    batch: int,
    lr: float,
    noise: float,
    clip: float = 1.0,
    delta: float,
    seed: int,
) -> float:
    """Differentially private SGD on the logistic loss, in place (Abadi et al. 2016, algorithm 1).

    Each step draws every image with probability batch / n, clips the gradient of each drawn one to
    a norm of `clip`, and adds normal noise of standard deviation `noise` · `clip` to their sum.
    Clipping and accounting are those of Opacus (Yousefpour et al. 2021).

    Args:
        x: inputs [n, ...]; signs: labels in {-1, +1} [n]; the model has one output, [n].
        batch: mean number of images a step, at most n.
        noise: noise multiplier, above 0.  clip: the largest norm of one image's gradient.
        delta: the probability with which the guarantee may fail, below 1/n to mean anything.
        seed: of the draws and of the noise; a secret one where privacy is at stake.

    Returns:
        ε of the (ε, δ) guarantee, by Rényi accounting (Mironov 2017).

    Raises:
        NonFiniteLoss: when the loss of a step is not finite.
        ValueError: for a batch, a noise, a clip or a delta outside its range, or no step.
        ImportError: without Opacus: `pip install opacus`.
    """
    n = len(x)
    if steps < 1 or not 0 < batch <= n:
        raise ValueError(f"nothing to train: {steps} steps with batches of {batch} of {n} images")
    if not noise > 0 or not clip > 0 or not 0 < delta < 1:
        raise ValueError(f"noise {noise} and clip {clip} must be above 0, delta {delta} in (0, 1)")
    from opacus import GradSampleModule
    from opacus.accountants import RDPAccountant
    from opacus.optimizers import DPOptimizer

    random = torch.Generator(device=x.device).manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of hooks on inputs that need no gradient
        sampled = GradSampleModule(model, loss_reduction="sum")
        optimizer = DPOptimizer(
            torch.optim.SGD(model.parameters(), lr=lr),
            noise_multiplier=noise,
            max_grad_norm=clip,
            expected_batch_size=batch,
            loss_reduction="mean",  # the sum of clipped gradients and noise, over the mean batch
            generator=random,
        )
        accountant = RDPAccountant()
        for step in range(1, steps + 1):
            drawn = torch.rand(n, generator=random, device=x.device) < batch / n
            optimizer.zero_grad(set_to_none=True)
            if not drawn.any():  # noise alone: no image is in its sum
                drawn[0], empty = True, 0.0
            else:
                empty = 1.0
            loss = empty * F.softplus(-signs[drawn] * sampled(x[drawn])).sum()
            if not torch.isfinite(loss):
                raise NonFiniteLoss(
                    f"the loss is not finite at step {step}: lower the learning rate"
                )
            loss.backward()
            optimizer.step()
            accountant.step(noise_multiplier=noise, sample_rate=batch / n)
        sampled.remove_hooks()
        for parameter in model.parameters():
            parameter.grad_sample = None
        return float(accountant.get_epsilon(delta))
