"""Sentences of chapter 2: they compare only where the interval of five seeds carries it."""

from collections.abc import Callable, Iterable, Sequence

import pandas as pd

from chapters.architecture_comparison.design import ARCHITECTURES, KNOW_NO_PLACES, VARIANTS
from chapters.architecture_comparison.reading import (
    AGAINST_CONTROLS,
    OFF,
    ON,
    PAPERS_ORDER,
    Tables,
    above_next,
    accuracies,
    agreement,
    below_next,
    gap,
    order,
    trend_table,
)
from chapters.shortcut_injection.reading import (
    SEEDS_FOR_A_CLAIM,
    cells,
    clear,
    converged,
    for_a_claim,
    from_to,
    mean,
    paired_by_seed,
)
from harness.results import Runs

Ways = dict[str, Tables]

IN_ORDER = " > ".join(PAPERS_ORDER)


def answer(ways: Ways, fooled: Runs, control: Runs) -> str:
    """The chapter's answer in at most 60 words."""
    if not converged(fooled):
        return "Not run: no network of this chapter is there; the end of the page says why."
    known = {way: _of_five_seeds(tables) for way, tables in ways.items()}
    if not known[ON]:
        means = ", ".join(
            f"{mean(fooled, 'accuracy_difference', architecture=a):.2f} ({a})"
            for a in converged(fooled).of("architecture")
        )
        return (
            "**Not to be told here:** an order needs five seeds. Accuracy Difference: "
            f"{means}. {_believe(fooled, control)}"
        )
    asked = {
        ON: "data sets by Accuracy Difference with patches on its tokens",
        OFF: "between them",
        AGAINST_CONTROLS: "by loss against controls",
    }
    here = {way: own for way, own in known.items() if own}
    first = [
        f"on {sum(clear(above_next(t, 'ViT').tolist()) for t in own.values())} of {len(own)} "
        f"{asked[way]}"
        for way, own in here.items()
    ]
    held = [str(sum(order(t) == IN_ORDER for t in own.values())) for own in here.values()]
    return (
        f"{_verdict(ways)} The ViT comes first {', '.join(first)}. The paper's order holds on "
        f"{' and '.join(filter(None, [', '.join(held[:-1]), held[-1]]))} of them. "
        f"{_believe(fooled, control)}"
    )


def _of_five_seeds(tables: Tables) -> Tables:
    return {t: table for t, table in tables.items() if len(table.dropna()) >= SEEDS_FOR_A_CLAIM}


def _verdict(ways: Ways) -> str:
    """Whether architectures differ, and whether always in one direction."""
    tables = [table for own in ways.values() for table in own.values()]
    directions = {
        (upper, lower)
        for table in tables
        for upper in ARCHITECTURES
        for lower in ARCHITECTURES
        if upper != lower and clear(gap(table, upper, lower))
    }
    if tables and all(order(table) == IN_ORDER for table in tables):
        return "**Yes, in the paper's order.**"
    if any((lower, upper) in directions for upper, lower in directions):
        return "**Yes, but the order turns.**"
    return "**Yes.**" if directions else "**The seeds do not tell.**"


def _believe(fooled: Runs, control: Runs) -> str:
    """How many wrong patches are believed, and whether by all more than by their controls."""
    here = cells(converged(fooled))
    shares = from_to([mean(own, "follows_patch") for own in here.values()], ".0%")
    more = [clear(paired_by_seed(own, control, "follows_patch")) for own in here.values()]
    if all(more):
        return f"All believe wrong patches more than controls: {shares}."
    return f"Wrong patches believed: {shares}."


# --- three ways to ask ------------------------------------------------------------------------


def orders(ways: Ways) -> str:
    """The order of the architectures in each way to ask, by data set."""
    shown = {
        ON: "Accuracy Difference, patches on the ViT's tokens",
        OFF: "Accuracy Difference, patches between tokens",
        AGAINST_CONTROLS: "Clean accuracy lost against the control",
    }
    lines = [f"- **{text}:** {_by_order(ways[way])}." for way, text in shown.items()]
    legend = (
        "Means in descending order; > where the 95 % interval of the paired difference over at "
        "least five seeds lies above zero, ≈ where it does not."
    )
    return "\n".join([legend, "", *lines])


def _by_order(tables: Tables) -> str:
    found: dict[str, list[str]] = {}
    for title, table in tables.items():
        found.setdefault(order(table), []).append(title)
    told = "; ".join(f"{text} on {', '.join(titles)}" for text, titles in found.items())
    return told or "not run"


def tokens(ways: Ways) -> str:
    """What becomes of the ViT's lead when patches leave its tokens, where five seeds say it."""
    lines, compared = [], 0
    for title, table in ways[ON].items():
        if title not in ways[OFF]:
            continue
        on, off = (above_next(t, "ViT") for t in (table, ways[OFF][title]))
        change = for_a_claim((off - on).dropna().tolist())
        compared += change.known
        if not (change.low > 0 or change.high < 0):
            continue
        gone = clear(on.tolist()) and not clear(off.tolist())
        lines.append(
            f"- **{title}:** {'falls' if change.high < 0 else 'rises'} by "
            f"{abs(change.estimate):.2f} (95 % interval of the change {change.low:.2f} to "
            f"{change.high:.2f}), from {on.mean():.2f} to {off.mean():.2f}"
            + (", where no lead is left that the seeds agree on." if gone else ".")
        )
    if not compared:
        return (
            "Not run with five seeds: what becomes of the ViT's lead when patches leave its tokens."
        )
    head = (
        "The ViT's lead is its Accuracy Difference minus the larger of the other two. When patches "
        f"move from its tokens to between them, the lead changes on {len(lines)} of {compared} "
        f"data sets, by the interval over five seeds{':' if lines else '.'}"
    )
    if lines:
        head = f"**What is found depends on whether patches coincide with tokens.** {head}"
    return "\n".join([head, "", *lines]).strip()


def controls(ways: Ways) -> str:
    """Who loses more against its control, the CNN or the ViT, and on which data sets."""
    told: dict[str, list[str]] = {}
    for title, table in ways[AGAINST_CONTROLS].items():
        if not len(table.dropna()):
            continue
        found = for_a_claim(gap(table, "CNN", "ViT"))
        who = (
            "the CNN loses more than the ViT"
            if found.low > 0
            else "the ViT loses more than the CNN"
            if found.high < 0
            else "the seeds do not tell the CNN and the ViT apart"
        )
        told.setdefault(who, []).append(title)
    if not told:
        return "Not run: losses against controls."
    listed = "; ".join(f"{who} on {', '.join(titles)}" for who, titles in told.items())
    return f"Of clean accuracy, against networks that never met a patch: {listed}."


def consistency(tables: Tables) -> str:
    """How well the data sets agree on an order."""
    found = agreement(tables)
    if found.empty:
        return "With one data set there is no agreement between data sets to speak of."
    counts, sets = found["datasets_in_order"], int(found["datasets"].iloc[0])
    return (
        "Kendall's W, which is 1 when all data sets rank the architectures alike and 0 when they "
        f"have nothing in common, is {found['kendall_w'].mean():.2f} (mean of {len(found)} "
        f"seeds). The paper's order is found on {counts.min()} of {sets} data sets in the seed "
        f"with fewest, on {counts.max()} in the one with most."
    )


# --- learning rates ---------------------------------------------------------------------------


def rising(trends: pd.DataFrame, paced: Runs) -> str:
    """In how many cells reliance rises with the learning rate."""
    if trend_table(trends).empty:
        return "Not run: learning rates."
    epochs, loss, test = (
        _cells_where(trends, name, lambda found: found.low > 0.5)
        for name in ("rho_epochs", "rho_loss", "rho_test_loss")
    )
    diverged = len(paced) - len(converged(paced))
    return (
        "The rank correlation of learning rate and Accuracy Difference is above 0.5, by the 95 % "
        f"interval over five seeds, in {epochs} cells of architecture and data set after equal "
        f"epochs, in {loss} at equal training loss and in {test} at equal loss on shortcut test "
        f"images ({{numref}}`tab-rates`). {diverged} of {len(paced)} runs diverged and are left out."
    )


def converging(trends: pd.DataFrame) -> str:
    """In how many cells larger learning rates converge sooner."""
    if trend_table(trends).empty:
        return "Not run: learning rates."
    own, equal = (
        _cells_where(trends, name, lambda found: found.high < -0.5)
        for name in ("rho_convergence", "rho_equal_convergence")
    )
    return (
        "The rank correlation of learning rate and epochs to converge is below -0.5, by the 95 % "
        f"interval over five seeds, in {own} cells for the training loss (the smallest rate alone had "
        f"twice the epochs) and in {equal} for the loss on shortcut test images, with equal "
        "epochs for all."
    )


def _cells_where(trends: pd.DataFrame, name: str, holds: Callable) -> str:
    groups = [v.dropna().tolist() for _, v in trends.groupby("cell", sort=False)[name]]
    found = [holds(for_a_claim(values)) for values in groups if values]
    return f"{sum(found)} of {len(found)}"


# --- taking the architectures apart -----------------------------------------------------------


def acts(changes: Tables) -> str:
    """In how many data sets each replaced part changes the difference of its architecture."""
    told = []
    for shown, name in VARIANTS.items():
        values = [t[name].dropna().tolist() for t in changes.values() if len(t[name].dropna())]
        if values:
            up = sum(map(clear, values))
            down = sum(clear([-v for v in own]) for own in values)
            told.append(f"{shown}: up on {up}, down on {down} of {len(values)}")
    if not told:
        return "Not run: networks with a part replaced."
    return (
        "Data sets on which the 95 % interval of the change over at least five seeds lies off "
        f"zero: {'; '.join(told)}."
    )


def whom_it_believes(fooled: Runs, ablated: Runs) -> str:
    """What the networks that know no places, and the most gullible one, say of the measure."""
    blind = converged(ablated).where(architecture=sorted(KNOW_NO_PLACES))
    if not blind or not converged(fooled):
        return "Not run: networks that know no places."
    falls = blind.values("accuracy_difference")
    guessed = [(1 - wrong) / 9 for wrong in blind.values("accuracy_conflict")]
    told = (
        "The networks that know no places name the class of a wrong patch in "
        f"{_mean(blind.values('follows_patch')):.1%} of cases; guessing where the object is not "
        f"recognised would make it {_mean(guessed):.1%}. Their Accuracy Difference is "
        f"{_mean(falls):.2f} on average and up to {max(falls):.2f}."
    )
    despite = _belief_without_difference(fooled)
    if not despite:
        return told
    both = clear(_without_belief(cells(blind).values()))
    return f"{told} {despite}" + both * (
        " **Accuracy Difference measures what a network can do without the patch, not whom it "
        "believes when the two disagree.**"
    )


def _without_belief(own: Iterable[Runs]) -> list[float]:
    """Accuracy Difference − share of wrong patches believed, by seed, mean over cells."""
    rows = [
        {"seed": r.parameters["seed"], "over": r["accuracy_difference"] - r["follows_patch"]}
        for cell in own
        for r in cell
    ]
    return pd.DataFrame(rows).groupby("seed")["over"].mean().tolist()


def _belief_without_difference(fooled: Runs) -> str:
    """The network that believes most beyond its Accuracy Difference, where its seeds say so."""
    table = accuracies(fooled, fooled)
    table["over"] = table["believed"] - (table["right patch"] - table["no patch"])
    torn = table.loc[table["over"].idxmax()]
    own = cells(converged(fooled))[f"{torn['architecture']}, {torn['data set']}"]
    if not clear([-value for value in _without_belief([own])]):
        return ""
    return (
        f"The other way round, the {torn['architecture']} on {torn['data set']} believes "
        f"{torn['believed']:.0%} of wrong patches, with an Accuracy Difference of "
        f"{_mean(own.values('accuracy_difference')):.2f}."
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


# --- the paper's two versions -----------------------------------------------------------------


def two_versions(ways: Ways, measured: pd.DataFrame) -> str:
    """Which statements of the paper's two versions hold on which data sets."""
    tables = ways[ON]
    if not tables or measured.empty:
        return "Not run: the comparison of the two versions."
    ordered = [title for title, table in tables.items() if order(table) == IN_ORDER]
    first = [t for t, table in tables.items() if clear(above_next(table, "ViT").tolist())]
    low, high = measured["lr"].min(), measured["lr"].max()

    def on(named: Sequence[str], of: int) -> str:
        return f"on {len(named)} of {of} data sets" + (f" ({', '.join(named)})" if named else "")

    def reserved(lr: float) -> str:
        return on(_cnn_smallest(measured, lr), measured[measured["lr"] == lr]["data set"].nunique())

    return (
        "By the 95 % intervals of paired differences over at least five seeds:\n\n"
        f"- **The unconditional order** ViT, MLP, CNN holds {on(ordered, len(tables))}. The ViT "
        f"has the largest Accuracy Difference {on(first, len(tables))}.\n"
        f"- **CNNs at low learning rates.** The CNN's Accuracy Difference is below both others "
        f"{reserved(low)} at the smallest rate, {low:g}, and {reserved(high)} at the largest, "
        f"{high:g}.\n"
        "- **ViTs without positions** know no places, which is a property of the network; "
        "{numref}`fig-belief` shows them."
    )


def _cnn_smallest(measured: pd.DataFrame, lr: float) -> list[str]:
    """Data sets on which the CNN is below both others at a learning rate."""
    found = []
    for title, rows in measured[measured["lr"] == lr].groupby("data set", sort=False):
        table = rows.pivot_table(index="seed", columns="architecture", values="at equal epochs")
        if set(ARCHITECTURES) <= set(table) and clear(below_next(table, "CNN").tolist()):
            found.append(title)
    return found
