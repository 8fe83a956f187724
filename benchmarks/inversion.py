"""Images per second of network inversion: `lib.inversion.invert` against a straightforward loop.

    python benchmarks/inversion.py           # 6 steps, about half a minute
    python benchmarks/inversion.py --quick   # 1 step, a few seconds
    python benchmarks/inversion.py --threads 1   # where other work keeps the cores busy

Both routes train the generator of chapter 3 (width 32, vector-matrix conditioning) in batches of
64, from the same initial weights, against the same classifier, in the same process and in
alternating rounds. Nobody trained the classifier: speed does not depend on what it has learned.

  straightforward   what one would write from the papers: float32 in the default layout; hot
                    matrices filled row by row; a classifier in evaluation mode whose parameters
                    still ask for gradients; a second pass for its features; N × N matrices of
                    cosines; softmax, then log; Adam as it comes; `.item()` for each term and step
  ours              `invert`, in float32 and in bfloat16. It looks at 20 images before and after,
                    which is timed, too. The classifier is in the layout in which `fit` leaves it

Before timing it is asserted that, in float32 and from the same draws, both routes have the same
terms of the loss and the same loss. The gains are ratios of medians: that of "ours float32" comes
from doing less and from the layout, what "ours bfloat16" adds to it from the precision.
"""

import argparse
import copy
from collections.abc import Callable
from functools import partial

import torch
from timing import Timing, alternating, environment, table
from torch import Tensor, nn

from lib.generator import Conditions, Generator, soft_vectors
from lib.inversion import LOSS_TERMS, invert
from lib.models import RegularisedCNN
from lib.train import PRECISIONS, native_bfloat16

SHAPES = [(1, 28), (3, 32)]  # channels and size: MNIST, CIFAR-10
CLASSES, WIDTH, BATCH, LR = 10, 32, 64, 2e-3
WEIGHTS = dict.fromkeys(LOSS_TERMS, 1.0)
OBSERVED = 2 * CLASSES  # the fewest that `invert` can judge
TOLERANCE = 1e-5  # relative, of the losses
Draw = tuple[Tensor, Conditions]  # latent vectors and what the images are asked to be


def filled_matrices(labels: Tensor) -> Tensor:
    """Zeros but for ones in the row and column of the label, [n] -> [n, 1, N, N]."""
    matrices = torch.zeros(len(labels), 1, CLASSES, CLASSES)
    for matrix, label in zip(matrices, labels):
        matrix[0, label, :] = 1
        matrix[0, :, label] = 1
    return matrices


def drawn(generator: Generator) -> Draw:
    """A batch to ask for."""
    labels = torch.randint(CLASSES, (BATCH,))
    vectors = soft_vectors(labels, CLASSES)
    latent = torch.randn(BATCH, generator.latent)
    return latent, Conditions(labels, vectors, filled_matrices(labels))


def plain_terms(logits: Tensor, features: Tensor, conditions: Conditions) -> list[Tensor]:
    """KL, cross-entropy, cosine similarity and orthogonality as the papers write them."""
    p, q = conditions.vectors, logits.softmax(1)
    n = len(features)
    f = features / features.norm(dim=1, keepdim=True)
    cosines = f @ f.T
    return [
        (p * (p / q).log()).sum(1).mean(),
        nn.functional.cross_entropy(logits, conditions.labels),
        (cosines - torch.diag(cosines.diag())).sum() / (n * (n - 1)),
        (cosines - torch.eye(n)).square().mean(),
    ]


def plain_inversion(
    classifier: RegularisedCNN,
    generator: Generator,
    *,
    steps: int,
    draw: Callable[[Generator], Draw] = drawn,
) -> dict[str, list[float]]:
    """The straightforward loop; the terms, the loss and the accuracy of each step."""
    classifier.eval()
    generator.train()
    optimizer = torch.optim.Adam(generator.parameters(), lr=LR)
    history = {name: [] for name in (*LOSS_TERMS, "loss", "accuracy")}
    for _ in range(steps):
        latent, conditions = draw(generator)
        images = generator(latent, conditions)
        logits, features = classifier(images), classifier.features(images)
        terms = plain_terms(logits, features, conditions)
        loss = sum(WEIGHTS[name] * term for name, term in zip(LOSS_TERMS, terms))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        accuracy = (logits.argmax(1) == conditions.labels).float().mean()
        for name, value in zip(history, [*terms, loss, accuracy]):
            history[name].append(value.item())
    return history


def ours(
    classifier: nn.Module, generator: Generator, *, steps: int, precision: str
) -> dict[str, list[float]]:
    """`invert`, with as few observations as it can make."""
    return invert(
        classifier,
        generator,
        steps=steps,
        weights=WEIGHTS,
        lr=LR,
        batch=BATCH,
        dtype=PRECISIONS[precision],
        observed=OBSERVED,
    )


def networks(channels: int, size: int) -> tuple[RegularisedCNN, Generator]:
    """The classifier and the generator, seed 0."""
    seeded = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    generator = Generator(CLASSES, channels, size, width=WIDTH)
    return RegularisedCNN(channels, size, CLASSES, generator=seeded), generator


def assert_same_loss(classifier: RegularisedCNN, generator: Generator) -> None:
    """Given what `invert` draws in its first step, the straightforward loop has the same loss.

    The draws are those with which `invert` calls the generator in training, and the state of the
    random numbers then, from which dropout is drawn.
    """
    seen, watched = [], copy.deepcopy(generator)

    def remember(module: nn.Module, inputs: Draw) -> None:
        if module.training and torch.is_grad_enabled():
            seen.append((torch.get_rng_state(), inputs))

    def again(_: Generator) -> Draw:
        state, (latent, conditions) = seen[0]
        torch.set_rng_state(state)
        assert torch.equal(filled_matrices(conditions.labels), conditions.matrices)
        return latent, conditions

    watched.register_forward_pre_hook(remember)
    other = ours(copy.deepcopy(classifier), watched, steps=1, precision="float32")
    plain = plain_inversion(
        copy.deepcopy(classifier), copy.deepcopy(generator), steps=1, draw=again
    )
    other["loss"] = [sum(WEIGHTS[name] * other[name][-1] for name in LOSS_TERMS)]
    for name in (*LOSS_TERMS, "loss"):
        one, two = plain[name][-1], other[name][-1]
        assert abs(one - two) < TOLERANCE * max(abs(one), 1e-3), f"{name}: {one} and {two}"


def compare(channels: int, size: int, steps: int, seconds: float) -> dict[str, Timing]:
    """Time every route over so many steps, each from the same initial weights."""
    classifier, generator = networks(channels, size)
    assert_same_loss(classifier, generator)
    fitted = copy.deepcopy(classifier).to(memory_format=torch.channels_last)

    def plain() -> None:
        plain_inversion(copy.deepcopy(classifier), copy.deepcopy(generator), steps=steps)

    def invert_in(precision: str) -> None:
        ours(copy.deepcopy(fitted), copy.deepcopy(generator), steps=steps, precision=precision)

    routes = {"straightforward": plain}
    routes |= {f"ours {precision}": partial(invert_in, precision) for precision in PRECISIONS}
    return alternating(f"{size} × {size} × {channels}", routes, seconds=seconds)


def rows(shape: str, n: int, timings: dict[str, Timing]) -> list[list[str]]:
    """Each route's images per second, with its range, and its gain."""
    slow = timings["straightforward"].median
    return [
        [
            f"{shape}, {route}",
            f"{n / timing.median:,.0f}",
            f"{n / timing.high:,.0f} to {n / timing.low:,.0f}",
            f"{slow / timing.median:.2f}",
            str(timing.rounds),
        ]
        for route, timing in timings.items()
    ]


def gain(shape: str, timings: dict[str, Timing]) -> str:
    """The gain in the precision that `train.native_bfloat16` picks, and in the other."""
    picked, other = ("bfloat16", "float32") if native_bfloat16() else ("float32", "bfloat16")
    slow = timings["straightforward"].median
    faster = {name: slow / timings[f"ours {name}"].median for name in PRECISIONS}
    return (
        f"{shape}: invert in {picked}, the precision to choose here, trains {faster[picked]:.1f} "
        f"times as many images per second; in {other} {faster[other]:.1f} times"
    )


def main(quick: bool, threads: int) -> None:
    torch.set_num_threads(threads)
    steps, seconds = (1, 0) if quick else (6, 10)
    print(environment())
    print(f"the processor has {'' if native_bfloat16() else 'no '}bfloat16 instructions")
    print(
        f"\ninversion in {steps} steps of {BATCH} images, Adam, generator of width {WIDTH} against "
        "RegularisedCNN, seed 0"
    )
    lines = []
    for channels, size in SHAPES:
        shape = f"{size} × {size} × {channels}"
        timings = compare(channels, size, steps, seconds)
        lines += rows(shape, steps * BATCH, timings)
        print(gain(shape, timings), flush=True)
    print(
        "\n"
        + table(
            ["route", "images per second", "10 % to 90 %", "÷ straightforward", "rounds"], lines
        )
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="1 step, a few seconds")
    parser.add_argument("--threads", type=int, default=2, help="of the networks (2)")
    options = parser.parse_args()
    main(options.quick, options.threads)
