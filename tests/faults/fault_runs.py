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


def waits(a, log, flag):
    """For a = 2, the first time, says which process it is in and waits there to be ended."""
    place = pathlib.Path(*flag)
    if a == 2 and not place.exists():
        place.with_suffix(".tmp").write_text(str(os.getpid()))
        place.with_suffix(".tmp").rename(place)
        time.sleep(120)
    return noted(a, log)


def kills(a, log):
    """Kills its worker for a = 2, every time, as the system does for want of memory."""
    found = noted(a, log)
    if a == 2:
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
