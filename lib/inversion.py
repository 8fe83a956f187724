"""Network inversion: a conditioned generator of images that a classifier calls by their label.

Suhail et al., papers 001 and 002. The attack sees a trained classifier and the shape of its
input, nothing else.
"""

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lib import losses

CONDITIONINGS = ("label", "vector", "matrix", "vector-matrix")
VECTORS = ("soft", "hot")
MATRICES = ("row and column", "row or column")
LOSS_TERMS = ("kl", "ce", "cosine", "orthogonality")


class Diverged(ArithmeticError):
    """The loss became NaN or infinite; the message says at which step."""


# --- conditioning -----------------------------------------------------------------------------


def soft_vectors(labels: Tensor, classes: int) -> Tensor:
    """softmax of N(0, 1) vectors whose arg-max is the label, labels [n] -> [n, classes].

    The entries of such a vector are exchangeable, so swapping the largest into the place of the
    label gives the distribution of the vectors with that arg-max (paper 001, §3.2.2).
    """
    drawn = torch.randn(len(labels), classes, device=labels.device).softmax(1)
    largest = drawn.argmax(1, keepdim=True)
    place = labels[:, None]
    here, top = drawn.gather(1, place), drawn.gather(1, largest)
    return drawn.scatter(1, largest, here).scatter(1, place, top)


def hot_vectors(labels: Tensor, classes: int) -> Tensor:
    """One-hot vectors, labels [n] -> [n, classes] (paper 001, §5.3)."""
    return nn.functional.one_hot(labels, classes).float()


def hot_matrix(labels: Tensor, classes: int, kind: str = "row and column") -> Tensor:
    """Zeros but for ones in the row and column of the label, labels [n] -> [n, 1, N, N].

    kind: "row and column", papers 001 and 002, §3.2.3; "row or column", paper 000, §3: one of
    both, by a fair coin for each image.
    """
    _require_one_of("matrix", kind, MATRICES)
    hot = hot_vectors(labels, classes)
    row, column = hot[:, :, None], hot[:, None, :]
    shape = (len(labels), classes, classes)
    if kind == "row and column":
        matrix = torch.maximum(row, column)
    else:
        coin = torch.rand(len(labels), 1, 1, device=labels.device) < 0.5
        matrix = torch.where(coin, row.expand(shape), column.expand(shape))
    return matrix[:, None]


# --- generator --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Conditions:
    """What a batch of images is asked to be.

    labels: int64 [n].  vectors: the conditioning distribution P [n, N], one-hot where the
    conditioning has no vector.  matrices: [n, 1, N, N].
    """

    labels: Tensor
    vectors: Tensor
    matrices: Tensor


class Generator(nn.Module):
    """Transposed convolutions, batch norm and dropout from a latent vector to an image.

    The latent vector, and with label and vector conditioning an embedding of the label or the
    vector, is upsampled to N × N, where N is the number of classes. There the conditioning matrix
    is joined as one more channel, with matrix conditioning, and the image is upsampled from it
    (paper 001, §3.2 and §4). Layers, widths and rates are not in the papers.

    Args:
        classes: N, at least 2; channels, size: images are [n, channels, size, size].
        conditioning: one of `CONDITIONINGS`.
        vector: "soft" or "hot" vectors; has no effect without a vector.
        matrix: "row and column" or "row or column"; has no effect without a matrix.
        latent: length of the latent vector, N(0, 1).
        width: channels at N × N; half of them at full size.
        dropout: share of channels set to zero after every layer but the last two, in training
            and when images are sampled ("heavy dropout during the generation process").

    Raises ValueError for an unknown conditioning, or sizes below 2.
    """

    def __init__(
        self,
        classes: int,
        channels: int,
        size: int,
        *,
        conditioning: str = "vector-matrix",
        vector: str = "soft",
        matrix: str = "row and column",
        latent: int = 64,
        width: int = 64,
        dropout: float = 0.2,
    ):
        super().__init__()
        _require_one_of("conditioning", conditioning, CONDITIONINGS)
        _require_one_of("vector", vector, VECTORS)
        _require_one_of("matrix", matrix, MATRICES)
        if classes < 2 or size < 4:
            raise ValueError(f"{classes} classes and {size} pixels: at least 2 and 4 are needed")
        self.classes, self.latent = classes, latent
        self.conditioning, self.vector, self.matrix = conditioning, vector, matrix
        told = 0 if conditioning == "matrix" else latent
        if conditioning == "label":
            self.embed = nn.Embedding(classes, latent)
        elif told:
            self.embed = nn.Linear(classes, latent)
        small, joined = _halved(classes, 2), _halved(size, classes)
        self.early = nn.Sequential(
            *_layer(nn.ConvTranspose2d(latent + told, width, small), dropout),
            *(
                block
                for _ in _doublings(small, classes)
                for block in _double(width, width, dropout)
            ),
        )
        extra = 1 if "matrix" in conditioning else 0
        half = max(1, width // 2)
        between = len(_doublings(joined, size))
        self.late = nn.Sequential(
            *_layer(_resize(width + extra, width if between else half, classes, joined), dropout),
            *(
                block
                for i in range(between)
                for block in _double(
                    width, half if i == between - 1 else width, 0 if i == between - 1 else dropout
                )
            ),
            nn.Conv2d(half, channels, 3, padding=1),
            nn.Tanh(),
        )

    def conditions(self, labels: Tensor) -> Conditions:
        """Draw what images of these labels [n] are asked to be."""
        hot = hot_vectors(labels, self.classes)
        soft = self.vector == "soft" and "vector" in self.conditioning
        return Conditions(
            labels,
            soft_vectors(labels, self.classes) if soft else hot,
            hot_matrix(labels, self.classes, self.matrix),
        )

    def forward(self, latent: Tensor, conditions: Conditions) -> Tensor:
        """latent: [n, latent] -> images [n, channels, size, size] in [−1, 1]."""
        if self.conditioning == "label":
            latent = torch.cat([latent, self.embed(conditions.labels)], 1)
        elif "vector" in self.conditioning:
            latent = torch.cat([latent, self.embed(conditions.vectors)], 1)
        x = self.early(latent[:, :, None, None])
        if "matrix" in self.conditioning:
            x = torch.cat([x, conditions.matrices.to(x.dtype)], 1)
        return self.late(x)


def _halved(size: int, least: int) -> int:
    """`size` halved as often as it is even and stays at least `least`."""
    while size % 2 == 0 and size // 2 >= least:
        size //= 2
    return size


def _doublings(start: int, end: int) -> range:
    return range((end // start).bit_length() - 1)


def _layer(convolution: nn.Module, dropout: float) -> list[nn.Module]:
    blocks = [convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU()]
    return [*blocks, nn.Dropout2d(dropout)] if dropout else blocks


def _double(before: int, after: int, dropout: float) -> list[nn.Module]:
    return _layer(nn.ConvTranspose2d(before, after, 4, stride=2, padding=1), dropout)


def _resize(before: int, after: int, start: int, end: int) -> nn.Module:
    """A convolution from start × start to exactly end × end, transposed where the image grows."""
    if end > start:
        return nn.ConvTranspose2d(before, after, end - start + 1)
    if end == start:
        return nn.Conv2d(before, after, 3, padding=1)
    stride = start // end
    return nn.Conv2d(before, after, start - stride * (end - 1), stride=stride)


# --- the classifier, as the attack sees it ------------------------------------------------------

Look = Callable[[Tensor], tuple[Tensor, Tensor]]


@contextlib.contextmanager
def watched(classifier: nn.Module, layer: str | None = None) -> Iterator[Look]:
    """Freeze a classifier, in evaluation mode, and read its features along with its logits.

    layer: the name of a submodule, as in `named_modules()`, whose output is the features; `None`
    takes what enters the linear layer that is called last, the "features across the last fully
    connected layers" of papers 001 and 002. Afterwards the classifier is as it was.

    Yields look(images [n, ...]) -> (logits [n, classes], features [n, d]).

    Raises LookupError, with the layers that exist, if there is no such layer.
    """
    tapped, take = _tapped(classifier, layer)
    seen: list[Tensor] = []
    trained = [p for p in classifier.parameters() if p.requires_grad]
    hooks = [
        module.register_forward_hook(lambda _, x, y: seen.append(take(x, y))) for module in tapped
    ]

    def look(images: Tensor) -> tuple[Tensor, Tensor]:
        seen.clear()
        logits = classifier(images)
        if not seen:
            unused = f"its layer {layer!r}" if layer else "a linear layer"
            raise LookupError(f"the classifier does not call {unused}")
        return logits, seen[-1].flatten(1)

    try:
        with _modes_kept(classifier):
            classifier.eval()
            for parameter in trained:
                parameter.requires_grad_(False)
            yield look
    finally:
        for hook in hooks:
            hook.remove()
        for parameter in trained:
            parameter.requires_grad_(True)


@contextlib.contextmanager
def _modes_kept(network: nn.Module) -> Iterator[None]:
    """Afterwards every layer is in training or evaluation mode as it was before."""
    modes = [(module, module.training) for module in network.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _tapped(classifier: nn.Module, layer: str | None) -> tuple[list[nn.Module], Callable]:
    """The layers to listen to, and what to take of (inputs, output); the last call counts."""
    modules = {name: module for name, module in classifier.named_modules() if name}
    if layer is None:
        linear = [module for module in classifier.modules() if isinstance(module, nn.Linear)]
        if linear:
            return linear, lambda x, y: x[0]
        wanted = "linear layer, so its feature layer must be named"
    elif layer in modules:
        return [modules[layer]], lambda x, y: y
    else:
        wanted = f"layer {layer!r}"
    raise LookupError(f"the classifier has no {wanted}; its layers: {', '.join(modules)}")


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


@torch.no_grad()
def generate(generator: Generator, conditions: Conditions) -> Tensor:
    """Images [n, channels, size, size] under these conditions, from fresh latent vectors.

    Batch norm uses its running statistics; dropout stays on, as in training, because it is one of
    the generator's sources of diversity.
    """
    device = conditions.labels.device
    latent = torch.randn(len(conditions.labels), generator.latent, device=device)
    with _modes_kept(generator):
        for module in generator.modules():
            module.training = isinstance(module, nn.Dropout2d)
        return generator(latent, conditions)


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

    Returns:
        the history, one value an observation: "step"; "accuracy", the inversion accuracy, and
        "worst_class", the same for the class where it is smallest; "confidence", the mean of the
        largest probability; "diversity", 1 − the mean cosine of features within a class;
        "pixel_std", the standard deviation of a pixel within a class, where pixels span 2; and
        the mean of each term since the last observation, by its name in `weights`.

    Raises:
        Diverged: the loss is not finite; the message names the step.
        LookupError: the classifier has no such layer.
        ValueError: the classifier does not take the images or has other classes than the
            generator; an unknown term; no step to take; or fewer than two observed images a class.
    """
    unknown = weights.keys() - set(LOSS_TERMS)
    if unknown or not any(weights.values()) or steps < 1:
        raise ValueError(
            f"weights {dict(weights)} in {steps} steps: at least one step and one weight that is "
            f"not 0 are needed, of {', '.join(LOSS_TERMS)}"
        )
    if observed < 2 * generator.classes:
        raise ValueError(f"{observed} observed images are not two of each class")
    device = next(generator.parameters()).device
    generator.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam(generator.parameters(), lr=lr, fused=True)
    history: dict[str, list[float]] = {name: [] for name in (*_OBSERVED, *LOSS_TERMS)}
    since = []
    with torch.random.fork_rng(_cuda(device)), watched(classifier, layer) as look:
        torch.manual_seed(seed)
        _require_fit(look, generator, device)

        def observe(step: int) -> None:
            labels = torch.arange(observed, device=device) % generator.classes
            samples = _sample(generator, look, labels, observed)
            if not torch.isfinite(samples.logits).all():
                raise Diverged(f"outputs are not finite after step {step}: lower the learning rate")
            found = _observation(samples)
            terms = torch.stack(since).mean(0).tolist() if since else [float("nan")] * 4
            for name, value in {"step": step, **found, **dict(zip(LOSS_TERMS, terms))}.items():
                history[name].append(value)
            since.clear()

        observe(0)
        for step in range(1, steps + 1):
            labels = torch.randint(generator.classes, (batch,), device=device)
            conditions = generator.conditions(labels)
            latent = torch.randn(batch, generator.latent, device=device)
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                logits, features = look(generator(latent, conditions))
            logits, features = logits.float(), features.float()
            terms = torch.stack(
                [
                    losses.kl_divergence(conditions.vectors, logits),
                    losses.cross_entropy(logits, labels),
                    losses.cosine_similarity(features),
                    losses.orthogonality(features),
                ]
            )
            loss = sum(weights.get(name, 0) * term for name, term in zip(LOSS_TERMS, terms))
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
        raise Diverged(f"the loss is not finite at step {first}: lower the learning rate")


def _require_one_of(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ValueError(f"{name} is {value!r}, known: {', '.join(map(repr, known))}")


def _cuda(device: torch.device) -> list[torch.device]:
    return [device] if device.type == "cuda" else []
