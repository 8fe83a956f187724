"""Classifiers to attack, the images that they were trained on, and others to judge attacks by."""

import functools
from dataclasses import dataclass, replace

import safetensors.torch
import torch
from torch import Tensor, nn

from chapters.shared import NETWORKS, normalised
from harness.scratch import kept
from lib import data, models, shortcuts, train

ORACLES = ("CNN", "MLP")  # both are other architectures than "regularised CNN"
REGULARISERS: dict[str, tuple[type[nn.Module], ...]] = {  # by name: the layers that it is made of
    "dropout": (nn.Dropout,),
    "batch norm": (nn.BatchNorm2d,),
    "weight decay": (),
}
WEIGHT_DECAY = 0.1  # decoupled, times the learning rate in each step
RATE = 1e-3


# --- images ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parts:
    """A data set in balanced parts that share no image, each in random order.

    members are what a classifier is trained on, `rivals` as many others (None where a data set is
    too small), `held_out` what nobody is trained on, `known` what the oracles are trained on.
    """

    members: data.DataSet
    rivals: data.DataSet | None
    held_out: data.DataSet
    known: data.DataSet

    @property
    def classes(self) -> int:
        return len(self.members.classes)

    @property
    def shape(self) -> tuple[int, int, int]:
        return tuple(self.members.images.shape[1:])

    @property
    def other_half(self) -> "Parts":
        """Members and rivals in each other's place.  Raises ValueError without rivals."""
        if self.rivals is None:
            n = len(self.members)
            raise ValueError(f"{self.members.name} has no second half of {n} images")
        return replace(self, members=self.rivals, rivals=self.members)


@functools.lru_cache(maxsize=2)
def parts(dataset: str, seed: int, n: int, held_out: int, known: int, device: str = "cpu") -> Parts:
    """n members of training and test images together, images in [0, 1].

    Held-out and known images are the same for every n of a seed.  Raises ValueError where there
    are not so many images.
    """
    size = data.side(dataset)
    both = [
        data.load(dataset, split=split, device=device, size=size) for split in ("train", "test")
    ]
    whole = replace(
        both[0],
        images=torch.cat([one.images for one in both]),
        labels=torch.cat([one.labels for one in both]),
    )
    aside, _ = data.balanced_subset(whole, held_out + known, seed=seed)
    classes = len(whole.classes)
    room = classes * int(whole.labels.bincount(minlength=classes).min()) - len(aside)
    count = 2 * n if 2 * n <= room else n
    chosen, _ = data.balanced_subset(whole, count, seed=seed + 1, exclude=aside)
    members, rivals = _two(chosen, n, seed) if count > n else (chosen, None)
    outside, reserve = _two(aside, held_out, seed)
    return Parts(
        *(
            part and part.take(torch.randperm(len(part), generator=_random(seed)))
            for part in (members, rivals, outside, reserve)
        )
    )


def _two(whole: data.DataSet, first: int, seed: int) -> tuple[data.DataSet, data.DataSet]:
    """A balanced set as two balanced sets, the first of so many images."""
    _, chosen = data.balanced_subset(whole, first, seed=seed)
    others = torch.ones(len(whole), dtype=torch.bool)
    others[chosen] = False
    return whole.take(chosen), whole.take(others.nonzero()[:, 0])


def _random(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def patch_for(of: Parts) -> shortcuts.Patch:
    """The shortcut of paper 000: a white patch at a place that tells the class."""
    return shortcuts.Patch.on_border(of.classes, *of.shape[1:])


# --- networks -------------------------------------------------------------------------------------


def build(architecture: str, of: Parts, *, width: int = 32, seed: int = 0) -> nn.Module:
    """An untrained classifier of these images.

    architecture: "regularised CNN" of this width, "MLP of equal size", with as many parameters
    as that, or one of `chapters.shared.NETWORKS`.  Raises ValueError for another.
    """
    channels, size, _ = of.shape

    def cnn(generator: torch.Generator | None = None) -> nn.Module:
        return models.RegularisedCNN(channels, size, of.classes, width=width, generator=generator)

    def mlp(hidden: int, generator: torch.Generator | None = None) -> nn.Module:
        widths = (hidden, hidden)
        inputs = channels * size**2
        return models.MLP(
            inputs, widths, of.classes, first_std=None, homogeneous=False, generator=generator
        )

    if architecture == "regularised CNN":
        return cnn(_random(seed))
    if architecture == "MLP of equal size":
        hidden = models.matched_width(mlp, models.count_parameters(cnn()))
        return mlp(hidden, _random(seed))
    if architecture not in NETWORKS:
        raise ValueError(f"unknown architecture {architecture!r}: {', '.join(NETWORKS)}")
    return NETWORKS[architecture](channels, size, of.classes, _random(seed))


def leave_out(network: nn.Module, regulariser: str) -> None:
    """Replace the layers of a regulariser, in place.  Raises ValueError for an unknown one."""
    if regulariser not in REGULARISERS:
        raise ValueError(f"no regulariser {regulariser!r}: {', '.join(REGULARISERS)}")
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, REGULARISERS[regulariser]):
                setattr(module, name, nn.Identity())


def fitted(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    steps: int,
    precision: str,
    seed: int,
    decay: float = 0.0,
) -> nn.Module:
    """The network, trained in place and in evaluation mode; kept in a scratch folder.

    decay: decoupled weight decay (Loshchilov and Hutter 2019), that is, weights shrink by so much
    times the learning rate after each step.
    """
    network = network.to(images.device)

    @torch.no_grad()
    def shrink(step: int, trained: nn.Module) -> None:
        for parameter in trained.parameters():
            parameter.mul_(1 - RATE * decay)

    def fit() -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(seed)  # dropout
            train.fit(
                network,
                images,
                labels,
                steps=steps,
                lr=RATE,
                precision=precision,
                seed=seed,
                observe=shrink,
                observe_at=range(1, steps + 1) if decay else (),
            )
        return network

    def load(content: bytes) -> nn.Module:
        network.load_state_dict(safetensors.torch.load(content))
        return network

    start = torch.cat([p.detach().flatten() for p in network.parameters()])
    layers = str(network)
    trained = kept(
        [images, labels, start, layers, steps, precision, seed, decay, train.fit, fitted],
        fit,
        save=_saved,
        load=load,
    )
    # the same layout and so the same rounding, whether it was trained or read
    return trained.to(memory_format=torch.channels_last).eval()


def _saved(network: nn.Module) -> bytes:
    return safetensors.torch.save({k: v.contiguous() for k, v in network.state_dict().items()})


@dataclass(frozen=True)
class Training:
    """How classifiers are trained, with Adam at a rate of 0.001 on batches of 128."""

    steps: int
    precision: str = "float32"


@dataclass(frozen=True)
class Victim:
    """A trained classifier of images in [−1, 1], and the images to judge attacks on it by."""

    classifier: nn.Module
    parts: Parts
    planted: bool = False

    @property
    def images(self) -> Tensor:
        """What it was trained on; the labels are `labels`."""
        return self.dressed(self.parts.members)

    @property
    def labels(self) -> Tensor:
        return self.parts.members.labels

    @property
    def held_out(self) -> Tensor:
        return self.dressed(self.parts.held_out)

    def dressed(self, some: data.DataSet) -> Tensor:
        """Images as they would be had it been trained on them, with a patch if it saw patches."""
        return normalised(
            patch_for(self.parts).plant(some.images, some.labels) if self.planted else some.images
        )


def victim(
    of: Parts,
    training: Training,
    *,
    seed: int,
    architecture: str = "regularised CNN",
    width: int = 32,
    without: str = "",
    planted: bool = False,
) -> Victim:
    """Train a classifier on the members, with weight decay.

    architecture, width: as for `build`.  without: one of REGULARISERS that it does without.
    planted: every image carries the patch of its class (paper 000, §4).
    """
    network = build(architecture, of, width=width, seed=seed)
    if without:
        leave_out(network, without)
    found = Victim(network, of, planted)
    fitted(
        network,
        found.images,
        found.labels,
        steps=training.steps,
        precision=training.precision,
        seed=seed,
        decay=0.0 if without == "weight decay" else WEIGHT_DECAY,
    )
    return found


def oracles(of: Parts, training: Training, *, seed: int) -> list[nn.Module]:
    """Independent classifiers of the same classes: other images, other architectures."""
    return [
        fitted(
            build(name, of, seed=seed + 1000),
            normalised(of.known.images),
            of.known.labels,
            steps=training.steps,
            precision=training.precision,
            seed=seed + 1000,
        )
        for name in ORACLES
    ]
