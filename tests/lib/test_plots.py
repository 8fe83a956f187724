import base64
import io

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot
from matplotlib.figure import Figure
from PIL import Image

from lib import plots

WORDS = {"alt": "Two lines fall.", "caption": "The residual *falls*.", "name": "kkt-residual"}


@pytest.fixture
def page(monkeypatch):
    """What is displayed, as (data or Markdown text, metadata)."""
    shown = []
    monkeypatch.setattr(
        plots, "display", lambda thing, **kw: shown.append((thing, kw.get("metadata")))
    )
    return shown


@pytest.fixture
def frame():
    random = np.random.RandomState(0)
    return pd.DataFrame(
        [
            {"epoch": e, "residual": e**-0.5 * random.rand(), "n": n, "seed": s, "arch": a}
            for e in (10, 100, 1000) for n, a in ((50, "MLP"), (500, "CNN")) for s in range(3)
        ]
    )  # fmt: skip


def test_show_carries_text_and_is_an_opaque_white_png(page, frame):
    plots.show(plots.curves(frame, "epoch", "residual", "n", log_x=True), **WORDS)
    [(data, metadata)] = page
    assert metadata["figure"] == WORDS and metadata["image/png"] == {"alt": WORDS["alt"]}
    assert data["text/plain"] == WORDS["alt"]
    image = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    assert image.convert("RGBA").getpixel((0, 0)) == (255, 255, 255, 255)
    assert image.text == {} and 700 < image.width < 1100


def test_figures_are_the_same_every_time(page, frame):
    for _ in range(2):
        plots.show(plots.curves(frame, "epoch", "residual", "n"), **WORDS)
        plots.show(plots.scatter(frame, "epoch", "residual", "arch"), **WORDS)
        plots.show(plots.intervals(frame, "arch", "residual", "n"), **WORDS)
    pictures = [data["image/png"] for data, _ in page]
    assert pictures[:3] == pictures[3:] and len(set(pictures)) == 3


@pytest.mark.parametrize(
    "change", [{"alt": " "}, {"caption": ""}, {"name": ""}, {"name": "Fig 1"}, {"name": "a_b"}]
)
def test_figures_without_words_are_refused(page, change):
    with pytest.raises(ValueError, match="it is empty|is no name"):
        plots.show(Figure(), **{**WORDS, **change})
    assert page == []


def test_show_closes_pyplot_figures(page):
    with plots.style():
        fig, ax = pyplot.subplots()
        ax.plot([1, 2])
    plots.show(fig, **WORDS)
    assert pyplot.get_fignums() == []


def test_the_style_does_not_leak(frame):
    before = dict(pyplot.rcParams)
    plots.curves(frame, "epoch", "residual", "n")
    assert dict(pyplot.rcParams) == before


def pictures(fig):
    """The image arrays in the order they were drawn."""
    return [np.asarray(ax.images[0].get_array()) for ax in fig.axes]


def test_image_grid_shows_every_image_as_it_is():
    images = torch.rand(5, 3, 4, 6)
    fig = plots.image_grid(images, titles=list("abcde"), columns=3)
    shown = pictures(fig)
    assert len(shown) == 5 and np.allclose(shown[4], images[4].permute(1, 2, 0), atol=1e-6)
    assert [ax.get_title() for ax in fig.axes] == list("abcde")
    gray = pictures(plots.image_grid(torch.rand(2, 1, 4, 4)))
    assert gray[0].shape == (4, 4)


def test_values_are_clipped_or_stretched_never_rescaled_silently():
    images = torch.tensor([-1.0, 0.0, 0.5, 3.0]).reshape(1, 1, 2, 2)
    assert pictures(plots.image_grid(images))[0].ravel().tolist() == [0, 0, 0.5, 1]
    stretched = pictures(plots.image_grid(images, stretch=True))[0].ravel()
    assert stretched.tolist() == [0, 0.25, 0.375, 1]
    assert not pictures(plots.image_grid(torch.ones(1, 1, 2, 2), stretch=True))[0].any()


def test_pairs_stand_above_each_other_in_rows():
    top, bottom = torch.zeros(5, 1, 4, 4), torch.ones(5, 3, 4, 4)
    fig = plots.image_pairs(top, bottom, titles=[f"{i}" for i in range(5)], columns=3)
    means = [picture.mean() for picture in pictures(fig)]
    assert means == [0] * 3 + [1] * 3 + [0] * 2 + [1] * 2
    assert [ax.get_title() for ax in fig.axes] == list("012") + [""] * 3 + list("34") + [""] * 2
    above, below = fig.axes[0].get_position(), fig.axes[3].get_position()
    assert above.x0 == below.x0 and above.y0 > below.y1
    assert [text.get_text() for text in fig.texts][:2] == ["reconstructed", "nearest\ntraining\nimage"]


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (torch.rand(4, 4), "c = 1 or 3"),
        (torch.rand(1, 2, 4, 4), "c = 1 or 3"),
        (torch.rand(0, 1, 4, 4), "n > 0"),
        (torch.full((2, 1, 2, 2), float("nan")), "Image 0 holds values that are not finite"),
    ],
)
def test_what_is_no_picture_is_refused(images, words):
    with pytest.raises(ValueError, match=words):
        plots.image_grid(images)


def test_titles_and_partners_must_be_complete():
    images = torch.rand(3, 1, 2, 2)
    with pytest.raises(ValueError, match="2 titles for 3 images"):
        plots.image_grid(images, titles=["a", "b"])
    with pytest.raises(ValueError, match="2 bottom images for 3 images"):
        plots.image_pairs(images, images[:2])


def test_lines_are_averages_over_seeds_named_at_their_ends(frame):
    fig = plots.curves(frame, "epoch", "residual", "n", log_y=True, reference=(0.01, "chance"))
    ax = fig.axes[0]
    drawn = ax.lines[0].get_xydata()
    mean = frame[frame.n == 50].groupby("epoch").residual.mean()
    assert np.allclose(drawn[:, 1], mean) and ax.get_yscale() == "log"
    assert {text.get_text() for text in ax.texts} == {"chance", "n = 50", "n = 500"}
    assert ax.get_legend() is None


def test_labels_at_line_ends_keep_apart():
    same = pd.DataFrame([{"x": x, "y": x, "of": name} for x in (1, 2) for name in "abcd"])
    ax = plots.curves(same, "x", "y", "of").axes[0]
    heights = sorted(text.get_position()[1] for text in ax.texts)
    assert np.diff(heights).min() > 0.05


def test_too_many_lines_are_refused(frame):
    crowd = pd.DataFrame({"x": range(11), "y": range(11), "k": range(11)})
    with pytest.raises(ValueError, match="'k' has 11 values"):
        plots.curves(crowd, "x", "y", "k")


def test_a_table_is_numbered_markdown(page):
    frame = pd.DataFrame(
        {"arch": ["MLP", "a|b"], "acc": [0.98765, np.nan], "share": [0.5, 0.25], "ok": [True, False]}
    )
    plots.table(frame, caption="What\n came out", name="tab-a", formats={"share": ".0%"})
    [(markdown, _)] = page
    assert markdown.data.splitlines() == [
        "~~~{table} What came out",
        ":name: tab-a",
        "",
        "| arch | acc | share | ok |",
        "| --- | ---: | ---: | --- |",
        "| MLP | 0.988 | 50% | yes |",
        "| a\\|b | – | 25% | no |",
        "~~~",
    ]


def test_tables_that_say_nothing_are_refused(page):
    frame = pd.DataFrame({"a": [1]})
    for bad in (
        {"frame": frame, "caption": "", "name": "t"},
        {"frame": frame, "caption": "c", "name": "T 1"},
        {"frame": frame[:0], "caption": "c", "name": "t"},
        {"frame": frame, "caption": "c", "name": "t", "formats": {"b": ".1f"}},
    ):
        with pytest.raises(ValueError):
            plots.table(bad.pop("frame"), **bad)
    assert page == []


def test_say_is_a_paragraph(page):
    plots.say(f"""
        Of 50 images, **{14}** are
        recovered.
    """)
    assert page[0][0].data == "Of 50 images, **14** are\nrecovered."
    with pytest.raises(ValueError, match="empty"):
        plots.say("  ")


def test_image_rows_hold_every_image_under_its_title():
    images = torch.rand(3, 1, 4, 4)
    fig = plots.image_rows({"a": images, "b": 1 - images}, {"b": ["x", "y", "z"]})
    assert len(fig.axes) == 6 and [ax.get_title() for ax in fig.axes[3:]] == ["x", "y", "z"]
    assert {text.get_text() for text in fig.texts} == {"a", "b"}
    shown = np.asarray(fig.axes[4].images[0].get_array())
    assert np.allclose(shown, 1 - images[1, 0].numpy())


def test_image_rows_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="2 images in the row 'b' for 3"):
        plots.image_rows({"a": torch.rand(3, 1, 4, 4), "b": torch.rand(2, 1, 4, 4)})


def test_panels_show_each_part_once_with_its_own_lines(frame):
    fig = plots.panels(frame, "epoch", "residual", "n", "arch", log_x=True, label_y="residual")
    assert [ax.get_title(loc="left") for ax in fig.axes] == ["MLP", "CNN"]
    means = frame[frame["arch"] == "MLP"].groupby("epoch")["residual"].mean()
    drawn = [line for line in fig.axes[0].lines if len(line.get_ydata()) == 3]
    assert len(drawn) == 1 and np.allclose(drawn[0].get_ydata(), means)
    assert fig.axes[0].get_xscale() == "log"
    assert [t.get_text() for t in fig.legends[0].get_texts()] == ["50", "500"]


def test_panels_without_a_partner_are_hidden(frame):
    three = pd.concat([frame, frame.assign(arch="ViT")])
    fig = plots.panels(three, "epoch", "residual", "n", "arch")
    assert [ax.get_visible() for ax in fig.axes] == [True, True, True, False]


def test_a_heat_map_shows_the_means_of_its_cells(frame):
    fig = plots.heat(frame, "epoch", "n", "residual", "arch", format=".3f")
    means = frame.groupby(["arch", "n", "epoch"])["residual"].mean()
    numbers = [text.get_text() for ax in fig.axes for text in ax.texts]
    assert sorted(numbers) == sorted(f"{value:.3f}" for value in means)
    assert [ax.get_title(loc="left") for ax in fig.axes] == ["MLP", "CNN"]
    assert len({ax.collections[0].get_clim() for ax in fig.axes}) == 1
