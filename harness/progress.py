"""A progress bar that never reaches a published page."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def bar(total: int, name: str, progress: bool) -> Iterator[Any]:
    """A progress bar that never reaches a published page.

    The environment variable BOOK_TERMINAL, set while a book is executed, names the terminal to
    draw it on; when that is empty there is no bar.
    """
    from tqdm import tqdm

    label = name.rpartition(".")[2]
    terminal = os.environ.get("BOOK_TERMINAL")
    if progress and terminal is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a notebook without widgets shows a plain bar, fine
            from tqdm.auto import tqdm as live
        with live(total=total, desc=label, unit="run") as bar:
            yield bar
        return
    with contextlib.ExitStack() as stack:
        sink = None
        if progress and terminal:
            with contextlib.suppress(OSError):
                sink = stack.enter_context(open(terminal, "w"))
        yield stack.enter_context(
            tqdm(total=total, desc=label, unit="run", file=sink, disable=sink is None)
        )
