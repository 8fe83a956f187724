"""What a reader of chapter 1 plays with: the reliability of the patch."""

from matplotlib.figure import Figure

from chapters.shortcut_injection.figures import OBJECT, PATCH
from chapters.shortcut_injection.reading import ARCHITECTURES, without_diverged
from harness.figures import key, seeds, small_multiples
from harness.play import State
from harness.results import Runs
from harness.statistics import over_seeds
from harness.style import style


@without_diverged
def reliability(unreliable: Runs) -> list[State] | None:
    """A state for each share of right patches in training; None for fewer than two of them."""
    shares = sorted(unreliable.of("correlation"))
    if len(shares) < 2:
        return None
    return [_state(unreliable.where(correlation=share), unreliable, share) for share in shares]


def _state(own: Runs, every: Runs, share: float) -> State:
    told = []
    for architecture in ARCHITECTURES:
        mine = own.where(architecture=architecture)
        if mine:
            believed, clean = (
                over_seeds(mine.values(measure)).estimate
                for measure in ("follows_patch", "accuracy_clean")
            )
            told.append(f"{architecture} {_percent(believed)} and {_percent(clean)}")
    return State(
        label=_percent(share),
        sentence=(
            f"The patch is right in {_percent(share)} of the training images. Wrong patches believed, "
            f"and accuracy without a patch, mean over data sets and seeds: {'; '.join(told)}."
        ),
        picture=_believed(own, every),
        alt=f"Rows of dots for the reliability {_percent(share)}: wrong patches believed and accuracy "
        "without a patch, one row an architecture, one panel a data set.",
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _believed(own: Runs, every: Runs) -> Figure:
    """One state's dots, on the panels that all states share."""
    with style():
        fig, axes = small_multiples([every.title(d) for d in every.of("dataset")], height=1.9)
        for ax, dataset in zip(axes, every.of("dataset")):
            for row, architecture in enumerate(reversed(ARCHITECTURES)):
                mine = own.where(dataset=dataset, architecture=architecture)
                seeds(ax, row + 0.13, mine.values("follows_patch"), PATCH)
                seeds(ax, row - 0.13, mine.values("accuracy_clean"), OBJECT, "s")
            ax.set(xlim=(-0.04, 1.04), xticks=[0, 0.5, 1], ylim=(-0.5, len(ARCHITECTURES) - 0.5))
        axes[0].set_yticks(range(len(ARCHITECTURES)), list(reversed(ARCHITECTURES)))
        fig.supxlabel("share of test images", fontsize=10)
        marks = {"wrong patches believed": (PATCH, "o"), "right without a patch": (OBJECT, "s")}
        key(fig, marks)
    return fig
