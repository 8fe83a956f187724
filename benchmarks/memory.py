"""Training steps per second, with and without memory that is kept between them.

    python benchmarks/memory.py           # 5 processes of each kind, about half a minute
    python benchmarks/memory.py --quick   # 1 of each

Both kinds take the same steps of a CNN on batches of 128 colour images, in one thread, in processes
that are started in turn; the ratio is that of the medians of their steps. `--child` is one process.

  as it comes   the allocator's own settings
  kept          those of `harness.memory`, with which notebooks and their workers are started
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

import torch
from timing import environment as machine

from harness.memory import KEPT_MEMORY, with_kept_memory
from lib.models import CNN

STEPS, BATCH = 12, 128


def steps(count: int) -> list[float]:
    """Seconds of each training step after the first two."""
    torch.set_num_threads(1)
    model = CNN(3, 32, 10, generator=torch.Generator().manual_seed(0))
    images = torch.randn(BATCH, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(BATCH) % 10
    taken = []
    for _ in range(count + 2):
        started = time.perf_counter()
        torch.nn.functional.cross_entropy(model(images), labels).backward()
        model.zero_grad(set_to_none=True)
        taken.append(time.perf_counter() - started)
    return taken[2:]


def child(environment: dict[str, str]) -> list[float]:
    done = subprocess.run(
        [sys.executable, __file__, "--child"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return [float(number) for number in done.stdout.split()]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return print(*steps(STEPS))
    plain = {name: value for name, value in os.environ.items() if name not in KEPT_MEMORY}
    kinds = {"as it comes": plain, "kept": with_kept_memory(plain)}
    taken: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(1 if args.quick else 5):
        for name, environment in kinds.items():
            taken[name] += child(environment)
    print(machine())
    medians = {name: statistics.median(numbers) for name, numbers in taken.items()}
    for name, median in medians.items():
        print(f"{name:12} {1000 * median:7.1f} ms a step")
    print(f"kept memory: {medians['as it comes'] / medians['kept']:.2f}x")


if __name__ == "__main__":
    main()
