"""Images per second of mini-batch training: `lib.train.fit` against a plain PyTorch loop.

    python benchmarks/minibatch.py           # about a minute
    python benchmarks/minibatch.py --quick   # one round
    python benchmarks/minibatch.py --threads 1   # where other work keeps the cores busy

Both routes train the networks of chapters 1 and 2 on the same random images, one epoch of batches
of 128 from the same initial weights with Adam, in the same process and in alternating rounds:

  loader    the plain loop's batches alone, nothing trained: what it spends on loading
  plain     what is usually written: a data set that makes a PIL image of each uint8 array, then
            ToTensor and Normalize, as torchvision's data sets do; a shuffling DataLoader; float32,
            Adam as it comes, `loss.item()` after each step
  workers   the same with two worker processes, which are kept and so are started untimed; "–"
            where they cannot be started
  fit       `fit` in float32 and in bfloat16. All images are converted, to its precision and layout
            too, before: that happens once per training, is not timed, and is printed below.

Before timing it is asserted that, handed the order of `fit`, the plain loop has the same losses.
The gains are ratios of medians: "float32 ÷ plain" and "bfloat16 ÷ plain" of one precision each,
the others of the faster one. "steps alone" takes the loader's time off the plain loop.
"""

import argparse
import copy
import time
from functools import partial
from importlib.metadata import version

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from timing import Timing, alternating, environment, table
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from chapters.shared import NETWORKS, normalised
from lib.train import PRECISIONS, fit, native_bfloat16

MODELS = ("MLP", "CNN", "ViT")
SHAPES = [(1, 28), (3, 32)]  # channels and size: MNIST, CIFAR-10
CLASSES, BATCH, LR, WORKERS = 10, 128, 1e-3, 2
COMPARED = 4  # steps whose losses must agree
TOLERANCE = 1e-5  # relative, of those losses


class Images(Dataset):
    """uint8 arrays [n, size, size] or [n, size, size, 3], converted one by one when asked for."""

    def __init__(self, arrays: np.ndarray, labels: list[int]):
        self.arrays, self.labels = arrays, labels
        channels = arrays.shape[3] if arrays.ndim == 4 else 1
        half = (0.5,) * channels
        self.transform = transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize(half, half)]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.arrays[index])), self.labels[index]


def random_images(channels: int, size: int, n: int) -> Images:
    """Noise with random labels: speed does not depend on what the images show."""
    rng = np.random.default_rng(0)
    shape = (n, size, size) if channels == 1 else (n, size, size, channels)
    arrays = rng.integers(0, 256, shape, dtype=np.uint8)
    return Images(arrays, rng.integers(0, CLASSES, n).tolist())


def prepared(dataset: Images, precision: str) -> Tensor:
    """All images at once, [n, channels, size, size] in [-1, 1], as `fit` would lay them out."""
    images = torch.from_numpy(dataset.arrays)
    images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2)
    images = normalised(images / 255).to(PRECISIONS[precision])
    return images.contiguous(memory_format=torch.channels_last)


def plain_epoch(model: nn.Module, loader: DataLoader) -> list[float]:
    """The loop that is usually written; the loss of each batch."""
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)
    losses = []
    for images, labels in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def load_epoch(loader: DataLoader) -> None:
    """The batches alone."""
    for _ in loader:
        pass


def with_workers(dataset: Images) -> DataLoader | None:
    """A loader whose worker processes stay, or None where they cannot be started."""
    loader = DataLoader(dataset, BATCH, shuffle=True, num_workers=WORKERS, persistent_workers=True)
    try:
        load_epoch(loader)
    except (OSError, RuntimeError):
        return None
    return loader


def assert_same_training(model: nn.Module, dataset: Images, images: Tensor) -> None:
    """Given the same order of images, the first losses of both routes agree."""
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0))
    chosen = order[: COMPARED * BATCH].tolist()
    plain = plain_epoch(copy.deepcopy(model), DataLoader(dataset, BATCH, sampler=chosen))
    labels = torch.tensor(dataset.labels)
    ours = fit(copy.deepcopy(model), images, labels, steps=COMPARED, lr=LR, batch=BATCH, seed=0)
    error = max(abs(one - other) / one for one, other in zip(plain, ours, strict=True))
    assert error < TOLERANCE, f"losses differ by {error:.1e}: {plain} and {ours}"


def compare(
    architecture: str,
    dataset: Images,
    images: dict[str, Tensor],
    workers: DataLoader | None,
    seconds: float,
) -> dict[str, Timing]:
    """Time one epoch of every route, each from the same initial weights; images by precision."""
    _, channels, size, _ = images["float32"].shape
    generator = torch.Generator().manual_seed(0)
    initial = NETWORKS[architecture](channels, size, CLASSES, generator)
    assert_same_training(initial, dataset, images["float32"])
    loader, labels = DataLoader(dataset, BATCH, shuffle=True), torch.tensor(dataset.labels)
    settings = {"steps": len(dataset) // BATCH, "lr": LR, "batch": BATCH}

    def plain(loader: DataLoader) -> list[float]:
        return plain_epoch(copy.deepcopy(initial), loader)

    def ours(precision: str) -> list[float]:
        model = copy.deepcopy(initial)
        return fit(model, images[precision], labels, precision=precision, **settings)

    routes = {"loader": partial(load_epoch, loader), "plain": partial(plain, loader)}
    if workers is not None:
        routes["workers"] = partial(plain, workers)
    routes |= {precision: partial(ours, precision) for precision in PRECISIONS}
    return alternating(f"{architecture}, {size} × {size} × {channels}", routes, seconds=seconds)


def row(name: str, n: int, timings: dict[str, Timing]) -> list[str]:
    """Images per second of each route, then the gains over the plain loops."""
    seconds = {route: timing.median for route, timing in timings.items()}
    fastest = min(seconds[precision] for precision in PRECISIONS)
    return [
        name,
        *(
            f"{n / seconds[route]:,.0f}" if route in seconds else "–"
            for route in ("loader", "plain", "workers", *PRECISIONS)
        ),
        *(f"{seconds['plain'] / seconds[precision]:.2f}" for precision in PRECISIONS),
        f"{seconds['workers'] / fastest:.2f}" if "workers" in seconds else "–",
        f"{(seconds['plain'] - seconds['loader']) / fastest:.2f}",
        str(timings["plain"].rounds),
    ]


def gain(name: str, timings: dict[str, Timing]) -> str:
    """How much faster `fit` is, in its faster precision, and what loading costs the plain loop."""
    seconds = {route: timing.median for route, timing in timings.items()}
    precision = min(PRECISIONS, key=lambda precision: seconds[precision])
    return (
        f"{name}: fit in {precision} trains {seconds['plain'] / seconds[precision]:.1f} times as "
        f"many images per second; loading is {seconds['loader'] / seconds['plain']:.0%} of plain"
    )


def main(quick: bool, threads: int) -> None:
    torch.set_num_threads(threads)
    n, seconds = COMPARED * BATCH, 0 if quick else 4
    print(environment())
    print(
        f"torchvision {version('torchvision')}, pillow {version('pillow')}; "
        f"the processor has {'' if native_bfloat16() else 'no '}bfloat16 instructions"
    )
    print(
        f"\nimages per second, one epoch of {n:,} images in batches of {BATCH}, Adam, "
        f"{WORKERS} workers, seed 0"
    )
    rows, lines = [], []
    for channels, size in SHAPES:
        shape = f"{size} × {size} × {channels}"
        dataset, images, once = random_images(channels, size, n), {}, []
        for precision in PRECISIONS:
            start = time.perf_counter()
            images[precision] = prepared(dataset, precision)
            once.append(f"{1e3 * (time.perf_counter() - start):.0f} ms to {precision}")
        workers = with_workers(dataset)
        for architecture in MODELS:
            timings = compare(architecture, dataset, images, workers, seconds)
            rows.append(row(f"{architecture}, {shape}", n, timings))
            print(gain(f"{architecture}, {shape}", timings), flush=True)
        lines.append(f"all {n:,} images, {shape}, converted for fit, once: {', '.join(once)}")
    header = ["network", "loader", "plain", "workers", *(f"fit {name}" for name in PRECISIONS)]
    header += [
        *(f"{name} ÷ plain" for name in PRECISIONS),
        "fit ÷ workers",
        "steps alone",
        "rounds",
    ]
    print("\n" + table(header, rows))
    print("\n" + "\n".join(lines))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round")
    parser.add_argument("--threads", type=int, default=2, help="of the networks (2)")
    options = parser.parse_args()
    main(options.quick, options.threads)
