"""Steps per second of the nine-term loss: `lib.likeness` against a straightforward one.

    python benchmarks/reconstruction.py           # about a minute
    python benchmarks/reconstruction.py --quick   # one round, a few seconds
    python benchmarks/reconstruction.py --threads 1   # where other work keeps the cores busy

A step is a batch of 32 images from the generator of chapter 6, the nine terms, and the gradient of
their sum by the generator's weights, against the same classifier, from the same draws, in the same
process and in alternating rounds. Nobody trained the classifier: speed does not depend on what it
has learned. The gradient term is read from 16 of the images in every route.

  straightforward   what one would write from the papers: float32 in the default layout; the
                    gradient of each image's loss by all weights, image by image, as tensors; all
                    pairs of cosines
  ours              `ReconstructionLoss` in float32 and in bfloat16: norms of single images' gradients
                    without those gradients, in one pass (the gradient term itself stays float32)

Before timing it is asserted that both have the same nine terms in float32. The perturbation is the
adversarial step of chapter 6, whose signs no draw decides.
"""

import argparse
from collections.abc import Callable
from functools import partial

import torch
from inversion import CLASSES, SHAPES, plain_terms
from timing import alternating, environment, table
from torch import Tensor, nn

from lib.generator import Conditions, Generator
from lib.inversion import Batch
from lib.likeness import TERMS, ReconstructionLoss
from lib.models import RegularisedCNN
from lib.predict import watched
from lib.train import PRECISIONS

BATCH, WIDTH, SOME, RADIUS = 32, 16, 16, 0.03
WEIGHTS = dict.fromkeys(TERMS, 1.0)
TOLERANCE = 1e-3  # relative, of the terms


def plain_nine(network: RegularisedCNN, images: Tensor, conditions: Conditions) -> list[Tensor]:
    """The nine terms as the papers write them, in the order of TERMS."""
    labels, hot = conditions.labels, conditions.vectors
    pixels = (images + 1) / 2
    here = images.detach().requires_grad_()
    slope = torch.autograd.grad(nn.functional.cross_entropy(network(here), labels), here)[0]
    moved = network((images + 2 * RADIUS * slope.sign()).clamp(-1, 1))
    norms = []
    for image, label in zip(images[:SOME], labels[:SOME]):
        loss = nn.functional.cross_entropy(network(image[None]), label[None])
        gradient = torch.autograd.grad(loss, list(network.parameters()), create_graph=True)
        norms.append(torch.cat([g.flatten() for g in gradient]).norm())
    down = (pixels[:, :, 1:] - pixels[:, :, :-1]).square().sum()
    right = (pixels[:, :, :, 1:] - pixels[:, :, :, :-1]).square().sum()
    outside = (-pixels).clamp(min=0).sum() + (pixels - 1).clamp(min=0).sum()
    four = plain_terms(network(images), network.features(images), conditions)
    four[0] = nn.functional.cross_entropy(network(images), labels)  # 0 log 0 of a hot vector
    perturbed = -(hot * moved.log_softmax(1)).sum(1).mean()
    return [
        *four,
        perturbed,
        nn.functional.cross_entropy(moved, labels),
        (down + right) / len(images),
        outside / len(images),
        torch.stack(norms).mean(),
    ]


def ours_nine(network: nn.Module, images: Tensor, conditions: Conditions, dtype) -> Tensor:
    """The same by `ReconstructionLoss`."""
    loss = ReconstructionLoss(
        network, radius=RADIUS, perturbation="adversarial", gradient_images=SOME
    )
    with watched(network) as look:

        def read(some: Tensor) -> tuple[Tensor, Tensor]:
            with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
                logits, features = look(some)
            return logits.float(), features.float()

        return loss(Batch(images, conditions, *read(images), read), WEIGHTS)[: len(TERMS)]


def step(
    network: nn.Module, generator: Generator, dtype: torch.dtype, terms: Callable
) -> list[float]:
    """One step without the optimizer's; the terms."""
    torch.manual_seed(0)
    labels = torch.arange(BATCH) % CLASSES
    conditions = generator.conditions(labels)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        images = generator(torch.randn(BATCH, generator.latent), conditions)
    found = terms(network, images, conditions)
    generator.zero_grad(set_to_none=True)
    sum(found).backward()
    return [term.item() for term in found]


def routes(channels: int, size: int) -> dict[str, Callable[[], list[float]]]:
    """Each way of making a step, from the same weights, seed 0."""
    made = {}
    for name in ("straightforward", *PRECISIONS):
        torch.manual_seed(0)
        generator = Generator(CLASSES, channels, size, width=WIDTH, vector="hot").train()
        seeded = torch.Generator().manual_seed(0)
        network = RegularisedCNN(channels, size, CLASSES, generator=seeded).eval()
        if name == "straightforward":
            made[name] = partial(step, network, generator, torch.float32, plain_nine)
        else:
            dtype = PRECISIONS[name]
            for one in (network, generator):
                one.to(memory_format=torch.channels_last)
            made[f"ours {name}"] = partial(
                step, network, generator, dtype, partial(ours_nine, dtype=dtype)
            )
    return made


def assert_same_terms(made: dict[str, Callable[[], list[float]]]) -> None:
    plain, ours = made["straightforward"](), made["ours float32"]()
    for name, one, two in zip(TERMS, plain, ours, strict=True):
        assert abs(one - two) <= TOLERANCE * max(abs(one), 1e-2), f"{name}: {one} and {two}"


def main(quick: bool, threads: int) -> None:
    torch.set_num_threads(threads)
    print(environment())
    print(
        f"\nnine terms of {BATCH} images, gradients of {SOME}, generator of width {WIDTH} against "
        "RegularisedCNN, seed 0"
    )
    lines = []
    for channels, size in SHAPES:
        made = routes(channels, size)
        assert_same_terms(made)
        shape = f"{size} × {size} × {channels}"
        timings = alternating(shape, made, seconds=0 if quick else 10)
        slow = timings["straightforward"].median
        for route, timing in timings.items():
            lines.append(
                [
                    f"{shape}, {route}",
                    f"{1 / timing.median:.1f}",
                    f"{1 / timing.high:.1f} to {1 / timing.low:.1f}",
                    f"{slow / timing.median:.2f}",
                    str(timing.rounds),
                ]
            )
        best = slow / min(timings[f"ours {name}"].median for name in PRECISIONS)
        print(f"{shape}: up to {best:.1f} times as many steps per second", flush=True)
    print(
        "\n"
        + table(["route", "steps per second", "10 % to 90 %", "÷ straightforward", "rounds"], lines)
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round, a few seconds")
    parser.add_argument("--threads", type=int, default=2, help="of the networks (2)")
    options = parser.parse_args()
    main(options.quick, options.threads)
