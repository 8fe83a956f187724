"""The figure of chapter 9: counts in, matplotlib figure out."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from chapters.scorecard.reading import LOOKS
from harness.style import INK, MUTED, PALETTE, WIDTH, style

# Blue holds, orange does not, grey is open; what was not judged is an outline. Letters in the
# bars keep their colour on dark pages, as the bars do: they are not the neutral ones.
KEYS = 4  # in a line of the legend
LIGHT, DARK = "#fdfdfd", "#1b1b1b"
FILLS = {
    "REPRODUCED": (PALETTE[0], LIGHT),
    "PARTIAL": ("#8cc0e0", DARK),
    "INCONCLUSIVE": ("#c9c9c9", DARK),
    "UNINFORMATIVE": ("#77746f", LIGHT),
    "NOT-REPRODUCED": (PALETTE[1], DARK),
    "REPORTED": ("none", INK),
    "NOT-RUN": ("none", MUTED),
}


def summary(counts: pd.DataFrame, finding: str) -> Figure:
    """Bars of verdicts, one a paper, with letters and counts; finding: the title."""
    with style():
        fig = Figure(figsize=(WIDTH, 2.45), layout="constrained")
        ax = fig.subplots()
        for y, (_, row) in enumerate(counts.iterrows()):
            left = 0
            for verdict, look in LOOKS.items():
                count = row[verdict]
                if not count:
                    continue
                fill, letters = FILLS[verdict]
                edge = MUTED if fill == "none" else fill
                line = ":" if verdict == "NOT-RUN" else "-"
                ax.barh(
                    y, count - 0.14, left=left + 0.07, height=0.8, color=fill,
                    edgecolor=edge, linewidth=0.8, linestyle=line,
                )  # fmt: skip
                between = " " if count > 3 else "\n"  # a narrow one has two lines
                ax.text(
                    left + count / 2, y, f"{look.letter}{between}{count}", color=letters,
                    fontsize=8.5, ha="center", va="center", linespacing=1.0,
                )  # fmt: skip
                left += count
        ax.set_yticks(range(len(counts)), counts.index, fontsize=10)
        ax.invert_yaxis()
        ax.set(xticks=[], xlim=(0, max(counts.sum(axis=1).max(), 1)))
        ax.grid(visible=False)
        ax.spines[:].set_visible(False)
        ax.tick_params(axis="y", length=0)
        handles = [
            Patch(
                facecolor=FILLS[v][0],
                edgecolor=MUTED if FILLS[v][0] == "none" else FILLS[v][0],
                linestyle=":" if v == "NOT-RUN" else "-",
                linewidth=0.8,
                label=f"{look.letter}  {look.words}",
            )
            for v, look in LOOKS.items()
        ]
        across = [handle for i in range(KEYS) for handle in handles[i::KEYS]]  # legends go down
        fig.legend(
            handles=across, loc="outside upper left", ncols=KEYS, frameon=False, borderpad=0,
            handlelength=1, handleheight=1, handletextpad=0.5, columnspacing=1.2, fontsize=9,
            title=finding, title_fontproperties={"size": 11, "weight": "bold"}, alignment="left",
        )  # fmt: skip
    return fig
