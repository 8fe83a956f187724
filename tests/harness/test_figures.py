"""Kinds of diagram: what is drawn, and what is refused."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from harness import figures
from harness.results import Result, Runs
from harness.statistics import over_seeds
from harness.style import INK, MUTED, PALETTE, WIDTH, make_dark, style


@pytest.fixture
def frame() -> pd.DataFrame:
    random = np.random.RandomState(0)
    return pd.DataFrame(
        [
            {"epoch": e, "residual": e**-0.5 * random.rand(), "n": n, "seed": s, "arch": a}
            for e in (10, 100, 1000) for n, a in ((50, "MLP"), (500, "CNN")) for s in range(3)
        ]
    )  # fmt: skip


def drawn_by_every_kind(frame: pd.DataFrame) -> list[Figure]:
    multiples, axes = figures.small_multiples(["A", "B (900)"], height=1.5)
    figures.seeds(axes[0], 0, [0.1, 0.2, 0.4], PALETTE[0])
    figures.key(multiples, {"one": (PALETTE[0], "o"), "two": (PALETTE[1], "D")})
    return [
        multiples,
        figures.panels(frame, "epoch", "residual", "arch", "n", log_x=True),
        figures.heat(frame, "epoch", "arch", "residual", "n"),
        figures.image_rows({"a": torch.rand(3, 1, 4, 4), "b": torch.rand(3, 3, 4, 4)}),
    ]


def test_every_kind_is_as_wide_as_a_phone_at_most(frame):
    assert all(fig.get_figwidth() <= WIDTH + 1e-9 for fig in drawn_by_every_kind(frame))


def test_the_style_does_not_leak(frame):
    before = dict(pyplot.rcParams)
    drawn_by_every_kind(frame)
    assert dict(pyplot.rcParams) == before


# --- small multiples ----------------------------------------------------------------------------


@pytest.mark.parametrize("others, title", [([], "CIFAR-10 (JPEG)"), (["B"], "CIFAR-10\n(JPEG)")])
def test_small_multiples_name_every_panel_in_two_lines_where_it_is_narrow(others, title):
    _, axes = figures.small_multiples(["MNIST", "CIFAR-10 (JPEG)", *others], height=1.5)
    assert [ax.get_title(loc="left") for ax in axes] == ["MNIST", title, *others]


@pytest.mark.parametrize("span", [(0.1, 0.95), (-0.05, 1.05), (0, 4), (0.4, 0.7)])
def test_names_and_numbers_of_four_panels_do_not_run_into_each_other(span):
    names = ["MNIST", "Fashion-MNIST (900)", "CIFAR-10 (JPEG)", "coloured digits"]
    with style():
        fig, axes = figures.small_multiples(names, height=2.0)
        axes[0].set_yticks([0, 1], ["inversion loss and priors", "all nine terms"])
        for ax in axes:
            ax.set_xlim(*span)
        canvas = FigureCanvasAgg(fig)
        canvas.draw()
    titles = [ax._left_title.get_window_extent() for ax in axes]
    numbers = [
        label.get_window_extent()
        for ax in axes
        for at, label in zip(ax.get_xticks(), ax.get_xticklabels())
        if span[0] <= at <= span[1]
    ]
    for row in (titles, numbers):
        assert all(left.x1 <= right.x0 for left, right in zip(row, row[1:]))


def test_rows_of_small_multiples_are_named_once_and_share_what_is_asked():
    _, axes = figures.small_multiples(["A", "B"], height=3.0, rows=2, sharey="row")
    assert [ax.get_title(loc="left") for ax in axes.flat] == ["A", "B", "", ""]
    axes[0, 0].set_ylim(0, 7)
    assert axes[0, 1].get_ylim() == (0, 7) and axes[1, 0].get_ylim() != (0, 7)


def test_seeds_are_faint_marks_with_their_mean_and_its_interval():
    _, (ax,) = figures.small_multiples(["A"], height=1.5)
    figures.seeds(ax, 2.0, [0.0, 1.0], PALETTE[0])
    faint, interval, mean = ax.lines
    assert faint.get_xdata().tolist() == [0.0, 1.0] and set(faint.get_ydata()) == {2.0}
    assert list(mean.get_xdata()) == [0.5]
    expected = over_seeds([0.0, 1.0])
    assert list(interval.get_xdata()) == [expected.low, expected.high]


def test_one_seed_has_a_mean_and_no_interval():
    _, (ax,) = figures.small_multiples(["A"], height=1.5)
    figures.seeds(ax, 2.0, [0.5], PALETTE[0])
    faint, mean = ax.lines
    assert faint.get_xdata().tolist() == [0.5] and list(mean.get_xdata()) == [0.5]


def test_without_seeds_nothing_is_drawn():
    _, (ax,) = figures.small_multiples(["A"], height=1.5)
    figures.seeds(ax, 2.0, [], PALETTE[0])
    assert not ax.lines


def test_a_hollow_mean_has_an_edge_and_no_face():
    _, (ax,) = figures.small_multiples(["A"], height=1.5)
    figures.seeds(ax, 0, [0.5], PALETTE[1], hollow=True)
    mean = ax.lines[-1]
    assert mean.get_markerfacecolor() == "none"
    assert mpl.colors.to_rgb(mean.get_markeredgecolor()) == PALETTE[1]


def test_the_key_has_one_name_a_mark():
    fig, _ = figures.small_multiples(["A"], height=1.5)
    figures.key(fig, {"one": (PALETTE[0], "o"), "two": (PALETTE[1], "D")})
    [legend] = fig.legends
    assert [text.get_text() for text in legend.get_texts()] == ["one", "two"]


def test_the_key_can_stand_below_a_finding_and_above_pictures():
    fig, _ = figures.small_multiples(["A"], height=1.5)
    figures.key(fig, {}, finding="all of it")
    assert fig.legends[0].get_title().get_text() == "all of it"
    images = figures.image_rows({"a": torch.rand(3, 1, 4, 4)})
    figures.key(images, {"one": (PALETTE[0], "o")})
    [box] = [legend.get_window_extent() for legend in images.legends]
    assert box.y0 >= images.bbox.height


# --- without runs -------------------------------------------------------------------------------


def test_a_figure_that_needs_runs_is_none_without_them():
    @figures.needs_runs
    def draw(runs: Runs, other: object = None) -> Figure:
        return Figure()

    failed = Runs([Result("toy.run", {}, "failed", error="x")])
    assert draw(Runs([])) is None and draw(failed) is None
    assert draw(Runs([Result("toy.run", {}, "computed")]), other=Runs([])) is None
    assert isinstance(draw(Runs([Result("toy.run", {}, "computed")])), Figure)


# --- pictures -----------------------------------------------------------------------------------


def pictures(fig: Figure) -> list[np.ndarray]:
    """The image arrays in the order they were drawn."""
    return [np.asarray(ax.images[0].get_array()) for ax in fig.axes]


def test_image_rows_hold_every_image_under_its_title():
    images = torch.rand(3, 1, 4, 4)
    fig = figures.image_rows({"a": images, "b": 1 - images}, {"b": ["x", "y", "z"]})
    expected = [*images[:, 0].numpy(), *(1 - images)[:, 0].numpy()]
    assert all(np.allclose(p, e) for p, e in zip(pictures(fig), expected, strict=True))
    assert [ax.get_title() for ax in fig.axes] == ["", "", "", "x", "y", "z"]


def test_image_rows_clip_what_is_out_of_range():
    images = torch.tensor([-1.0, 0.0, 0.5, 2.0]).reshape(1, 1, 2, 2)
    assert pictures(figures.image_rows({"a": images}))[0].ravel().tolist() == [0, 0, 0.5, 1]


@pytest.mark.parametrize(
    "images",
    [
        torch.rand(2, 2, 4, 4),
        torch.rand(4, 4),
        torch.rand(0, 1, 4, 4),
        torch.full((1, 1, 2, 2), torch.nan),
    ],
)
def test_what_is_no_image_is_refused(images):
    with pytest.raises(ValueError, match="Images must be|not finite"):
        figures.image_rows({"a": images})


def test_image_rows_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="2 images in the row 'b' for 3 images"):
        figures.image_rows({"a": torch.rand(3, 1, 4, 4), "b": torch.rand(2, 1, 4, 4)})


# --- panels and maps ----------------------------------------------------------------------------


def test_panels_share_their_axes_and_one_legend(frame):
    fig = figures.panels(frame, "epoch", "residual", "arch", "n", log_x=True, label_y="loss")
    assert [ax.get_title(loc="left") for ax in fig.axes] == ["50", "500"]
    assert len({ax.get_ylim() for ax in fig.axes}) == 1
    [legend] = fig.legends
    assert [text.get_text() for text in legend.get_texts()] == ["MLP", "CNN"]


def test_panels_leave_no_empty_frame(frame):
    more = pd.concat([frame, frame.assign(n=5000)])
    fig = figures.panels(more, "epoch", "residual", "arch", "n")
    assert [ax.get_visible() for ax in fig.axes] == [True, True, True, False]


def test_a_map_shows_means_on_one_scale(frame):
    fig = figures.heat(frame, "epoch", "arch", "residual", "n", bounds=(0, 1))
    assert [ax.get_title(loc="left") for ax in fig.axes] == ["50", "500"]
    numbers = [text.get_text() for text in fig.axes[0].texts]
    own = frame[frame["n"] == 50].groupby("epoch")["residual"].mean()
    assert numbers == [f"{value:.2f}" for value in own]


@pytest.mark.parametrize("count", [0, 11])
def test_groups_that_cannot_be_told_apart_are_refused(frame, count):
    many = pd.DataFrame(
        {"x": range(count), "y": 1.0, "hue": [f"g{i}" for i in range(count)], "by": 1}
    )
    with pytest.raises(ValueError, match="can be told apart"):
        figures.panels(many, "x", "y", "hue", "by")


# --- dark pages ---------------------------------------------------------------------------------


def test_on_a_dark_page_ink_is_light_and_data_keep_their_colours():
    with style():
        fig = Figure()
        ax = fig.subplots()
        ax.plot([0, 1], color=PALETTE[0])
        ax.set_title("a title")
        ax.scatter([0], [0], color=PALETTE[1])
    make_dark(fig)
    assert mpl.colors.to_hex(ax.title.get_color()) == "#e8e8e8"
    assert mpl.colors.to_rgb(ax.lines[0].get_color()) == PALETTE[0]
    assert tuple(ax.collections[0].get_facecolor()[0][:3]) == PALETTE[1]
    assert fig.patch.get_facecolor()[3] == 0


def test_on_a_dark_page_seeds_and_names_in_ink_are_light():
    fig, (ax,) = figures.small_multiples(["A"], height=1.5)
    figures.seeds(ax, 0, [0.5], INK)
    figures.key(fig, {"one": (INK, "o"), "two": (MUTED, "o")})
    make_dark(fig)
    assert mpl.colors.to_hex(ax.lines[-1].get_markerfacecolor()) == "#e8e8e8"
    letters = [mpl.colors.to_hex(text.get_color()) for text in fig.legends[0].get_texts()]
    assert letters == ["#e8e8e8", "#b8b8b8"]
