"""Modules of the project with the text that they were loaded from.

A process may live longer than a file stays as it is: a notebook's kernel, a worker. So modules
that are loaded after this one keep the text that was executed, and `text_of` returns that, not
what the file holds by now.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType

import psutil

PROJECT = ("lib", "chapters")


class UnknownCode(RuntimeError):
    """Nobody can tell which code this process runs; the message names the file."""


_STARTED = psutil.Process().create_time() + 2  # the system's clock of processes is a coarse one
_RECORDED = set(PROJECT)


def watch(package: str) -> None:
    """Keep the text of this top-level package's modules, too, when they are loaded from now on."""
    _RECORDED.add(package)


def is_ours(module: str) -> bool:
    """Whether a module belongs to the project, by its name."""
    return module.split(".")[0] in _RECORDED


class _Recorder(MetaPathFinder):
    """Loads modules of the project from their text, and keeps it beside them."""

    def find_spec(self, name: str, path=None, target=None):
        if not is_ours(name):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _RecordingLoader(spec.loader.name, spec.loader.path)
        return spec


class _RecordingLoader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        text = Path(self.path).read_bytes()
        code = compile(text, self.path, "exec", dont_inherit=True)
        once = getattr(module, "__loaded_text__", text) == text
        module.__loaded_text__ = text if once else None  # who reloads may still run what was there
        exec(code, module.__dict__)  # noqa: S102  what every loader does


if not any(isinstance(finder, _Recorder) for finder in sys.meta_path):
    sys.meta_path.insert(0, _Recorder())


def text_of(name: str, path: Path) -> bytes:
    """What the process loaded the module from, or will load it from."""
    module = sys.modules.get(name)
    recorded = hasattr(module, "__loaded_text__")
    if recorded and module.__loaded_text__ is not None:
        return module.__loaded_text__
    if recorded or (module is not None and path.stat().st_mtime > _STARTED):
        raise UnknownCode(
            f"{path.name} may have changed after this process loaded it: start the process (the "
            "notebook's kernel, the worker) anew."
        )
    return path.read_bytes()


def file_of(module: str) -> Path | None:
    """The source file of a module; None when there is no such module (a name in a module, say).

    Only the top-level package is looked up by the import system; nothing is imported.
    """
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # __main__ has none
        return None
    if spec is None or spec.origin is None:
        return None
    places = [Path(folder, *rest) for folder in spec.submodule_search_locations or ()]
    files = [file for p in places for file in (p.with_suffix(".py"), p / "__init__.py")]
    return next((file for file in files if file.is_file()), None) if rest else Path(spec.origin)
