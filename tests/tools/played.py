"""A tiny book with two quizzes and a slider of images on one page, a slider of figures on another."""

from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure

from harness import page
from harness.play import Round, State
from harness.style import style
from tiny_book import Book, notebook, tagged

IMAGES = ("<b>noise</b>", "a bar", "a cross", "a ring")


def drawings(seed: int, channels: int) -> list[np.ndarray]:
    """Four pictures, each [channels, 12, 12] in [0, 1]."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[-1:1:12j, -1:1:12j]
    shapes = [
        random.random((12, 12)),
        abs(x) < 0.3,
        (abs(x) < 0.3) | (abs(y) < 0.3),
        abs(np.hypot(x, y) - 0.7) < 0.25,
    ]
    tints = random.uniform(0.5, 1, (4, channels, 1, 1))
    return [(0.1 + 0.9 * shape[None]) * tint for shape, tint in zip(shapes, tints)]


def round_of(seed: int, channels: int, stranger: int) -> Round:
    random = np.random.default_rng(seed)
    pictures = drawings(seed, channels)
    nearest = [
        tuple((0.8 * p + 0.2 * random.random(p.shape)).clip(0, 1) for _ in range(2))
        for p in pictures
    ]
    similarity = [(0.31, 0.62) if i == stranger else (0.97, -0.05) for i in range(4)]
    return Round(pictures, stranger, nearest, similarity, names=IMAGES)


def lines(reliability: float) -> Figure:
    with style():
        fig = Figure(figsize=(5.2, 2.4))
        ax = fig.subplots()
        ax.plot([0, 1], [0.5, reliability])
        ax.set(xlabel="training", ylabel="accuracy", ylim=(0, 1))
    return fig


def show_quizzes() -> None:
    page.quiz([round_of(s, 1, s % 4) for s in (1, 2, 3)], caption="A *first* quiz.", name="fig-one")
    pair = round_of(5, 3, 1)
    small = Round(pair.pictures[:2], 1, pair.nearest[:2], pair.similarity[:2])
    page.quiz([small, round_of(6, 3, 2)], caption="A second one.", name="fig-two",
              question="Which is <i>new</i>?", outcomes=("new & unseen", "old"))  # fmt: skip


def show_sliders() -> None:
    counts = [State(str(n), f"Of {n} images {n // 2} come back. " + "It is so. " * n,
                    [d for k in range(n // 4) for d in drawings(k, 3)], f"{n} drawings")
              for n in (4, 8, 16)]  # fmt: skip
    page.slider(counts, control="training images", caption="Images.", name="fig-images", start=1)
    shares = [0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    patches = [State(f"{share:.1f}", f"Accuracy {share:.0%} & more.", lines(share),
                     f"A line that ends at {share}.") for share in shares]  # fmt: skip
    page.slider(patches, control="reliability <of> the patch", caption="Lines.", name="fig-lines")


def cells(*shows) -> list[str]:
    """Cells of a notebook that display again what these functions display, without torch."""
    shown: list[str] = []

    def display(data, *, raw, metadata):
        call = f"display({data!r}, raw=True, metadata={metadata!r})"
        shown.append(tagged(f"from IPython.display import display\n{call}", "remove-input"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "display", display)
        for show in shows:
            show()
    return shown


def played_book(root) -> SimpleNamespace:
    text = tagged("See {numref}`fig-one` and {numref}`fig-lines`.", markdown=True)
    first, second, images, diagrams = cells(show_quizzes, show_sliders)
    book = Book(root, {
        "02_played": "".join([notebook(title="Played"), text, first, second, images]),
        "03_slid": "".join([notebook(title="Slid"), diagrams]),
    })  # fmt: skip
    executed = book.execute(*book.sources())
    assert executed.returncode == 0, executed.stderr
    built = book.build()
    assert built.returncode == 0, built.stderr
    return SimpleNamespace(book=book, built=built)
