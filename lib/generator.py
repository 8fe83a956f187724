"""A conditioned generator of images (Suhail et al., papers 001 and 002)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lib.predict import modes_kept

CONDITIONINGS = ("label", "vector", "matrix", "vector-matrix")
VECTORS = ("soft", "hot")
MATRICES = ("row and column", "row or column")


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


@torch.no_grad()
def generate(generator: Generator, conditions: Conditions) -> Tensor:
    """Images [n, channels, size, size] under these conditions, from fresh latent vectors.

    Batch norm uses its running statistics; dropout stays on, as in training, because it is one of
    the generator's sources of diversity.
    """
    device = conditions.labels.device
    latent = torch.randn(len(conditions.labels), generator.latent, device=device)
    with modes_kept(generator):
        for module in generator.modules():
            module.training = isinstance(module, nn.Dropout2d)
        return generator(latent, conditions)


def _require_one_of(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ValueError(f"{name} is {value!r}, known: {', '.join(map(repr, known))}")
