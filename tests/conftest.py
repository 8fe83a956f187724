"""What all tests need: one thread, as their tensors are too small to share, and interrupts."""

import signal
import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Harmless for the tests of commands, which run in processes of their own."""
    torch = sys.modules.get("torch")  # without a test that computes, nobody waits for its import
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def interrupts_reach_children() -> None:
    """A shell's background job ignores interrupts, and so would the programs that tests start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
