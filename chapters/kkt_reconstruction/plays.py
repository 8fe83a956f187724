"""What a reader of chapter 7 plays with: how many images there were."""

import numpy as np

from chapters.kkt_reconstruction.reading import last, null
from harness.play import State
from harness.results import Runs

SHOWN = 6  # pairs


def sizes(sized: Runs) -> list[State] | None:
    """What comes back of so many images, on the last data set; None for fewer than two sizes."""
    own = last(sized) if sized else sized
    counts = sorted(own.of("n")) if own else []
    if len(counts) < 2:
        return None
    return [_of_size(own.where(n=n), n) for n in counts]


def _of_size(runs: Runs, n: int) -> State:
    close, chance = (
        float(np.mean(values))
        for values in (runs.values("close"), [null(run, "close") for run in runs])
    )
    first = runs[0]
    ncc = np.asarray(first["shown_ncc"])[:SHOWN]
    rows = [np.asarray(first[f"shown_{what}"])[:SHOWN] for what in ("reconstructions", "images")]
    title = runs.title(first.parameters["dataset"])
    return State(
        label=str(n),
        sentence=(
            f"Of {n} images of {title}, {close:.0f} come back (correlation above 0.7), and "
            f"{chance:.0f} with the strongest null. Above, the closest of one network, "
            f"{ncc.min():.2f} to {ncc.max():.2f}; below, the training images."
        ),
        picture=[image / 255 for row in rows for image in row],
        alt=f"Two rows of {len(rows[0])} small images: read off a network trained on {n} images, and "
        "the training images that they belong to.",
    )
