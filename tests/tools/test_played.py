"""Quizzes and sliders on built pages, and in a real browser with keys alone."""

import json
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from bs4 import BeautifulSoup

from browser import Server, find_browser
from chrome import Chrome
from played import played_book

BROWSER = find_browser()

QUIZZES, LINES = "02_played", "03_slid"
OF_THE_THEME = ("/favicon.ico", "Got invalid theme mode")
ASKED = "Which of these was never in the training set?"


@pytest.fixture(scope="module")
def played(tmp_path_factory) -> SimpleNamespace:
    return played_book(tmp_path_factory.mktemp("played") / "checkout")


@pytest.fixture(scope="module")
def address(played) -> Iterator[str]:
    """Where the pages of the chapters are."""
    with Server(played.book.site, []) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/notebooks/"
        server.shutdown()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chrome]:
    if BROWSER is None:
        pytest.skip("needs chromium")
    with Chrome(BROWSER) as tab:
        yield tab


@pytest.fixture
def tab(chromium) -> Chrome:
    """The tab as a desktop has it."""
    chromium.scripts(True)
    chromium.medium()
    chromium.screen(1280, 900)
    return chromium


def tab_to(tab: Chrome, selector: str) -> None:
    """Press Tab until the element has the focus."""
    for _ in range(80):
        if tab.ask(f"document.activeElement.matches({selector!r})"):
            return
        tab.press("Tab")
    pytest.fail(f"Tab does not lead to {selector}")


def words(tab: Chrome, selector: str) -> str:
    """What a reader sees of an element, in one line."""
    return " ".join(tab.ask(f"document.querySelector({selector!r}).innerText").split())


def focused(tab: Chrome) -> str:
    return " ".join(tab.ask("document.activeElement.innerText").split())


def pick(number: int) -> str:
    return f"#fig-one .round.now .candidate:nth-child({number}) .pick"


def test_plays_are_numbered_as_figures_and_can_be_referred_to(played):
    page = BeautifulSoup(
        (played.book.site / f"notebooks/{QUIZZES}.html").read_text(), "html.parser"
    )
    captions = [figure.figcaption.p for figure in page.select("figure:has(> .play)")]
    assert [" ".join(caption.get_text().replace("#", "").split()) for caption in captions] == [
        "Figure 2.1 A first quiz.",
        "Figure 2.2 A second one.",
        "Figure 2.3 Images.",
    ]
    assert captions[0].em.get_text() == "first"
    assert "See Figure 2.1 and Figure 3.1." in page.select_one(".bd-article").get_text()


def test_the_notebook_to_download_shows_what_a_notebook_can(played):
    path = played.book.site / f"_sources/notebooks/{QUIZZES}.ipynb"
    outputs = [
        output
        for cell in json.loads(path.read_text())["cells"]
        for output in cell.get("outputs", [])
    ]
    assert ["text/html" in output["data"] for output in outputs] == [True] * 3
    assert "~~~{play}" not in path.read_text()


@pytest.mark.parametrize("page", [QUIZZES, LINES])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_asked_for_nor_complained_of_nor_cut(tab, address, page, width):
    tab.screen(width, 800)
    tab.open(f"{address}{page}.html")
    for opened in (
        "",
        "document.querySelectorAll('.play .pick:first-child').forEach(b => b.click())",
    ):
        tab.ask(opened)
        assert tab.ask(CUT) == []
    assert [error for error in tab.errors if not any(map(error.count, OF_THE_THEME))] == []
    own = (address.removesuffix("notebooks/"), "data:")
    assert tab.requests and [url for url in tab.requests if not url.startswith(own)] == []


# elements of a play that end beside the screen, or that cut what they hold
CUT = """
[...document.querySelectorAll("figure:has(> .play), .play :not(.spoken)")]
  .filter((element) => element.checkVisibility({checkVisibilityCSS: true}))
  .filter((element) => {
    const box = element.getBoundingClientRect();
    return box.left < 0 || box.right > innerWidth || element.scrollWidth > element.clientWidth + 1
      && getComputedStyle(element).display !== "inline";
  })
  .map((element) => element.outerHTML.slice(0, 60))
"""


def test_a_quiz_is_played_with_keys_alone(tab, address):
    tab.open(f"{address}{QUIZZES}.html")
    status = "#fig-one [role=status]"
    assert words(tab, "#fig-one .play") == (
        f"Round 1 of 3. {ASKED} 1 2 3 4 "
        "No round answered yet. Guessing finds 1 in 4. Next round Start again"
    )
    assert tab.announced(status).startswith("status")
    assert tab.announced("#fig-one .round.now") == f"group: Round 1 of 3. {ASKED}"
    assert tab.announced(pick(1)) == "button: Picture 1: <b>noise</b>"

    tab_to(tab, pick(1))
    tab.press("Enter")  # the stranger is the second
    assert words(tab, status) == (
        "Wrong. Picture 2 is the one: never in the training set. "
        "Score: 0 of 1 round right. Guessing: 0.25 on average (1 in 4)."
    )
    assert focused(tab) == "1 · your pick"
    candidates = words(tab, "#fig-one .round.now .candidates")
    assert candidates.count("nearest held-out image") == 4 and "r = −0.05" in candidates
    assert words(tab, "#fig-one .key").startswith("Below each picture: the nearest training image")
    tab.press("Tab", "Enter")  # an answer stays
    assert "0 of 1 round" in words(tab, status) and focused(tab) == "2"

    tab_to(tab, "#fig-one .controls button")
    tab.press("Enter")
    assert focused(tab) == f"Round 2 of 3. {ASKED}"
    assert words(tab, status) == "Score: 0 of 1 round right. Guessing: 0.25 on average (1 in 4)."
    tab_to(tab, "#fig-one .controls button")
    tab.press(" ")
    assert focused(tab) == f"Round 3 of 3. {ASKED}"  # the second was left out
    tab_to(tab, pick(4))
    tab.press(" ")
    assert words(tab, status).startswith("Right. Picture 4 is the one: never in the training set.")

    tab_to(tab, "#fig-one .controls button")
    tab.press("Enter")
    assert focused(tab) == f"Round 2 of 3. {ASKED}"
    tab_to(tab, pick(3))
    tab.press("Enter")
    assert "2 of 3 rounds right. Guessing: 0.75 on average" in words(tab, status)
    assert tab.ask("document.querySelector('#fig-one .controls button').ariaDisabled") == "true"
    assert words(tab, "#fig-two [role=status]").startswith("No round answered yet.")

    tab_to(tab, "#fig-one .controls button:last-child")
    tab.press("Enter")
    assert focused(tab) == f"Round 1 of 3. {ASKED}"
    assert words(tab, status) == "No round answered yet. Guessing finds 1 in 4."
    assert (
        tab.ask("document.querySelectorAll('#fig-one :is([open], [aria-pressed=true])').length")
        == 0
    )


def test_rounds_of_different_sizes_count_by_their_own_chance(tab, address):
    tab.open(f"{address}{QUIZZES}.html")
    assert words(tab, "#fig-two [role=status]").endswith("Guessing finds 1 in 2 or 4.")
    tab_to(tab, "#fig-two .candidate:nth-child(2) .pick")
    tab.press("Enter")
    tab_to(tab, "#fig-two .controls button")
    tab.press("Enter", "Tab", "Enter")
    assert words(tab, "#fig-two [role=status]") == (
        "Wrong. Picture 3 is the one: new & unseen. "
        "Score: 1 of 2 rounds right. Guessing: 0.75 on average."
    )
    assert words(tab, "#fig-one [role=status]").startswith("No round answered yet.")


def test_a_slider_steps_through_its_states_with_keys_alone(tab, address):
    tab.open(f"{address}{QUIZZES}.html")
    assert tab.announced("#fig-images input") == "slider: training images"
    heights = {tab.ask("document.querySelector('#fig-images .play').offsetHeight")}
    tab_to(tab, "#fig-images input")
    seen = [words(tab, "#fig-images label")]
    for key, spoken in (("ArrowRight", "Of 16"), ("ArrowRight", "Of 16"), ("Home", "Of 4")):
        tab.press(key)
        seen.append(words(tab, "#fig-images label"))
        heights.add(tab.ask("document.querySelector('#fig-images .play').offsetHeight"))
        assert tab.ask("document.querySelector('#fig-images .spoken').textContent").startswith(
            spoken
        )
        assert words(tab, "#fig-images .states").startswith(spoken)
    assert seen == [f"training images: {n}" for n in (8, 16, 16, 4)]
    assert tab.ask("document.activeElement.ariaValueText") == "4"
    assert tab.announced("#fig-images .state.now img") == "image: 4 drawings"
    assert len(heights) == 1  # nothing moves


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_slider_of_figures_shows_the_variant_of_the_page(tab, address, theme):
    tab.open(f"{address}{LINES}.html")
    tab.ask(f"document.documentElement.dataset.theme = {theme!r}")
    tab_to(tab, "#fig-lines input")
    tab.press("End")
    shown = """[...document.querySelectorAll("#fig-lines img")]
      .filter((image) => image.checkVisibility({checkVisibilityCSS: true}))
      .map((image) => [image.className, image.alt, image.naturalWidth > 100])"""
    assert tab.ask(shown) == [[f"only-{theme}", "A line that ends at 1.0.", True]]
    assert tab.announced("#fig-lines input") == "slider: reliability <of> the patch"


def test_the_focus_can_be_seen(tab, address):
    tab.open(f"{address}{QUIZZES}.html")
    for selector in (pick(1), "#fig-one .controls button", "#fig-images input"):
        tab_to(tab, selector)
        look = "(({outlineStyle, outlineWidth}) => [outlineStyle, outlineWidth])"
        assert tab.ask(f"{look}(getComputedStyle(document.activeElement))") == ["solid", "3px"]


@pytest.mark.parametrize("wish, duration", [("reduce", "0s"), ("no-preference", "0.15s")])
def test_who_wants_less_motion_gets_none(tab, address, wish, duration):
    tab.medium(prefers_reduced_motion=wish)
    tab.open(f"{address}{QUIZZES}.html")
    style = "getComputedStyle(document.querySelector('.pick'))"
    assert tab.ask(f"{style}.transitionDuration") == duration


LISTED = (
    f"Round 1 of 3. {ASKED} 1 What is picture 1? 2 What is picture 2? 3 What is picture 3? "
    "4 What is picture 4?"
)


@pytest.mark.parametrize("way", ["print", "no scripts"])
def test_on_paper_and_without_scripts_it_is_a_list_with_folded_answers(tab, address, way):
    tab.scripts(way != "no scripts")
    tab.medium("print" if way == "print" else "")
    tab.open(f"{address}{QUIZZES}.html")
    text = words(tab, "#fig-one .play")
    assert text.startswith(LISTED) and "Round 3 of 3." in text
    assert "in the training set" not in text.replace(ASKED, "")
    assert "Next round" not in text and "Guessing" not in text
    slid = words(tab, "#fig-images .play")
    assert [f"training images: {n} Of {n} images" in slid for n in (4, 8, 16)] == [True] * 3
    assert tab.ask("document.querySelectorAll('#fig-images img').length") == 3
    if way == "no scripts":
        tab.ask("document.querySelector('#fig-one summary').click()")
        assert "What is picture 1? in the training set" in words(tab, "#fig-one .play")
