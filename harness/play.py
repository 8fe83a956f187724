"""What a reader plays with inside a page: quizzes and sliders. `harness.page` shows them.

    page.quiz([Round(pictures, stranger, nearest, similarity)], caption="…", name="fig-quiz")
    page.slider([State("0.5", "…", figure, alt="…")], control="…", caption="…", name="fig-patch")

A play is a list that reads well as it stands: in a notebook, in print and without scripts, with the
answers folded. On a page of the book `book/_static/play.js` makes the quiz or the slider of it, from
the classes and `data-` attributes written here. Pictures are part of the page; nothing is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from numbers import Integral

import numpy as np
from matplotlib.figure import Figure

from harness.embedding import address, inches, light_and_dark, png_address, sheet

ENLARGED = 112  # CSS pixels of a small photograph where no style sheet says otherwise
MOST_COLUMNS = 6
PIXELS_PER_INCH = 119  # of a figure, as elsewhere on the page
WIDEST = 620
IN_A_ROW = "display: flex; flex-wrap: wrap; gap: 1em; list-style: none; padding: 0"
NEIGHBOURS = ("nearest training image", "nearest held-out image")
KEY = (
    "Below each picture: the nearest training image and the nearest held-out image, "
    "with the correlation r between the picture and each."
)


@dataclass(frozen=True)
class Round:
    """Some pictures of which one is a stranger, and what shows afterwards which one it is.

    pictures: two or more, each [c, h, w] in [0, 1] with c = 1 or 3, all of one shape.
    stranger: the place of the one to be found, counted from 0.
    nearest: for each picture (nearest training image, nearest held-out image), of that shape.
    similarity: for each picture its correlations with these two, from -1 to 1.
    names: what each picture shows, for a reader who does not see it; must not tell the answer.
    Raises ValueError when they do not fit together.
    """

    pictures: Sequence[np.ndarray]
    stranger: int
    nearest: Sequence[tuple[np.ndarray, np.ndarray]]
    similarity: Sequence[tuple[float, float]]
    names: Sequence[str] = ()

    def __post_init__(self) -> None:
        many = len(self.pictures)
        if many < 2:
            raise ValueError(f"A round needs at least 2 pictures, not {many}.")
        if not _is_place(self.stranger, many):
            raise ValueError(
                f"The stranger is {self.stranger!r}, but the places of {many} pictures "
                f"are 0 to {many - 1}."
            )
        whole = f"A round of {many} pictures"
        _require_many(self.nearest, many, whole, "pairs of nearest images")
        _require_many(self.similarity, many, whole, "pairs of correlations")
        if len(self.names):
            _require_many(self.names, many, whole, "names")
        first = np.shape(self.pictures[0])
        for i in range(many):
            _require_picture(self.pictures[i], first, f"pictures[{i}]")
            _require_many(self.nearest[i], 2, f"nearest[{i}]", "images")
            _require_many(self.similarity[i], 2, f"similarity[{i}]", "correlations")
            for j in range(2):
                _require_picture(self.nearest[i][j], first, f"nearest[{i}][{j}]")
                if not abs(self.similarity[i][j]) <= 1 + 1e-6:
                    raise ValueError(
                        f"similarity[{i}][{j}] is {self.similarity[i][j]}, no correlation "
                        "from -1 to 1."
                    )


@dataclass(frozen=True)
class State:
    """One position of a slider.

    label: the value there, such as "0.8".  sentence: what it means.
    picture: a figure, which is closed when it is shown, or images, each [c, h, w] in [0, 1].
    alt: what one sees, for a reader who does not.  Raises ValueError.
    """

    label: str
    sentence: str
    picture: Figure | Sequence[np.ndarray]
    alt: str

    def __post_init__(self) -> None:
        for what in ("label", "sentence", "alt"):
            if not getattr(self, what).strip():
                raise ValueError(f"A state of a slider needs its {what}: it is empty.")
        if isinstance(self.picture, Figure):
            return
        if not len(self.picture):
            raise ValueError(f"The state {self.label!r} has 0 images and no figure.")
        first = np.shape(self.picture[0])
        for i, image in enumerate(self.picture):
            _require_picture(image, first, f"image {i} of the state {self.label!r}")


def _is_place(value: object, many: int) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and 0 <= value < many


def _require_many(things: Sequence[object], many: int, owner: str, what: str) -> None:
    if len(things) != many:
        raise ValueError(f"{owner} needs {many} {what}, not {len(things)}.")


def _require_picture(picture: np.ndarray, shape: tuple[int, ...], what: str) -> None:
    pixels = np.asarray(picture)
    if pixels.ndim != 3 or pixels.shape[0] not in (1, 3) or not pixels.size:
        raise ValueError(f"{what} must be [c, h, w] with c = 1 or 3, not {list(pixels.shape)}.")
    if pixels.shape != shape:
        raise ValueError(f"{what} is {list(pixels.shape)}, but the first is {list(shape)}.")
    if wrong := int((~np.isfinite(pixels)).sum()):
        raise ValueError(f"{what} holds {wrong} values that are not finite.")
    for extreme in (pixels.min(), pixels.max()):
        if not 0 <= extreme <= 1:
            raise ValueError(f"{what} holds the value {extreme:g}, outside 0 to 1.")


# --- the quiz ---------------------------------------------------------------------------------


def quiz_html(rounds: Sequence[Round], *, question: str, outcomes: tuple[str, str]) -> str:
    """The rounds of a quiz as HTML.

    question: asked in every round.  outcomes: what is said of the stranger, and of the others.
    Raises ValueError when there is no round, or no question or outcome.
    """
    if not len(rounds):
        raise ValueError("A quiz needs at least 1 round, not 0.")
    if not all(text.strip() for text in (question, *outcomes)):
        raise ValueError("A quiz needs its question and 2 outcomes: one of them is empty.")
    parts = []
    for number, one in enumerate(rounds, 1):
        columns = _columns(len(one.pictures), 5)
        count = f"<small>Round {number} of {len(rounds)}.</small> " if len(rounds) > 1 else ""
        parts += [
            '<fieldset class="round">',
            f"<legend>{count}{_text(question)}</legend>",
            f'<ul class="candidates" role="list" style="--columns: {columns}; {IN_A_ROW}">',
            *(_candidate(one, i, outcomes) for i in range(len(one.pictures))),
            "</ul>",
            "</fieldset>",
        ]
    return _play("quiz", [*parts, f'<p class="key">{KEY}</p>'])


def _candidate(one: Round, i: int, outcomes: tuple[str, str]) -> str:
    """One picture of a round, and folded below it what it is."""
    name = f"Picture {i + 1}"
    alt = f"{name}: {one.names[i]}" if len(one.names) else name
    is_stranger = i == one.stranger
    nearest = [
        f'<div class="neighbour">{_photograph(image, f"{what.capitalize()} of picture {i + 1}")}'
        f"<p>{what} <b>r = {_number(correlation)}</b></p></div>"
        for image, what, correlation in zip(one.nearest[i], NEIGHBOURS, one.similarity[i])
    ]
    shown = _photograph(one.pictures[i], alt)
    return "\n".join([
        f'<li class="candidate"{" data-stranger" if is_stranger else ""}>',
        f'<div class="pick">{shown}<p class="number" aria-hidden="true">{i + 1}</p></div>',
        f'<details class="truth"><summary>What is picture {i + 1}?</summary>',
        f'<p class="outcome">{_text(outcomes[not is_stranger])}</p>',
        *nearest,
        "</details>",
        "</li>",
    ])  # fmt: skip


def _photograph(image: np.ndarray, alt: str) -> str:
    """A small image, enlarged so that its pixels stay sharp, also without a style sheet."""
    high, wide = np.shape(image)[1:]
    return (
        f'<img class="pixels" src="{png_address(image)}" alt="{_text(alt)}" '
        f'width="{ENLARGED}" height="{round(ENLARGED * high / wide)}" '
        'style="image-rendering: pixelated">'
    )


def _number(value: float) -> str:
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}")


# --- the slider -------------------------------------------------------------------------------


def slider_html(states: Sequence[State], *, control: str, start: int) -> str:
    """The states of a slider as HTML.

    control: what the slider changes.  start: the place of the state that is shown first.
    Raises ValueError for fewer than two states, labels that are alike, or no such place.
    """
    many = len(states)
    if many < 2:
        raise ValueError(f"A slider needs at least 2 states, not {many}.")
    labels = [state.label for state in states]
    if len(set(labels)) < many:
        alike = next(label for label in labels if labels.count(label) > 1)
        raise ValueError(f"{labels.count(alike)} states of the slider have the label {alike!r}.")
    if not control.strip():
        raise ValueError("A slider needs the name of what it changes: it is empty.")
    if not _is_place(start, many):
        raise ValueError(
            f"The slider starts at {start!r}, but the places of {many} states are 0 to {many - 1}."
        )
    most = max((len(s.picture) for s in states if not isinstance(s.picture, Figure)), default=1)
    columns = _columns(most, MOST_COLUMNS)
    parts = ['<ul class="states" role="list">']
    for state in states:
        parts += [
            f'<li class="state" data-label="{_text(state.label)}">',
            f'<p class="label">{_text(control)}: <strong>{_text(state.label)}</strong></p>',
            f'<p class="sentence">{_text(state.sentence)}</p>',
            f'<div class="picture">{_picture(state, columns)}</div>',
            "</li>",
        ]
    settings = f' data-control="{_text(control)}" data-start="{start}"'
    return _play("slider", [*parts, "</ul>"], settings)


def _picture(state: State, columns: int) -> str:
    """A figure for light and for dark pages, or images as one sheet `columns` wide."""
    alt = _text(state.alt)
    if isinstance(state.picture, Figure):
        kind, light, dark = light_and_dark(state.picture)
        width = min(round(inches(kind, light) * PIXELS_PER_INCH), WIDEST)
        return (
            f'<img class="only-light" src="{address(kind, light)}" alt="{alt}" width="{width}">\n'
            f'<img class="only-dark" src="{address(kind, dark)}" alt="{alt}" width="{width}" '
            'style="display: none">'  # until play.css knows of a dark page; a notebook does not
        )
    images = [np.asarray(image) for image in state.picture]
    wide = min(len(images), columns)
    return (
        f'<img class="pixels sheet" src="{png_address(sheet(images, columns))}" alt="{alt}" '
        f'style="image-rendering: pixelated; width: {wide / columns:.2%}; max-width: {8 * wide}rem">'
    )


# --- both -------------------------------------------------------------------------------------


def _play(kind: str, parts: list[str], settings: str = "") -> str:
    return "\n".join([f'<div class="play {kind}" data-kind="{kind}"{settings}>', *parts, "</div>"])


def _columns(many: int, most: int) -> int:
    """Columns of lines that are about equally long, at most `most`."""
    return math.ceil(many / math.ceil(many / most))


def _text(words: str) -> str:
    """One line of words in which nothing is markup."""
    return escape(" ".join(words.split()))
