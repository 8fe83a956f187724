"""What chapter 8 says in words, with numbers from its runs; a comparison only if they carry it."""

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from chapters.initialization import reading
from chapters.initialization.design import (
    BILEVEL,
    INVENTED,
    NETWORKS,
    NOISE,
    OF_THE_PAPER,
    OTHERS,
    PAPER,
    REFUTES,
    SAME,
    SIGNALS,
    SUPPORTS,
    TELLERS,
    TRUTH,
    UNMIXED,
    WITHOUT_START,
)
from chapters.initialization.reading import at, best_told, by, holds, interval, of_set
from harness.results import Runs
from harness.statistics import Interval, over_seeds
from harness.words import listed

NOT_RUN = "*Not run.*"


def needs_runs(write: Callable[..., str]) -> Callable[..., str]:
    """A sentence that says so when its first group of runs holds nothing."""

    @functools.wraps(write)
    def written(runs: Runs, *more) -> str:
        return write(runs, *more) if runs else NOT_RUN

    return written


# --- parts of sentences -------------------------------------------------------------------------


def percent(values: Sequence[float]) -> str:
    """`46 %`; a dash without values."""
    return f"{100 * float(np.mean(values)):.0f} %" if len(values) else "–"


def two(found: Interval) -> str:
    """`0.97 [0.95, 0.99]`, with two decimals."""
    if not np.isfinite(found.estimate):
        return "–"
    ends = f" [{found.low:.2f}, {found.high:.2f}]" if found.known else ""
    return f"{found.estimate:.2f}{ends}"


def number(value: float, form: str = ".2g") -> str:
    """A number in Markdown, powers of ten written out: `1.1·10⁻³` as mathematics."""
    if not np.isfinite(value):
        return "–"
    text = format(value, form)
    if "e" not in text:
        return text
    digits, power = text.split("e")
    return f"${digits} \\cdot 10^{{{int(power)}}}$"


def images_of(runs: Runs) -> str:
    """`50 CIFAR-10 (JPEG) images`"""
    sizes = " or ".join(map(str, runs.of("n")))
    return f"{sizes} {listed([runs.title(d) for d in runs.of('dataset')])} images"


def over_runs(runs: Runs, measure: str) -> float:
    return reading.mean(runs, measure)


# --- the first screen -----------------------------------------------------------------------------


def answer(told: Runs, tuning: Runs, mixed: Runs) -> str:
    """The chapter's answer in at most 60 words, on the last data set."""
    own = reading.last(told)
    chosen, found = best_told(own, _same_set(tuning, own))
    if chosen is None or not np.isfinite(found.estimate):
        return "Not run, or with too few hits to tell from misses: the end of the page says why."
    opening = "Not decided. "
    if found.low >= REFUTES:
        opening = f"**Yes**, after *{TELLERS[chosen.attack]}*. "
        if chosen.attack in WITHOUT_START:
            opening = "**Yes**, after an attack that needs no start. "
    elif found.high <= SUPPORTS:
        opening = "**No**, not by a signal tried here. "
    text = (
        f"{opening}Among candidates of the *{TELLERS[chosen.attack]}*, {_signal(chosen)} "
        "tells training images from natural-looking misses with an AUROC of "
        f"**{two(found)}** ({images_of(own.where(attack=chosen.attack))})."
    )
    _, paper = best_told(own, _same_set(tuning, own), OF_THE_PAPER)
    if np.isfinite(paper.estimate):
        text += f" The paper's KKT attack: {two(paper)}."
    stay = [reading.stays(reading.from_others(mixed, name)) for name in (BILEVEL, PAPER)]
    if all(stay):
        text += (
            f" Of outputs started at other images {listed([percent(values) for values in stay])} "
            "(bilevel, KKT) end beside these."
        )
    return text


def _same_set(tuning: Runs, own: Runs) -> Runs:
    return tuning.where(dataset=own.of("dataset"))


def finding(told: Runs, tuning: Runs) -> str:
    """The title of the key figure: what holds on every data set; "" if not sure."""
    found = [best_told(of_set(told, d), of_set(tuning, d)) for d in told.of("dataset")]
    attacks = {chosen.attack for chosen, _ in found if chosen}
    if found and len(attacks) == 1 and all(one.low >= REFUTES for _, one in found):
        return f"Hits can be told: {TELLERS[attacks.pop()]}"
    if found and all(one.high <= SUPPORTS for _, one in found):
        return "Hits cannot be told from natural-looking misses"
    return ""


def limits(mixed: Runs, told: Runs, tuning: Runs) -> str:
    """How much was run, of what, and what was chosen."""
    judged, chose = (", ".join(map(str, runs.of("seed"))) or "none" for runs in (told, tuning))
    return (
        f"What limits this: starts are compared at {images_of(mixed) if mixed else 'no images'}, "
        f"signals at {images_of(told) if told else 'no images'}; two classes; fully connected "
        f"networks, small. Signals were chosen on draws {chose} and judged on draws {judged}. The "
        "paper leaves open loss, regulariser, number of images, classes and tolerances; ours are in "
        "the appendix."
    )


# --- theory -----------------------------------------------------------------------------------------


@needs_runs
def theory(proved: Runs) -> str:
    """R01 to R04: one line a statement, with what was measured."""

    def most(measure: str) -> str:
        return number(max(map(float, proved.values(measure))))

    def least(measure: str) -> str:
        return number(min(map(float, proved.values(measure))))

    lines = [
        "**Equal to the KKT form?** With weight decay and multipliers as the loss fixes them, yes, up "
        f"to {most('relative_difference_fixed')} (relative); with free multipliers they are "
        f"{least('relative_difference_free')} apart.",
        f"**A bound on the distance of weights?** Random sets of images beyond it: "
        f"{most('violations')}.",
        f"**Trivial solutions?** Built: images {least('distance_to_training')} away from the "
        f"training images, with a gradient norm of {most('gradient_norm')}.",
        "**Collapse?** One confident image a class, repeated, has "
        f"{most('gradient_norm_over_training')} of the gradient norm of the training images.",
    ]
    return "\n".join(f"- {line}" for line in lines)


# --- the bilevel attack -------------------------------------------------------------------------------


@needs_runs
def weights_say(mixed: Runs, started: Runs) -> str:
    """R06 to R08: whether a small distance of the weights says anything about the images."""
    told = []
    for network, runs in (("affine", by(mixed, BILEVEL)), ("hidden", started)):
        noise, truth = (at(runs, start) for start in (NOISE, TRUTH))
        gap = reading.minus(truth, noise, "distance")
        if not gap:
            continue
        verdict = "the order of the two is not settled"
        if holds(gap):
            verdict = "from noise the weights end nearer to the given ones than from the truth"
        elif over_seeds(gap).high < 0:
            verdict = "from the truth the weights end nearer to the given ones than from noise"
        told.append(
            f"{NETWORKS[network]}: {number(over_runs(noise, 'distance'))} from noise, "
            f"{number(over_runs(truth, 'distance'))} from the truth; {verdict}"
        )
    return "Squared distance of the weights. " + ". ".join(_capital(t) for t in told) + "."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


@needs_runs
def from_noise(mixed: Runs, started: Runs) -> str:
    """R09."""
    return "From noise: " + _each_network(
        mixed,
        started,
        NOISE,
        lambda runs: (
            f"AUROC {two(over_seeds(runs.values('auroc')))}, excess hits "
            f"{two(over_seeds(runs.values('excess')))}, high frequencies "
            f"{_ratio(runs, 'high_frequencies'):.2f} times those of the start"
        ),
    )


def _ratio(runs: Runs, measure: str) -> float:
    return float(np.mean([run[measure] / run[f"{measure}_at_start"] for run in runs]))


@needs_runs
def from_truth(mixed: Runs, started: Runs) -> str:
    """R10 and R11, each beside zero steps."""
    return "From the truth: " + _each_network(
        mixed,
        started,
        TRUTH,
        lambda runs: (
            f"median PSNR {over_runs(runs, 'median_psnr'):.0f} dB "
            f"({over_runs(runs, 'median_psnr_at_start'):.0f} dB before a step), images moved by "
            f"{number(over_runs(runs, 'relative_drift'))} of their norm"
        ),
    )


@needs_runs
def from_others(mixed: Runs, started: Runs) -> str:
    """R12."""
    return "From other images: " + _each_network(
        mixed,
        started,
        OTHERS,
        lambda runs: (
            f"{percent(reading.stays(runs))} of outputs have their start, not a training image, "
            f"as the nearest; moved by {number(over_runs(runs, 'relative_drift'))} of their norm"
        ),
    )


def _each_network(mixed: Runs, started: Runs, start, tell: Callable[[Runs], str]) -> str:
    groups = {"affine": at(by(mixed, BILEVEL), start), "hidden": at(started, start)}
    told = [f"{NETWORKS[network]}, {tell(runs)}" for network, runs in groups.items() if runs]
    return "; ".join(told) + "." if told else NOT_RUN


# --- the KKT attack -----------------------------------------------------------------------------------


@needs_runs
def kkt_from_noise(noisy: Runs) -> str:
    """R13 to R15."""
    standard, tuned = reading.standard(noisy), reading.tuned(noisy)
    gap = reading.minus(tuned, standard, "excess")
    text = (
        f"Excess hits from standard normal noise: {interval(standard.values('excess'))}; from tuned "
        f"noise: {interval(tuned.values('excess'))}; "
        + ("tuning helps." if holds(gap) else "that tuning helps is not shown.")
    )
    far = reading.known(tuned, reading.natural_but_far)
    if far:
        text += (
            f" {interval(far)} outputs are as natural as the median of the ten nearest to a training "
            "image and yet rank beyond 50."
        )
    none = reading.known(tuned, reading.no_hits_among_natural)
    if none:
        text += f" Among the first 40 by naturalness {percent(none)} are misses."
    return text


@needs_runs
def kkt_from_others(mixed: Runs) -> str:
    """R16."""
    runs = reading.from_others(mixed, PAPER)
    if not runs:
        return NOT_RUN
    return (
        f"Started at other images, {percent(reading.stays(runs))} of its outputs have their start, "
        f"not a training image, as the nearest; training images hit: "
        f"{interval(runs.values('hits'))} of {' or '.join(map(str, runs.of('n')))}."
    )


# --- mixtures -----------------------------------------------------------------------------------------


@needs_runs
def near_the_truth(mixed: Runs) -> str:
    """R18 and R20, on the paper's two networks and on the same one."""
    told = []
    for words, attack in (("On the paper's two networks", PAPER), ("On the same network", SAME)):
        gap, slope = reading.near_truth(mixed, attack), reading.steeper(mixed, attack)
        ends = [over_runs(at(by(mixed, one), TRUTH), "to_truth") for one in (attack, BILEVEL)]
        if not gap:
            continue
        told.append(
            f"{words} the KKT attack ends farther from the truth than the bilevel attack by "
            f"{interval(gap)}" if holds(gap) else
            f"{words} the distance to the truth, KKT minus bilevel, is {interval(gap)}"
        )  # fmt: skip
        told[-1] += f" (from the truth itself {number(ends[0])} against {number(ends[1])})"
        told[-1] += (
            f"; as noise is mixed in, the bilevel distance grows faster by {interval(slope)}"
            if holds(slope) else
            f"; the difference of slopes in the share of noise is {interval(slope)}"
        ) + "."  # fmt: skip
    return " ".join(told) or NOT_RUN


@needs_runs
def crossing(mixed: Runs) -> str:
    """R19 and R21 beside zero steps."""
    told, lines = [], []
    for attack in (BILEVEL, SAME, PAPER):
        runs = by(mixed, attack)
        after, before = reading.crossovers(runs), reading.crossovers(runs, "_at_start")
        if after:
            moved = [a - b for a, b in zip(after, before)]
            sure = over_seeds(moved)
            shown = " (moved)" if sure.known and not sure.low <= 0 <= sure.high else ""
            told.append(f"{attack} {interval(after)}{shown}, zero steps {interval(before)}")
        if ranks := reading.rank_correlations(runs):
            started = reading.rank_correlations(runs, "_at_start")
            lines.append(f"{attack} {interval(ranks)}, zero steps {interval(started)}")
    return (
        f"Outputs change sides at a share of {'; '.join(told) or '–'}. Rank correlation of the share "
        f"of truth in noise and the distance to it: {'; '.join(lines) or '–'}."
    )


# --- could anyone tell? -----------------------------------------------------------------------------


def blind(told: Runs, tuning: Runs) -> str:
    """R23 by data set: what the tuning draws chose, and how it is judged."""
    lines = []
    for dataset in told.of("dataset"):
        own, chose = told.where(dataset=dataset), tuning.where(dataset=dataset)
        chosen, found = best_told(own, chose)
        if chosen is None or not np.isfinite(found.estimate):
            lines.append(f"**{told.title(dataset)}**: too few hits or natural misses.")
            continue
        invented, strangers = best_told(own, chose, kind=INVENTED)
        _, paper = best_told(own, chose, OF_THE_PAPER)
        lines.append(
            f"**{told.title(dataset)}**: {TELLERS[chosen.attack]}, by {_signal(chosen)}, "
            f"{two(found)}: {_against(found)}. "
            f"Against inventions {two(strangers)}, by {_signal(invented)}. The paper's KKT attack: {two(paper)}"
            + (f", {_against(paper)}." if np.isfinite(paper.estimate) else ".")
        )
    return "\n".join(f"- {line}" for line in lines) or NOT_RUN


def _signal(chosen: reading.Detector | None) -> str:
    if chosen is None:
        return "–"
    return ("low " if chosen.lower else "") + SIGNALS[chosen.signal]


def _against(found: Interval) -> str:
    """What an interval says about R23."""
    if found.low >= REFUTES:
        return "an attacker can tell"
    if found.high <= SUPPORTS:
        return "an attacker cannot tell"
    return "not decided"


@needs_runs
def trusted(told: Runs) -> str:
    """How many natural-looking candidates of the unmixing are misses, and what agreement puts first."""
    each = [
        f"{over_runs(runs, 'hits_natural'):.0f} hits and {over_runs(runs, 'misses_natural'):.1f} misses "
        f"look natural, and of the first n/4 by agreement {percent(runs.values('precision_top'))} are "
        f"hits ({told.title(dataset)})"
        for dataset in told.of("dataset")
        for runs in [told.where(dataset=dataset, attack=UNMIXED)]
        if runs
    ]
    return f"Of what unmixing gives, per draw, {'; '.join(each)}." if each else NOT_RUN


# --- landscape and widths ---------------------------------------------------------------------------


@needs_runs
def surface(found: Runs) -> str:
    """R22."""
    bilevel, kkt = (found.where(attack=attack) for attack in ("bilevel", "kkt"))
    text = (
        f"Distinct end points: bilevel {interval(bilevel.values('end_points'))}, KKT "
        f"{interval(kkt.values('end_points'))}; relative barriers between them: "
        f"{interval(bilevel.values('barriers'))} and {interval(kkt.values('barriers'))}. "
    )
    gaps: Mapping[str, list[float]] = {
        "end points": reading.minus(bilevel, kkt, "end_points"),
        "barriers": reading.minus(bilevel, kkt, "barriers"),
    }
    fewer = {name: holds(values) for name, values in gaps.items()}
    if all(fewer.values()):
        return text + "The KKT landscape is the smoother one, as conjectured."
    return text + "That the KKT landscape is the smoother one is not shown."


@needs_runs
def by_width(sized: Runs) -> str:
    """R05."""
    told = []
    for attack in sized.of("attack"):
        own = sized.where(attack=attack)
        ranks = reading.ranks_by_width(own, "auroc")
        points = over_seeds(reading.change_points(own))
        if not ranks:
            continue
        where = f"{10**points.estimate:.2g}"
        if points.known:
            where += f" [{10**points.low:.2g}, {10**points.high:.2g}]"
        told.append(
            f"{'KKT' if attack == 'kkt' else attack}: rank correlation of parameters and AUROC "
            f"{interval(ranks)}, a single step fits at {where} parameters for each pixel"
        )
    return "; ".join(told) + "." if told else NOT_RUN
