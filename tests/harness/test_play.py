"""Quizzes and sliders: what a page is given, complete without scripts, and what is refused."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib import pyplot
from PIL import Image

from harness import embedding, page
from harness.play import Round, State, quiz_html, slider_html

ASKED = {"question": "Which was never in the training set?", "outcomes": ("never", "once")}
VOID = {"img", "input", "br"}


class Markup(HTMLParser):
    """Elements in order as (tag, attributes), and the text that is visible with folds closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.visible = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "details" not in self.open or "summary" in self.open:
            self.visible += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def picture(value: float = 0.5, shape: tuple[int, ...] = (1, 4, 6)) -> np.ndarray:
    return np.full(shape, value)


def a_round(**changes) -> Round:
    three = [picture(value) for value in (0.0, 0.5, 1.0)]
    given = {
        "pictures": three,
        "stranger": 1,
        "nearest": [(image, image) for image in three],
        "similarity": [(0.9, -0.25), (0.123, 0.456), (1.0, 0.0)],
    }
    return Round(**given | changes)


def a_state(label: str = "0.5", **changes) -> State:
    given = {"sentence": "Half of it.", "picture": [picture()] * 7, "alt": "Grey squares."}
    return State(label, **given | changes)


def decoded(address: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(address.removeprefix("data:image/png;base64,"))))


# --- the quiz -----------------------------------------------------------------------------------


def test_a_quiz_has_every_picture_with_its_nearest_images_and_correlations():
    html = quiz_html([a_round(), a_round(stranger=2)], **ASKED)
    markup = Markup(html)
    images = markup.all("img")
    assert [image["alt"] for image in images[:4]] == [
        "Picture 1",
        "Nearest training image of picture 1",
        "Nearest held-out image of picture 1",
        "Picture 2",
    ]
    assert len(images) == 2 * 3 * 3 and len(markup.all("fieldset")) == 2
    assert re.findall("r = ([^<]+)", html)[:6] == ["0.90", "−0.25", "0.12", "0.46", "1.00", "0.00"]
    strangers = ["data-stranger" in candidate for candidate in markup.all("li")]
    assert strangers == [False, True, False, False, False, True]


def test_the_answer_is_folded_and_the_question_is_not():
    markup = Markup(quiz_html([a_round()], **ASKED))
    text = " ".join(markup.visible.split())
    assert text.startswith("Which was never in the training set? 1 What is picture 1?")
    assert "once" not in text and "0.9" not in text
    assert text.count("never") == 1
    assert all("open" not in folded for folded in markup.all("details"))


@pytest.mark.parametrize("channels, mode", [(1, "L"), (3, "RGB")])
def test_pictures_are_small_and_exact(channels, mode):
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 256, (channels, 8, 8)) / 255 for _ in range(2)]
    one = Round(pictures, 0, [(p, p) for p in pictures], [(1, 1)] * 2)
    first = decoded(Markup(quiz_html([one], **ASKED)).all("img")[0]["src"])
    assert first.mode == mode and first.size == (8, 8)
    expected = np.round(pictures[0] * 255).transpose(1, 2, 0).squeeze()
    np.testing.assert_array_equal(np.asarray(first), expected)


def test_a_picture_has_its_proportions_without_a_style_sheet():
    image = Markup(quiz_html([a_round()], **ASKED)).all("img")[0]
    assert (image["width"], image["height"]) == ("112", "75")


def test_nothing_is_loaded_and_words_are_no_markup():
    one = a_round(names=["<b>bold</b>", 'a "quote"', "~~~"])
    html = quiz_html([one], question="Is a < b\n~~~\n& c?", outcomes=("<script>", "'"))
    markup = Markup(html)
    assert {tag for tag, _ in markup.elements} == {
        "div", "fieldset", "legend", "ul", "li", "img", "p", "details", "summary", "b"
    }  # fmt: skip
    assert markup.all("img")[0]["alt"] == "Picture 1: <b>bold</b>"
    assert "Is a < b ~~~ & c?" in markup.visible
    assert all(source["src"].startswith("data:image/png;base64,") for source in markup.all("img"))
    assert not re.search(r"https?:|url\(|\son\w+=", html)
    assert all(line.startswith("<") for line in html.splitlines())  # none can end a Markdown fence


WRONG_ROUNDS = [
    ({"pictures": [picture()]}, "at least 2 pictures, not 1"),
    ({"stranger": 3}, "stranger is 3, but the places of 3 pictures are 0 to 2"),
    ({"stranger": -1}, "stranger is -1"),
    ({"stranger": 1.0}, "stranger is 1.0"),
    ({"stranger": True}, "stranger is True"),
    ({"nearest": [(picture(), picture())] * 2}, "needs 3 pairs of nearest images, not 2"),
    ({"nearest": [(picture(),)] * 3}, r"nearest\[0\] needs 2 images, not 1"),
    ({"similarity": [(1, 1)] * 4}, "needs 3 pairs of correlations, not 4"),
    ({"similarity": [(1, 1), (1, 1), (0.5,)]}, r"similarity\[2\] needs 2 correlations, not 1"),
    ({"similarity": [(1, 1), (1, float("nan")), (1, 1)]}, r"similarity\[1\]\[1\] is nan"),
    ({"similarity": [(1, 1), (1, 1), (-1.2, 1)]}, r"similarity\[2\]\[0\] is -1.2"),
    ({"names": ["a"]}, "needs 3 names, not 1"),
    ({"pictures": [picture(), picture(), picture(shape=(1, 4, 4))]},
     r"pictures\[2\] is \[1, 4, 4\], but the first is \[1, 4, 6\]"),
    ({"pictures": [picture(shape=(4, 6))] * 3}, r"pictures\[0\] must be \[c, h, w\].*not \[4, 6\]"),
    ({"pictures": [picture(shape=(2, 4, 6))] * 3}, r"not \[2, 4, 6\]"),
    ({"pictures": [picture(shape=(1, 0, 6))] * 3}, r"not \[1, 0, 6\]"),
    ({"pictures": [picture(), picture(np.nan), picture()]}, r"pictures\[1\] holds 24 values that"),
    ({"pictures": [picture(), picture(1.5), picture()]}, r"pictures\[1\] holds the value 1.5, outs"),
    ({"nearest": [(picture(), picture(-0.1))] * 3}, r"nearest\[0\]\[1\] holds the value -0.1"),
]  # fmt: skip


@pytest.mark.parametrize("changes, message", WRONG_ROUNDS)
def test_a_round_that_does_not_fit_together_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        a_round(**changes)


def test_a_quiz_without_a_round_or_words_is_refused():
    with pytest.raises(ValueError, match="at least 1 round, not 0"):
        quiz_html([], **ASKED)
    for change in ({"question": " "}, {"outcomes": ("", "b")}):
        with pytest.raises(ValueError, match="one of them is empty"):
            quiz_html([a_round()], **ASKED | change)


# --- the slider ---------------------------------------------------------------------------------


def test_every_state_stands_on_the_page_with_its_words():
    states = [a_state(f"<{n}>", sentence=f"It is {n}\n& more.") for n in range(3)]
    markup = Markup(slider_html(states, control="a & b", start=2))
    assert [state["data-label"] for state in markup.all("li")] == ["<0>", "<1>", "<2>"]
    assert [image["alt"] for image in markup.all("img")] == ["Grey squares."] * 3
    text = " ".join(markup.visible.split())
    assert text == " ".join(f"a & b: <{n}> It is {n} & more." for n in range(3))
    play = markup.all("div")[0]
    assert (play["class"], play["data-control"], play["data-start"]) == (
        "play slider",
        "a & b",
        "2",
    )


def test_images_of_a_state_stand_in_even_lines_through_which_the_page_shows():
    few = a_state("few", picture=[picture(1.0)] * 2)
    images = Markup(slider_html([few, a_state("7")], control="n", start=0)).all("img")
    short, long = (decoded(image["src"]) for image in images)
    assert short.size == (2 * 6 + 2, 4) and long.size == (4 * 6 + 3 * 2, 2 * 4 + 2)
    assert short.mode == "LA" and short.getpixel((0, 0)) == (255, 255)
    assert short.getpixel((6, 0))[1] == long.getpixel((25, 8))[1] == 0
    assert "width: 50.00%" in images[0]["style"] and "width: 100.00%" in images[1]["style"]


def test_a_figure_of_a_state_has_a_dark_variant_the_size_of_other_figures_and_is_closed():
    fig, ax = pyplot.subplots(figsize=(5.2, 2))
    ax.plot([0, 1])
    states = [a_state("line", picture=fig, alt="A <line>."), a_state()]
    light, dark, _ = Markup(slider_html(states, control="n", start=0)).all("img")
    assert (light["class"], dark["class"]) == ("only-light", "only-dark")
    assert light["alt"] == dark["alt"] == "A <line>." and light["width"] == dark["width"]
    assert 500 < int(light["width"]) <= 620
    drawn = base64.b64decode(dark["src"].removeprefix("data:image/svg+xml;base64,")).decode()
    assert drawn.startswith("<?xml") and "#e8e8e8" in drawn
    assert pyplot.get_fignums() == []


def test_a_figure_with_photographs_is_a_png_of_as_many_inches():
    fig, ax = pyplot.subplots(figsize=(3, 2))
    ax.imshow([[0, 1]])
    kind, light, _ = embedding.light_and_dark(fig)
    assert kind == "image/png" and embedding.inches(kind, light) == pytest.approx(3, abs=0.7)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"label": " "}, "needs its label"),
        ({"sentence": ""}, "needs its sentence"),
        ({"alt": "\n"}, "needs its alt"),
        ({"picture": []}, "state '0.5' has 0 images"),
        ({"picture": [picture(), picture(shape=(3, 4, 6))]}, r"image 1 of the state '0.5' is \[3"),
        (
            {"picture": [picture(2.0)]},
            "image 0 of the state '0.5' holds the value 2, outside 0 to 1",
        ),
        ({"picture": [picture(np.inf)]}, "holds 24 values that are not finite"),
    ],
)
def test_a_state_without_words_or_proper_images_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        a_state(**{"label": "0.5"} | changes)


@pytest.mark.parametrize(
    "labels, control, start, message",
    [
        ("a", "n", 0, "at least 2 states, not 1"),
        ("", "n", 0, "at least 2 states, not 0"),
        ("aba", "n", 0, "2 states of the slider have the label 'a'"),
        ("ab", " ", 0, "the name of what it changes"),
        ("ab", "n", 2, "starts at 2, but the places of 2 states are 0 to 1"),
    ],
)
def test_a_slider_that_goes_nowhere_is_refused(labels, control, start, message):
    with pytest.raises(ValueError, match=message):
        slider_html([a_state(label) for label in labels], control=control, start=start)


# --- on a page ----------------------------------------------------------------------------------


def test_plays_carry_their_caption_and_name_and_are_the_same_every_time(shown):
    for _ in range(2):
        page.quiz([a_round()], caption="A *quiz*.", name="fig-quiz")
        page.slider([a_state("1"), a_state("2")], control="n", caption="Two.", name="fig-n")
    (quiz, of_quiz), (slider, of_slider) = shown[:2]
    assert shown[:2] == shown[2:]
    assert of_quiz == {"play": {"caption": "A *quiz*.", "name": "fig-quiz"}}
    assert of_slider == {"play": {"caption": "Two.", "name": "fig-n"}}
    assert "never in the training set" in quiz["text/html"]
    assert quiz["text/plain"].startswith("A quiz of 1 round") and "n: 1, 2" in slider["text/plain"]


def test_plays_whose_runs_are_not_there_say_so(shown):
    page.quiz(None, caption="C.", name="fig-quiz")
    page.slider(None, control="n", caption="C.", name="fig-n")
    for (text, _), (what, name) in zip(shown, (("quiz", "fig-quiz"), ("slider", "fig-n"))):
        assert text.startswith(f"~~~{{table}} Not run: this {what}") and f":name: {name}\n" in text


@pytest.mark.parametrize("change", [{"caption": " "}, {"name": "Fig 1"}])
def test_plays_without_words_are_refused(shown, change):
    words = {"caption": "C.", "name": "fig-a"} | change
    with pytest.raises(ValueError, match="it is empty|is no name"):
        page.quiz([a_round()], **words)
    with pytest.raises(ValueError, match="it is empty|is no name"):
        page.slider([a_state("1"), a_state("2")], control="n", **words)
    assert shown == []
