"""What chapter 10 says in words, with numbers from its runs; a comparison only if they carry it.

A comparison is made data set by data set, by the interval over seeds, and told as a count of them.
"""

import functools
from collections.abc import Callable, Sequence

import numpy as np

from chapters.who_is_at_risk.design import DEFENCES, KNOWN, PLAIN, RECIPES, case
from chapters.who_is_at_risk.reading import (
    beyond,
    cost,
    difference,
    everywhere,
    last,
    mean,
    null_share,
    of,
    share,
)
from harness.results import Runs
from harness.statistics import Interval, over_seeds

STANDARD, TUNED = "default initialisation", "fine-tuned"


def needs_runs(write: Callable[..., str]) -> Callable[..., str]:
    """A sentence that says so when nothing was run."""

    @functools.wraps(write)
    def written(runs: Runs, *more) -> str:
        return write(runs, *more) if runs else "*Not run.*"

    return written


# --- parts of sentences -------------------------------------------------------------------------


def percent(values: Sequence[float]) -> str:
    """`46 %`; a dash without values."""
    return f"{100 * mean(values):.0f} %" if len(values) else "–"


def sets(runs: Runs, holds: Callable[[str], bool]) -> str:
    """On how many data sets something holds: `2 of 2 data sets`."""
    datasets = runs.of("dataset")
    return f"{sum(map(holds, datasets))} of {len(datasets)} data sets"


def each(runs: Runs, tell: Callable[[str], str]) -> str:
    """What is told of every data set: `92 % (MNIST), 96 % (CIFAR-10 (JPEG))`."""
    return ", ".join(f"{tell(d)} ({runs.title(d)})" for d in runs.of("dataset"))


def found(runs: Runs, dataset: str, name: str) -> str:
    return percent(share(of(runs, dataset, name)))


def sure(interval: Interval) -> bool:
    return interval.low > 0


# --- in the order of the page -------------------------------------------------------------------


def answer(read: Runs, sized: Runs) -> str:
    """The chapter's answer in at most 60 words, on the last data set."""
    own = last(read) if read else read
    if not own.where(recipe=PLAIN):
        return "Not run: the end of the page says why."
    [dataset] = own.of("dataset")
    plain, tuned = of(own, dataset, PLAIN), of(own, dataset, TUNED + KNOWN)
    opening = (
        "Whoever publishes a network whose first layer is fully connected. "
        if sure(beyond(own, dataset, PLAIN)) and sure(beyond(own, dataset, TUNED + KNOWN))
        else ""
    )
    text = (
        f"{opening}Of {plain[0].parameters['n']} {own.title(dataset)} images **{found(own, dataset, PLAIN)}** "
        f"come back after plain training (strongest null {percent(null_share(plain))}); with default "
        f"initialisation {found(own, dataset, STANDARD)}, or {found(own, dataset, STANDARD + KNOWN)} "
        "where the start is known"
    )
    if tuned:
        text += f", as in fine-tuning ({found(own, dataset, TUNED + KNOWN)})"
    large = sized.where(dataset=dataset, start_known=False)
    if large:
        n = max(large.of("n"))
        large = large.where(n=n)
        text += (
            f". Of {n}: {percent(share(large))}; of the first 20 that it trusts "
            f"{percent(large.values('trusted_20'))} are real"
        )
    return text + "."


def finding(read: Runs) -> str:
    """What the key figure shows, as its title; "" if not sure."""
    shown = everywhere(read, lambda dataset: beyond(read, dataset, PLAIN))
    return "Plain training gives its images away" if sure(shown) else ""


def trusted_finding(sized: Runs) -> str:
    """What trust tells, as the title of its figure; "" if not sure.

    At every size and on every data set more than nine tenths of the twenty most trusted.
    """
    own = sized.where(start_known=False)
    groups = [own.where(dataset=d, n=n) for d in own.of("dataset") for n in own.of("n")]
    lows = [over_seeds(runs.values("trusted_20")).low for runs in groups if runs]
    return "The attack knows what it has found" if lows and min(lows) > 0.9 else ""


def limits(read: Runs) -> str:
    """How much was run."""
    counts = sorted({len(read.where(dataset=d).of("seed")) for d in read.of("dataset")} or {0})
    held = sorted({int(run["strangers"]) for run in read})
    words = " to ".join(map(str, counts))
    return (
        f"What limits this: {words} seed{'s' * (counts != [1])}; two classes; images of "
        f"{' and '.join(map(read.title, read.of('dataset'))) or 'no data set'}; networks with two "
        "hidden layers; an attack that knows the shape of an image and expects natural ones. "
        f"*Found* rests on {' or '.join(f'{k:,}' for k in held) or 'no'} held-out images. A "
        "fresh clone shows this page on 8 × 8 digits, too small to be unmixed."
    )


@needs_runs
def by_recipe(read: Runs) -> str:
    """Which recipes give images away, and which give as many as the plain one."""
    names = [n for n in RECIPES if any(of(read, d, n) for d in read.of("dataset"))]
    told = []
    for name in names:
        on = [d for d in read.of("dataset") if of(read, d, name)]
        here = sum(sure(beyond(read, d, name)) for d in on)
        told.append(f"{RECIPES[name]} {here} of {len(on)}")
    return (
        "On how many data sets the 95 % interval of images found, minus the strongest null, lies "
        f"above 0: {'; '.join(told)}."
    )


@needs_runs
def known_start(read: Runs) -> str:
    """What the start adds, where the first layer did not begin small."""
    told = []
    for name in (STANDARD, "Adam", TUNED):
        if not all(of(read, read.of("dataset")[-1], row) for row in (name, name + KNOWN)):
            continue
        told.append(
            f"- {RECIPES[name]}: "
            + each(read, lambda d: f"{found(read, d, name)} → {found(read, d, name + KNOWN)}")
            + "; the difference is above 0 on "
            + sets(read, lambda d: sure(difference(read, d, name + KNOWN, name)))
        )
    return "Share found, start unknown → known:\n\n" + "\n".join(told) if told else "*Not run.*"


@needs_runs
def by_size(sized: Runs) -> str:
    """Images found and close at each size, and the seconds it took; start unknown."""
    return "Images found, start unknown, means over seeds:\n\n" + _at_each_size(
        sized,
        lambda runs, n: (
            f"{mean(runs.values('hits')):.0f} of {n} ({mean(runs.values('close')):.0f} close, "
            f"{mean(runs.values('attack_seconds')):.0f} s)"
        ),
    )


@needs_runs
def who_can_tell(sized: Runs) -> str:
    """How many of what is trusted most are training images, at each size."""
    return (
        "Of the 20 and of the 50 candidates that the attack trusts, training images (correlation "
        "above 0.7) are:\n\n"
    ) + _at_each_size(
        sized,
        lambda runs, n: (
            f"{percent(runs.values('trusted_20'))} and {percent(runs.values('trusted_50'))} "
            f"at n = {n}"
        ),
    )


def _at_each_size(sized: Runs, told: Callable[[Runs, int], str]) -> str:
    """A line for each data set: what is told of its runs at each size, start unknown."""
    own = sized.where(start_known=False)
    lines = []
    for dataset in own.of("dataset"):
        here = own.where(dataset=dataset)
        cells = ", ".join(told(here.where(n=n), n) for n in sorted(here.of("n")))
        lines.append(f"- {own.title(dataset)}: {cells}")
    return "\n".join(lines)


@needs_runs
def defended(guarded: Runs) -> str:
    """What each defence takes away from the attack, and from the accuracy."""
    told = []
    for name in list(DEFENCES)[1:]:
        on = [d for d in guarded.of("dataset") if of(guarded, d, name)]
        if not on:
            continue
        stopped, costly = zip(
            *((sure(a), sure(b)) for a, b in (cost(guarded, d, name) for d in on))
        )
        numbers = ", ".join(
            f"{found(guarded, d, name)} found at {percent(of(guarded, d, name).values('test_accuracy'))} "
            f"accuracy ({guarded.title(d)})"
            for d in on
        )
        told.append(
            f"- {DEFENCES[name]}: {numbers}; fewer found on {sum(stopped)} of {len(on)} sets, less "
            f"accurate on {sum(costly)} of {len(on)}"
        )
    spent = {
        name: mean([run["epsilon"] for run in guarded.where(**case(name))])
        for name in DEFENCES
        if any("epsilon" in run.scalars for run in guarded.where(**case(name)))
    }
    closing = ", ".join(f"ε = {value:.0f} ({DEFENCES[name]})" for name, value in spent.items())
    closing = f"At δ = 1/(10 n): {closing}." if closing else ""
    return (
        "By paired intervals against the plain recipe:\n\n" + "\n".join(told) + "\n\n" + closing
        if told
        else "*Not run.*"
    )


@needs_runs
def convolution(read: Runs) -> str:
    """What a convolution in front leaves."""
    names = ("convolution", "behind a convolution")
    if not any(of(read, d, n) for d in read.of("dataset") for n in names):
        return "*Not run.*"
    patches, maps = (
        each(read, lambda d: f"{found(read, d, n)}, null {percent(null_share(of(read, d, n)))}")
        for n in names
    )
    return (
        f"Its kernels: {patches}. The fully connected layer behind it: {maps}; more than the null "
        f"on {sets(read, lambda d: sure(beyond(read, d, names[1])))}."
    )


@needs_runs
def worst(guarded: Runs) -> str:
    """Which defences leave no more than the null, by their interval, on a data set."""
    left = [
        DEFENCES[name]
        for name in list(DEFENCES)[1:]
        if (on := [d for d in guarded.of("dataset") if of(guarded, d, name)])
        and not any(sure(beyond(guarded, d, name)) for d in on)
        and all(np.isfinite(beyond(guarded, d, name).low) for d in on)
    ]
    return (
        "Nothing beyond the null is shown under: "
        + (", ".join(left) if left else "none of them")
        + "."
    )
