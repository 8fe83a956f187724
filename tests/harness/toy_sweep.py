"""A module of toy runs, and short ways to sweep over them."""

from harness.sweep import sweep

# `log` and `flag` are parts of a path: a path itself would count with the content of the file.
RUNS = '''
import os, pathlib, time, uuid
import numpy as np, torch

def square(a, seed=0, log=None):
    """Scalars and an array; notes each call in a file."""
    if log:
        with open(pathlib.Path(*log), "a") as file:
            file.write(f"{a}\\n")
    return {"square": a * a, "x": torch.full((2, 2), float(a)), "seconds": time.time()}

def explode(a):
    if a == 2:
        raise ZeroDivisionError("two is too much")
    return {"a": a}

def slow(a, flag):
    if a == 2:
        pathlib.Path(*flag).write_text(str(os.getpid()))
        time.sleep(60)
    return {"a": a}

def interrupted(a):
    if a == 2:
        raise KeyboardInterrupt
    return {"a": a}

def where(a, device="cpu"):
    return {"device_seen": device, "torch_threads": torch.get_num_threads()}

def big(a):
    return {"x": np.random.RandomState(a).rand(40_000)}

def not_a_dict(a):
    return a

def files(folder):
    below = sorted(p for p in pathlib.Path(folder).rglob("*") if p.is_file())
    return {"seen": [str(p.relative_to(folder)) for p in below], "given": folder}

def changing(a):
    return {"value": uuid.uuid4().hex}
'''


def go(function, parameters, folder, **options):
    return sweep(function, parameters, folder=folder, progress=False, **options)


def statuses(results):
    return [result.status for result in results]
