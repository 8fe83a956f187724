"""What chapter 1 asks: from a few parameters to the runs that answer each question."""

from collections.abc import Mapping, Sequence
from typing import Any

from chapters.shortcut_injection.reading import ARCHITECTURES, tuned_runs
from harness.sweep import grid

Questions = dict[str, list[dict[str, Any]]]


def tuning(
    lengths: Mapping[str, int], *, seeds: Sequence[int], rates: Sequence[float], **training: Any
) -> list[dict[str, Any]]:
    """Networks that never meet a patch, at every learning rate: the best rate is taken further.

    lengths: {data set: epochs}.  training: what all runs share.
    """
    return [
        run
        for dataset, epochs in lengths.items()
        for run in grid(
            dataset=dataset,
            architecture=ARCHITECTURES,
            seed=seeds,
            lr=rates,
            epochs=epochs,
            planted=False,
            **training,
        )
    ]


def questions(
    best: Mapping[tuple[str, str], float],
    lengths: Mapping[str, int],
    *,
    seeds: Sequence[int],
    prolonged: float,
    correlations: Sequence[float],
    looks: Sequence[tuple[int, float]],
    fewer_seeds: Sequence[int],
    **training: Any,
) -> Questions:
    """The runs of every question.

    best: {(data set, architecture): learning rate}.  lengths: {data set: epochs}.
    prolonged: times the epochs.  correlations: shares of training images whose patch is right.
    looks: (size in pixels, brightness) of patches, to which the paper's is added. The last two
    questions train for half the epochs, with fewer seeds.
    """

    def ask(seeds: Sequence[int], **axes: Any) -> list[dict[str, Any]]:
        return tuned_runs(best, lengths, seed=seeds, **axes, **training)

    return {
        "planted": ask(seeds),
        "control": ask(seeds, planted=False),
        "prolonged": ask(seeds, times=prolonged),
        "unreliable": ask(fewer_seeds, times=0.5, correlation=correlations),
        "faint": [
            run
            for size, brightness in [*looks, (4, 1.0)]
            for run in ask(
                fewer_seeds,
                times=0.5,
                architectures=["CNN"],
                patch_size=size,
                colour=[[brightness]],
            )
        ],
    }


def portraits(
    best: Mapping[tuple[str, str], float], lengths: Mapping[str, int], *, seed: int, **training: Any
) -> list[dict[str, Any]]:
    """One network of each kind, to be looked at."""
    return tuned_runs(best, lengths, seed=seed, **training)
