"""Sentences of chapter 1 that compare: each is printed only where five seeds carry it."""

from chapters.shortcut_injection.reading import (
    SEEDS_FOR_A_CLAIM,
    by_architecture,
    cells,
    clear,
    converged,
    for_a_claim,
    gradient_ranks,
    paired_by_seed,
    percent,
)
from harness.results import Runs
from harness.statistics import over_seeds


def answer(planted: Runs, control: Runs) -> str:
    """The chapter's answer in at most 60 words."""
    if not converged(planted) or not converged(control):
        return "Not run: the end of the page says why."
    patch = clear(paired_by_seed(planted, control, "follows_patch"))
    less = clear(paired_by_seed(control, planted, "accuracy_clean"))
    first = {
        (True, True): "**The patch, and less of the object.** ",
        (True, False): "**The patch.** ",
        (False, True): "**Less of the object.** ",
    }.get((patch, less), "")
    return (
        f"{first}Shown a *wrong* patch, networks name its class in "
        f"{percent(planted, 'follows_patch')} of cases; those that never met one in "
        f"{percent(control, 'follows_patch')}. Shown none, they are right about "
        f"{percent(planted, 'accuracy_clean')}; those that never met one about "
        f"{percent(control, 'accuracy_clean')}. (Means of MLP, CNN and ViT on "
        f"{', '.join(map(planted.title, planted.of('dataset')))}.)"
    )


def believed(a: Runs, b: Runs, *, of_a: str, of_b: str) -> str:
    """How often wrong patches of two kinds are believed, and what five seeds say of the two.

    of_a, of_b: what the two kinds are called.
    """
    if not converged(a) or not converged(b):
        return f"Not run: {of_a}, against {of_b}."
    values = paired_by_seed(a, b, "follows_patch")
    found = for_a_claim(values)
    points = ", ".join([
        f"{100 * abs(found.estimate):.0f} points {'more' if found.estimate > 0 else 'less'} often",
        f"95 % interval {100 * found.low:.0f} to {100 * found.high:.0f}",
    ])  # fmt: skip
    if len(values) < SEEDS_FOR_A_CLAIM:
        told = f"seeds: {len(values)}, too few here to compare the two"
    elif found.low > 0 or found.high < 0:
        told = f"the first {points}, paired over {len(values)} seeds"
    else:
        told = f"the {len(values)} seeds do not tell the two apart"
    return (
        f"Wrong patches are believed in {percent(a, 'follows_patch')} of cases ({of_a}) and in "
        f"{percent(b, 'follows_patch')} ({of_b}): {told}."
    )


def fallen(prolonged: Runs) -> str:
    """How far clean accuracy lies below its best epoch at the end of a long training."""
    if not converged(prolonged):
        return "Not run: prolonged training."
    return (
        "At the last epoch, accuracy without the patch lies below that of its best epoch by "
        f"{by_architecture(prolonged, 'drop_from_best_clean', '.2f')}. The best epoch is picked "
        "afterwards, so this is never negative."
    )


def gradients(planted: Runs, control: Runs) -> str:
    """What the gradient inside the patch's place tells of a network, and what not."""
    pairs = [
        values
        for own in cells(converged(planted)).values()
        if (values := paired_by_seed(own, control, "saliency_ratio"))
    ]
    if not pairs:
        return "Not run: gradients."
    larger = [clear(values) for values in pairs]
    ranks = gradient_ranks(planted)
    rank = over_seeds(ranks)
    told = (
        f"The ratio is larger than in the control in {sum(larger)} of {len(larger)} networks "
        "(intervals over five seeds or more)."
    )
    if not ranks:
        return told
    carried = for_a_claim(ranks)
    reads = (
        "a network with a larger ratio also believes more"
        if carried.low > 0
        else "a network with a larger ratio believes less"
        if carried.high < 0
        else "the ratio does not tell which network believes more"
    )
    return (
        f"{told} Over networks, its rank correlation with the share of wrong patches believed is "
        f"{rank}: {reads}."
    )
