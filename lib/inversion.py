"""Network inversion: a conditioned generator of images that a classifier calls by their label.

Suhail et al., papers 001 and 002. The attack sees a trained classifier and the shape of its
input, nothing else.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from lib import losses
from lib.generator import Conditions, Generator, generate
from lib.losses import NonFiniteLoss
from lib.predict import Look, watched

LOSS_TERMS = ("kl", "ce", "cosine", "orthogonality")


# --- what a generator is trained on -----------------------------------------------------------


@dataclass(frozen=True)
class Batch:
    """One step: images that were asked for, and what the classifier says of them."""

    images: Tensor  # [n, channels, size, size] in [−1, 1], with the generator's graph
    conditions: Conditions
    logits: Tensor  # [n, classes], float32
    features: Tensor  # [n, d], float32
    look: Look  # reads any other images, in the precision of the run


class Objective(Protocol):
    """Terms of a loss, by name; `invert` weighs and sums them."""

    names: Sequence[str]

    def __call__(self, batch: Batch, weights: Mapping[str, float]) -> Tensor:
        """The terms [len(names)]; one whose weight is 0 need not be computed and is then 0."""


@dataclass(frozen=True)
class InversionLoss:
    """L_KL, L_CE, L_Cosine and L_Ortho (paper 001, §3.3)."""

    names: Sequence[str] = LOSS_TERMS

    def __call__(self, batch: Batch, weights: Mapping[str, float]) -> Tensor:
        return torch.stack(
            [
                losses.kl_divergence(batch.conditions.vectors, batch.logits),
                losses.cross_entropy(batch.logits, batch.conditions.labels),
                losses.cosine_similarity(batch.features),
                losses.orthogonality(batch.features),
            ]
        )


# --- inversion --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Samples:
    """Images of a generator, how they were asked for, and what the classifier says of them."""

    images: Tensor  # [n, channels, size, size] in [-1, 1]
    labels: Tensor  # [n], that they were asked for
    vectors: Tensor  # [n, classes], conditioning distributions
    logits: Tensor  # [n, classes], float32
    features: Tensor  # [n, d], float32

    @property
    def correct(self) -> Tensor:
        """Whether the classifier names the label, bool [n]; its mean is the inversion accuracy."""
        return self.logits.argmax(1) == self.labels

    @property
    def confidence(self) -> Tensor:
        """The largest probability of each image [n]."""
        return self.logits.softmax(1).amax(1)


def sample(
    generator: Generator,
    classifier: nn.Module,
    n: int,
    *,
    seed: int,
    layer: str | None = None,
    batch: int = 500,
) -> Samples:
    """n fresh images, as many of each class as of any other up to one, in float32.

    They are made by `generate`, and the global random state is left as it was.  layer: see
    `watched`.
    """
    device = next(generator.parameters()).device
    with torch.random.fork_rng(_cuda(device)), watched(classifier, layer) as look:
        torch.manual_seed(seed)
        labels = torch.arange(n, device=device) % generator.classes
        return _sample(generator, look, labels, batch)


@torch.no_grad()
def _sample(generator: Generator, look: Look, labels: Tensor, batch: int) -> Samples:
    parts = []
    for some in labels.split(batch):
        conditions = generator.conditions(some)
        images = generate(generator, conditions)
        parts.append((images, some, conditions.vectors, *look(images)))
    return Samples(*(torch.cat(part) for part in zip(*parts)))


def invert(
    classifier: nn.Module,
    generator: Generator,
    *,
    steps: int,
    weights: Mapping[str, float],
    lr: float = 2e-3,
    batch: int = 128,
    layer: str | None = None,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    observe_at: Collection[int] = (),
    observed: int = 500,
    objective: Objective | None = None,
) -> dict[str, list[float]]:
    """Train the generator, in place, on L_Inv = α L_KL + β L_CE + γ L_Cosine + δ L_Ortho.

    Args:
        classifier: any frozen network from images [n, channels, size, size] in [−1, 1] to logits
            [n, classes]; it is not changed.
        weights: α, β, γ and δ as {"kl", "ce", "cosine", "orthogonality"}; 0 for what is missing.
        lr: of Adam.  layer: see `watched`.
        dtype: of activations and products; weights, batch statistics and losses stay float32.
        observe_at, observed: after these steps, and at the start and the end, so many fresh
            images are sampled and judged by the classifier. They are drawn from the random numbers
            of the run, so that a run observed at other steps is another run.
        objective: another loss than L_Inv, with `weights` by the names of its terms.

    Returns:
        the history, one value an observation: "step"; "accuracy", the inversion accuracy, and
        "worst_class", the same for the class where it is smallest; "confidence", the mean of the
        largest probability; "diversity", 1 − the mean cosine of features within a class;
        "pixel_std", the standard deviation of a pixel within a class, where pixels span 2; and
        the mean of each term since the last observation, by its name in `weights`.

    Raises:
        NonFiniteLoss: the loss is not finite; the message names the step.
        LookupError: the classifier has no such layer.
        ValueError: the classifier does not take the images or has other classes than the
            generator; an unknown term; no step to take; or fewer than two observed images a class.
    """
    objective = objective or InversionLoss()
    names = objective.names
    unknown = weights.keys() - set(names)
    if unknown or not any(weights.values()) or steps < 1:
        raise ValueError(
            f"weights {dict(weights)} in {steps} steps: at least one step and one weight that is "
            f"not 0 are needed, of {', '.join(names)}"
        )
    if observed < 2 * generator.classes:
        raise ValueError(f"{observed} observed images are not two of each class")
    device = next(generator.parameters()).device
    generator.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam(generator.parameters(), lr=lr, fused=True)
    history: dict[str, list[float]] = {name: [] for name in (*_OBSERVED, *names)}
    since = []
    with torch.random.fork_rng(_cuda(device)), watched(classifier, layer) as look:
        torch.manual_seed(seed)
        _require_fit(look, generator, device)
        precise = torch.autocast(device.type, dtype, enabled=dtype != torch.float32)

        def read(images: Tensor) -> tuple[Tensor, Tensor]:
            with precise:
                logits, features = look(images)
            return logits.float(), features.float()

        def observe(step: int) -> None:
            labels = torch.arange(observed, device=device) % generator.classes
            samples = _sample(generator, look, labels, observed)
            if not torch.isfinite(samples.logits).all():
                raise NonFiniteLoss(
                    f"outputs are not finite after step {step}: lower the learning rate"
                )
            found = _observation(samples)
            terms = torch.stack(since).mean(0).tolist() if since else [float("nan")] * len(names)
            for name, value in {"step": step, **found, **dict(zip(names, terms))}.items():
                history[name].append(value)
            since.clear()

        observe(0)
        for step in range(1, steps + 1):
            labels = torch.randint(generator.classes, (batch,), device=device)
            conditions = generator.conditions(labels)
            latent = torch.randn(batch, generator.latent, device=device)
            with precise:
                images = generator(latent, conditions)
            terms = objective(Batch(images, conditions, *read(images), read), weights)
            loss = sum(weights.get(name, 0) * term for name, term in zip(names, terms))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            since.append(terms.detach())
            if step % 100 == 0 or step in observe_at or step == steps:
                _require_finite(since, step)
            if step in observe_at or step == steps:
                observe(step)
    return history


_OBSERVED = ("step", "accuracy", "worst_class", "confidence", "diversity", "pixel_std")


def _observation(samples: Samples) -> dict[str, float]:
    correct = samples.correct.float()
    classes = [samples.labels == label for label in samples.labels.unique()]
    cosine = [losses.cosine_similarity(samples.features[own]) for own in classes]
    spread = [samples.images[own].std(0).mean() for own in classes]
    return {
        "accuracy": correct.mean().item(),
        "worst_class": min(correct[own].mean().item() for own in classes),
        "confidence": samples.confidence.mean().item(),
        "diversity": 1 - torch.stack(cosine).mean().item(),
        "pixel_std": torch.stack(spread).mean().item(),
    }


COLLAPSED = 0.01  # of the pixels' range of 2, as standard deviation within a class


def complaint(history: Mapping[str, Sequence[float]], *, accuracy: float = 0.95) -> str | None:
    """One sentence if the run has failed, by its last observation; `None` if it has not.

    Collapsed: images of a class hardly differ, less than 1 % of the range of pixels. Not
    converged: the inversion accuracy is below `accuracy` (paper 001, §5.1: 95 %).
    """
    last = {name: values[-1] for name, values in history.items()}
    if last["pixel_std"] < COLLAPSED * 2:
        return (
            f"The generator has collapsed: after {last['step']:.0f} steps the images of a class "
            f"differ by {last['pixel_std'] / 2:.2%} of the range of pixels."
        )
    if last["accuracy"] < accuracy:
        return (
            f"The generator has not converged: after {last['step']:.0f} steps the classifier "
            f"names the wanted label for {last['accuracy']:.1%} of its images."
        )
    return None


# --- checks -------------------------------------------------------------------------------------


def _require_fit(look: Look, generator: Generator, device: torch.device) -> None:
    with torch.no_grad():
        images = _images_of(generator, device)
        try:
            logits, features = look(images)
        except (RuntimeError, ValueError, AssertionError) as error:
            raise ValueError(
                f"the classifier does not take images {list(images.shape[1:])}: {error}"
            ) from error
    if logits.shape != (len(images), generator.classes):
        raise ValueError(
            f"the classifier's output is {list(logits.shape[1:])} an image; the generator was "
            f"made for {generator.classes} classes"
        )


def _images_of(generator: Generator, device: torch.device) -> Tensor:
    """Two images, to see whether they fit."""
    labels = torch.arange(2, device=device)
    return generator(torch.zeros(2, generator.latent, device=device), generator.conditions(labels))


def _require_finite(terms: list[Tensor], step: int) -> None:
    """terms: of the last steps until now."""
    finite = torch.isfinite(torch.stack(terms)).all(1)
    if not finite.all():
        first = step - len(terms) + int((~finite).nonzero()[0]) + 1
        raise NonFiniteLoss(f"the loss is not finite at step {first}: lower the learning rate")


def _cuda(device: torch.device) -> list[torch.device]:
    return [device] if device.type == "cuda" else []
