# ---
# jupyter:
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
# # Are MLPs, CNNs and ViTs fooled differently?
#
# Three networks look at the same planted patch: one sees a list of pixels, one neighbourhoods, one
# tokens and their places. Are vision transformers fooled most and convolutions least, as Suhail and
# Sethi {cite:p}`suhail2025` report?

# %% tags=["parameters"]
datasets = ["digits"]
epochs = [8]  # of training, one number a data set
n = 1000  # training images, where there are so many
seeds = [10]  # initial weights, draw of images, their order
tuning_seeds = [0]  # networks that choose the learning rates
tuning_rates = [1e-3, 1e-2]
learning_rates = [1e-4, 1e-3, 1e-2]
stretch = [2, 1, 1]  # times the epochs, for each learning rate
compared_loss = 0.2  # training loss at which learning rates are compared
converged_loss = 0.01  # training loss that counts as converged
precision = "auto"  # "float32", "bfloat16" or what the processor is made for
results = "_build/results/quick"  # folder of finished runs
compute = True  # False: only read what is there
executor = "serial"  # or "loky:2", "dask:tcp://host:port"
threads = 1  # of torch, in each run
device = "cpu"  # or "cuda"

# %% tags=["setup"]
from chapters.architecture_comparison import design, evidence, figures, reading
from chapters.shared import open_study
from chapters.shortcut_injection import runs
from chapters.shortcut_injection.design import tuning as clean
from chapters.shortcut_injection.reading import tuned
from harness import page
from lib import models, train

# %% [markdown] tags=["setup"]
# Every architecture is first tuned on clean images, with a seed that appears nowhere else. All
# questions are then asked at the learning rate that was best, in one sweep.

# %% tags=["setup"]
study = open_study(
    results, datasets, compute=compute, executor=executor, threads=threads, device=device
)
training = {"n": n, "precision": train.precision_for(precision, device)}
lengths = dict(zip(datasets, epochs, strict=True))

# %% tags=["setup"]
tuning = study(
    runs.reliance, clean(lengths, seeds=tuning_seeds, rates=tuning_rates, **training)
)
asked = study.groups(
    runs.reliance,
    design.groups(
        tuned(tuning),
        lengths,
        seeds=seeds,
        pace=dict(zip(learning_rates, stretch, strict=True)),
        **training,
    ),
)

# %% tags=["setup"]
fooled, control, paced = asked["fooled"], asked["control"], asked["paced"]
parts = {name: asked[name] for name in ("fooled", "matched", "ablated")}
measured = reading.at_rates(
    paced, lengths, compared_loss=compared_loss, converged_loss=converged_loss
)
trends = reading.trends(measured)
survives = reading.survival(**parts, shifted=asked["shifted"])

# %% tags=["remove-input"]
page.answer(reading.answer(fooled))

# %% tags=["remove-input"]
page.show(
    figures.overview(fooled),
    alt="One panel a data set, one row an architecture: blue dots for Accuracy Difference, orange "
    "diamonds for the share of wrong patches that are believed, with intervals over seeds.",
    caption="Two ways to ask whom a network trusts. Accuracy Difference (dots): how much accuracy "
    "falls when the patch is missing. Wrong patches believed (diamonds): how often the class of a "
    "wrong patch is named. Faint marks are seeds, full ones means with 95 % intervals. Each "
    "architecture has the learning rate that suits it on clean images.",
    name="fig-fooled",
)

# %% [markdown]
# What limits this: small networks, at most 10,000 training images and few epochs; patches that fill
# exactly one token of the ViT (moved off the grid in {numref}`fig-apart` and {numref}`tab-ablation`);
# and on Fashion-MNIST (900) only 500 training images. All published runs use bfloat16.
#
# The first version of the paper prints two bar charts without numbers, seeds or settings. Its second
# version {cite:p}`suhail2025v2` is more careful: CNNs are more reserved *at lower learning rates*,
# and no order holds without conditions. This chapter measures both, with controls, intervals,
# learning rates over two decades, equal epochs *and* equal training loss, equal numbers of
# parameters, and each part of the architectures that could be the cause taken out, one at a time.
#
# ## The networks
#
# The paper says nothing of its networks but their kind. Ours are small and ordinary: an MLP with two
# hidden layers of 256; a CNN with two stages of convolution and pooling and a hidden layer of 64; a
# ViT {cite:p}`dosovitskiy2021` with tokens of 4 × 4 pixels, learned positions and two blocks of
# width 64. Each has a switch for every part that this chapter takes out.

# %%
networks = {
    "MLP": models.MLP(784, (256, 256), 10, first_std=None, homogeneous=False),
    "CNN": models.CNN(channels=1, size=28, outputs=10),
    "ViT": models.ViT(channels=1, size=28, outputs=10),
}
sizes = {name: models.count_parameters(network) for name, network in networks.items()}

# %% tags=["remove-input"]
page.say(
    "On images of 28 × 28 pixels they have "
    + ", ".join(f"{count:,} parameters ({name})" for name, count in sizes.items())
    + ". {numref}`tab-networks` gives their learning rates and what they reach without any patch."
)

# %% [markdown]
# ## Accuracy and Loss Difference
#
# The paper's two measures ({eq}`eq-reliance`) compare images with the right patch and images without
# any. {numref}`fig-fooled` has the first, {numref}`fig-loss-difference` the second. Whether an order
# holds is a question about *differences between networks that saw the same images*, so gaps are
# paired by seed; the paper's order means that every one of them lies above zero.

# %%
page.table(
    reading.gaps(fooled, {"accuracy": "accuracy_difference", "loss": "loss_difference"}),
    caption="Gaps between architectures in Accuracy and Loss Difference, paired by seed: mean and "
    "95 % bootstrap interval, which with five seeds says little more than whether all agree.",
    name="tab-gaps",
    formats={"gap": str},
)

# %% tags=["remove-input"]
page.say(reading.consistency(fooled, evidence.S09(fooled)))

# %% [markdown]
# ### What the difference is made of
#
# Two things can make accuracy fall when the patch is missing: the network leaned on it, or it has
# never seen an image without one. A wrong patch tells them apart. A network that leans on the patch
# names its class; one that is merely surprised names any.

# %%
page.table(
    reading.accuracies(fooled, control),
    caption="Accuracy on test images with the right patch, with none, and with a wrong one, of "
    "networks trained with the patch. *Believed*: share of wrong patches whose class is named. "
    "*Control*: accuracy without patch of the same networks trained without it. Means over seeds.",
    name="tab-accuracies",
    formats={c: ".1%" for c in ("right patch", "no patch", "wrong patch", "believed", "control")},
)

# %% [markdown]
# ## The learning rate
#
# The paper's second message: larger learning rates mean more reliance, in every architecture. But a
# network with a small learning rate has also learned *less* after as many epochs. So the comparison
# is made twice: after equal epochs, and at the moment when the training loss first falls below the
# same value. That moment is read off a mean over the last twenty batches, so where a loss is reached
# within as few steps it comes late; the second comparison is coarse there.

# %%
page.show(
    figures.rates(measured, "at equal epochs"),
    alt="Accuracy Difference as colour and number: rows are architectures, columns learning rates, "
    "one block a data set.",
    caption="Accuracy Difference by learning rate and architecture after equally many epochs, mean "
    "over seeds. Darker is larger. {numref}`fig-rates-loss` has the same at equal training loss.",
    name="fig-rates-epochs",
)

# %% tags=["remove-input"]
page.say(reading.rising(trends, paced))

# %% [markdown]
# ## Taking the architectures apart
#
# If the *architecture* is the cause, taking its parts out should move the result, and moving
# anything else should not. We replace one network at a time: a narrower or wider MLP; a CNN that
# averages over all positions instead of keeping them, or whose convolutions wrap around the border,
# or both; a ViT without positions; all three with the same number of parameters; and patches moved
# by two pixels, so that they no longer fill exactly one token.

# %%
page.show(
    figures.apart(**parts),
    alt="Accuracy Difference of every network and its variants, one row a network, one panel a "
    "data set. The three networks of the chapter are black, their variants blue, the two that "
    "know no places orange.",
    caption="Accuracy Difference with parts taken out, at the learning rate of the network that a "
    "variant replaces. Black: the chapter's networks; blue: variants; orange: variants that cannot "
    "know where a patch is. *Matched*: as many parameters as the ViT, within 10 %.",
    name="fig-apart",
)

# %% [markdown]
# Two of these networks are special. The CNN with both changes and the ViT without positions know no
# places: on an empty background their logits are the same wherever the patch is. All that can tell
# them the class of a patch is what it covers and what surrounds it. They show what the measures say
# of networks that hardly can rely on the patch.

# %%
page.show(
    figures.belief(**parts),
    alt="Scatter plot of the share of believed wrong patches over Accuracy Difference; networks "
    "that know no places lie near the bottom over the whole width.",
    caption="Every network of this section, all data sets and seeds. If Accuracy Difference "
    "measured reliance, all marks would lie on one rising line.",
    name="fig-belief",
)

# %% tags=["remove-input"]
page.say(reading.whom_it_believes(fooled, asked["ablated"]))

# %% [markdown]
# Does the paper's order survive such changes? {numref}`tab-ablation` counts the seeds in which it is
# found after each of them. The claim it belongs to (S15) asks for more than its argument needs: if
# the architectures were the cause, the order *should* change when a part of one is taken out.

# %%
page.table(
    reading.survival_table(survives),
    caption="Share of seeds in which ViT, MLP, CNN is the order of Accuracy Difference after one "
    "change.",
    name="tab-ablation",
    formats={name: ".0%" for name in reading.survival_table(survives).columns[1:]},
)

# %% [markdown]
# ## Verdicts
#
# The paper has four data sets, and so 12 cells of architecture and data set; what was not run stays
# open.

# %%
page.verdicts(study, evidence, **asked, trends=trends, survives=survives)

# %% [markdown]
# ## Where this leaves the two versions of the paper
#
# The first version has an order for all data sets and all settings. The second adds shortcuts of
# intensity instead of place and ViTs without positions, and finds CNNs "more reserved" *at lower
# learning rates*.

# %% tags=["remove-input"]
page.say(reading.two_versions(fooled, measured))

# %% [markdown]
# ## What we found beside what the paper says
#
# - **Accuracy Difference is not reliance.** Networks that know no places can have a large one
#   ({numref}`fig-belief`). Ask with a wrong patch.
# - **"Architecture" is several things.** {numref}`fig-apart` takes them apart.
# - **Equal epochs are not equal training.** What is held equal belongs beside every statement about
#   learning rates ({numref}`fig-rates-epochs`, {numref}`fig-rates-loss`).
# - **Loss Difference measures confidence.** On a test set where a network is always right, the
#   temperature {cite:p}`guo2017` that suits it has no lower limit; S08-tempered, judged as fixed in
#   advance, then says little, and we would not use it again.
#
# What each network's reconstructions look like, the paper's Figure 3, belongs to the chapter on
# training-like data. Architectures, places of the patches and training were fixed on seed 0, the
# seed that also chose the learning rates.

# %% [markdown] tags=["appendix"]
# ## The networks and their learning rates

# %% tags=["appendix"]
page.table(
    reading.networks(fooled, control),
    caption="The networks, the learning rate that was best for each on validation images of other "
    "seeds, without patches, and their accuracy on clean test images when they never meet a patch, "
    "mean over seeds.",
    name="tab-networks",
    formats={
        "parameters": ",", "training images": ",", "learning rate": "g",
        "accuracy without any patch": ".1%",
    },
)  # fmt: skip

# %% [markdown] tags=["appendix"]
# ## Loss Difference
#
# Cross-entropy grows with the scale of the logits, so the panels have axes of their own.

# %% tags=["appendix"]
page.show(
    figures.difference(fooled, "loss_difference", "Loss Difference, nats"),
    alt="Loss Difference of MLP, CNN and ViT, one panel a data set, with intervals over seeds.",
    caption="Loss Difference (the paper's Figure 2): cross-entropy in nats after the last epoch.",
    name="fig-loss-difference",
)

# %% [markdown] tags=["appendix"]
# ## Learning rates in detail

# %% tags=["appendix"]
page.show(
    figures.rates(measured, "at equal loss"),
    alt="Accuracy Difference at equal training loss as colour and number: rows are architectures, "
    "columns learning rates, one block a data set.",
    caption=f"Accuracy Difference when the training loss first falls below {compared_loss:g} nats. "
    "Empty fields never got there.",
    name="fig-rates-loss",
)

# %% [markdown] tags=["appendix"]
# Larger rates converge faster, until they are too large. Only the smallest rate had more epochs.

# %% tags=["appendix"]
page.show(
    figures.convergence(measured, converged_loss),
    alt="Epochs to convergence over the learning rate, one line an architecture, one panel a data "
    "set; lines fall at first and some rise at the largest rates.",
    caption="Epochs to convergence (S12). Runs that did not get there are left out.",
    name="fig-convergence",
)

# %% [markdown] tags=["appendix"]
# The rank correlations behind S11 and S12, by cell of architecture and data set.

# %% tags=["appendix"]
page.table(
    reading.trend_table(trends),
    caption="Spearman correlation with the learning rate, computed for each seed and averaged: of "
    "the Accuracy Difference at equal epochs and at equal loss, of the Loss Difference at equal "
    "epochs, and of the epochs to convergence (never counts as longest).",
    name="tab-rates",
    formats={name: ".2f" for name in reading.trend_table(trends).columns[1:]},
)

# %% tags=["setup"]
page.status(study)
