# ---
# jupyter:
#   execute: after_others
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Which claims hold?
#
# Each claim of the five papers has a threshold in the folder `claims/`. Which ones do the runs of
# this book meet, on which data sets, and which are still open?

# %% tags=["parameters"]
results = "_build/results/quick"  # folder of the runs whose verdicts are shown

# %% tags=["setup"]
from chapters.scorecard import figures, reading
from chapters.scorecard.entries import entries
from chapters.scorecard.matrix import matrix
from harness import ledger, page
from harness.records import collect, folder_of

# %% [markdown] tags=["setup"]
# Nothing is computed here. Every chapter records its verdicts when it is executed; they are judged
# again from the recorded evidence, so that they follow the ledger as it stands.

# %% tags=["setup"]
claims = ledger.load("claims")
found = collect(folder_of(results), claims=claims)
shown = reading.lines(found, claims)
counts = reading.counts(shown)
there = reading.written()

# %% tags=["remove-input"]
page.answer(reading.answer(shown, there))

# %% tags=["remove-input"]
page.show(
    figures.summary(counts, reading.finding(counts)),
    alt=reading.spoken(counts),
    caption="Verdicts on the papers' claims, one bar a paper. What varies a claim does not count.",
    name="fig-scorecard",
)

# %% [markdown]
# What limits this: most runs are small, on two CPU cores, and a claim that fails at our scale may
# hold at another. A threshold that the papers do not give is ours. Where SVHN cannot be had, coloured
# digits take its place.
#
# ## How a claim is judged
#
# The papers are those of Suhail and Sethi {cite:p}`suhail2025,suhail2024tldr`, Suhail et al.
# {cite:p}`suhail2024applications`, Runkel et al. {cite:p}`runkel2024` and Haim et al.
# {cite:p}`haim2022`. The tests of a claim are a conjunction, each with a threshold.
#
# - **R, reproduced:** in every test the 95 % interval over seeds lies on the right side.
# - **N, not reproduced:** in some test it lies on the wrong side.
# - **I, inconclusive:** an interval straddles its threshold.
# - **U, uninformative:** what needs no attack, a null, passes the test as well.
# - **P, partly:** some parts, such as data sets, are reproduced, but fewer than the claim needs.
# - **r, reported:** the claim has numbers and no threshold.
# - **–, not run:** nothing was run, or on too few seeds, or some test has no evidence.
#
# A claim on several data sets is judged on each, and then on those that were run. What varies a
# claim (a smaller scale, another protocol, our attack instead of the paper's, a new measure) is an
# entry of its own, stands below its row and never counts as that row.

# %%
page.table(
    reading.count_table(shown),
    caption="Number of claims by paper and verdict: reproduced (R), partly (P), "
    "inconclusive (I), uninformative (U), not reproduced (N), reported (r), not run (–).",
    name="tab-scorecard",
)
page.say(reading.who_is_silent(shown, there))

# %% [markdown]
# ## Claims by data set
#
# A letter leads to the entry of its claim. Where a claim has several parts on a data set, such as
# three architectures, the letter combines them; with the pointer on it their number is shown. An
# empty field is one that does not apply.

# %%
page.say(matrix(shown, reading.columns(found)))

# %% [markdown]
# ## Many tests
#
# Of many tests some decide by chance. Holm's correction (Holm 1979) takes all tests of a paper
# together, those of the variants included. The verdicts above stand without it.

# %%
page.say(reading.corrected(shown))

# %% [markdown]
# ## Every claim
#
# An entry opens with a click. It has what the paper says and where, the threshold, the effect with
# its interval in every test, how much was run, and what it would take where nothing was.

# %%
page.say(entries(shown, there))
