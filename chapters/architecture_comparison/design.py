"""What chapter 2 compares: networks, their variants, and the runs of every question."""

from collections.abc import Mapping, Sequence
from typing import Any

from chapters.shortcut_injection.reading import tuned_runs
from harness.sweep import grid

ARCHITECTURES = ("MLP", "CNN", "ViT")
MATCHED = ("MLP matched", "CNN matched")  # as many parameters as the ViT
VARIANTS = {  # what is taken out or changed: the network that it leaves
    "MLP, 64 wide": "MLP narrow",
    "MLP, 1,024 wide": "MLP wide",
    "CNN, average pooling": "CNN average",
    "CNN, circular padding": "CNN circular",
    "CNN, both": "CNN average circular",
    "ViT, no positions": "ViT no positions",
}
# On an empty background their logits are the same wherever the patch is.
KNOW_NO_PLACES = {"CNN average circular", "ViT no positions"}

Questions = dict[str, list[dict[str, Any]]]


def groups(
    best: Mapping[tuple[str, str], float],
    lengths: Mapping[str, int],
    *,
    seeds: Sequence[int],
    pace: Mapping[float, int],
    **training: Any,
) -> Questions:
    """The runs of every question.

    best: {(data set, architecture): learning rate}.  pace: {learning rate: times the epochs}.
    """

    def tuned(**axes: Any) -> list[dict[str, Any]]:
        return tuned_runs(best, lengths, seed=seeds, **axes, **training)

    return {
        "fooled": tuned(),
        "control": tuned(planted=False),
        "matched": tuned(architectures=MATCHED),
        "ablated": tuned(architectures=list(VARIANTS.values())),
        "shifted": tuned(shift=2),
        "paced": [
            run
            for dataset, epochs in lengths.items()
            for lr, times in pace.items()
            for run in grid(
                dataset=dataset,
                architecture=list(ARCHITECTURES),
                seed=seeds,
                lr=lr,
                epochs=times * epochs,
                **training,
            )
        ],
    }
