"""Runs that meet a fault. `log` and `flag` are parts of a path; a path would count by content."""

import os
import pathlib
import signal
import time

import numpy as np
import torch

from lib import data, train


def noted(a, log):
    """Notes each call in a file."""
    with open(pathlib.Path(*log), "a") as file:
        file.write(f"{a}\n")
    return {"square": a * a, "x": np.full(4, float(a))}


def waits(a, log, flag, at, fatal=0):
    """For each a of `at`, the first time, says which process it is in and waits to be ended there.

    For a = `fatal` it kills its process, every time, as the system does for want of memory; not
    before the others wait, which would else be lost with it and then once more.
    """
    place = pathlib.Path(*flag).with_suffix(f".{a}")
    if a in at and not place.exists():
        place.with_suffix(".tmp").write_text(str(os.getpid()))
        place.with_suffix(".tmp").rename(place)
        time.sleep(120)
    found = noted(a, log)
    if a == fatal:
        while not all(place.with_suffix(f".{other}").exists() for other in at):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGKILL)
    return found


def big(a, log):
    """Fifty thousand bytes that cannot be packed."""
    return noted(a, log) | {"x": np.random.RandomState(a).bytes(50_000).hex()}


def trained(lr, seed=0):
    """The last loss of a small network."""
    torch.manual_seed(seed)
    network, images = torch.nn.Linear(4, 2), torch.randn(64, 4)
    losses = train.fit(
        network, images, (images[:, 0] > 0).long(), steps=200, lr=lr, batch=16, seed=seed
    )
    return {"loss": float(losses[-1])}


def loaded(dataset):
    """How many images a data set has."""
    return {"images": len(data.load(dataset))}
