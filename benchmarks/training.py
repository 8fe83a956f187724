"""Loss-scaled against constant steps: epochs until the smallest margin is 10.

    python benchmarks/training.py           # width 200, 2 seeds, half a minute
    python benchmarks/training.py --quick   # width 50, 1 seed, a few seconds

A 64-width-width-1 network learns 50 digits, odd or even, by full-batch gradient descent. Constant
steps are the protocol of paper 004, §5.1 (learning rate 0.01) and, to be fair to it, the same with
a hundred times the rate. Where the epochs end first, "> " marks a lower bound.
"""

import argparse
import time
from dataclasses import dataclass

import torch
from timing import environment, table

from lib import data
from lib.losses import NonFiniteLoss
from lib.margin import fit_margin
from lib.models import MLP

MARGIN = 10.0
PROTOCOLS = [("loss-scaled", 0.01), ("constant", 0.01), ("constant", 1.0)]
CHUNK = 100  # epochs between two looks at the margin


@dataclass(frozen=True)
class Run:
    """How far one training came."""

    epochs: int  # until the margin, or all there were
    margin: float  # smallest margin then; NaN when the loss became non-finite
    seconds: float

    @property
    def arrived(self) -> bool:
        return self.margin >= MARGIN


def train(protocol: str, lr: float, *, width: int, epochs: int, seed: int) -> Run:
    """Train in chunks, which pass the learning rate on, until the margin is reached."""
    digits = data.relabel(data.load("digits"), "odd-even")
    subset, _ = data.balanced_subset(digits, 50, seed=seed)
    x = subset.images.flatten(1)
    x, signs = x - x.mean(0), 2.0 * subset.labels - 1
    model = MLP(x.shape[1], (width, width), generator=torch.Generator().manual_seed(seed))
    start, margins = time.perf_counter(), []
    while len(margins) < epochs and not (margins and margins[-1] >= MARGIN):
        try:
            history = fit_margin(model, x, signs, epochs=CHUNK, protocol=protocol, lr=lr)
        except NonFiniteLoss:
            margins.append(float("nan"))
            break
        lr = history["lr"][-1]
        for margin in history["smallest_margin"]:
            margins.append(margin)
            if margin >= MARGIN:
                break
    return Run(len(margins), margins[-1], time.perf_counter() - start)


def row(protocol: str, lr: float, seed: int, run: Run, reference: Run) -> list[str]:
    """One line of the table; `reference` is the loss-scaled run of the same seed."""
    name, ending = f"{protocol}, {lr:g}", f"{run.seconds:.1f}"
    if run.margin != run.margin:
        return [name, str(seed), "diverges", "–", "–", ending]
    bound = "" if run.arrived else "> "
    ratio = f"{bound}{run.epochs / reference.epochs:.1f}"
    return [name, str(seed), f"{bound}{run.epochs:,}", ratio, f"{run.margin:.1f}", ending]


def main(quick: bool) -> None:
    torch.set_num_threads(1)  # the network is too small to be shared
    width, seeds, epochs = (50, [0], 1000) if quick else (200, [0, 1], 12_000)
    print(environment())
    print(
        f"\nepochs until the smallest margin is {MARGIN:g}: digits odd/even, n = 50, "
        f"64-{width}-{width}-1, seeds {', '.join(map(str, seeds))}, at most {epochs:,} epochs"
    )
    rows = []
    for seed in seeds:
        runs = []
        for protocol, lr in PROTOCOLS:
            print(f"training with {protocol} steps, rate {lr:g}, seed {seed}", flush=True)
            runs.append(train(protocol, lr, width=width, epochs=epochs, seed=seed))
        rows += [row(*protocol, seed, run, runs[0]) for protocol, run in zip(PROTOCOLS, runs)]
    header = ["protocol, rate", "seed", "epochs", "× loss-scaled", "margin then", "seconds"]
    print(table(header, rows))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small network, a few seconds")
    main(parser.parse_args().quick)
