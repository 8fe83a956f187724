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
compared_loss = 0.2  # loss at which learning rates are compared
converged_loss = 0.01  # loss that counts as converged
precision = "auto"  # "float32", "bfloat16" or what the processor is made for
results = "_build/results/quick"  # folder of finished runs
compute = True  # False: only read what is there
executor = "serial"  # or "loky:2", "dask:tcp://host:port"
threads = 1  # of torch, in each run
device = "cpu"  # or "cuda"

# %% tags=["setup"]
from chapters.architecture_comparison import design, evidence, figures, reading, sentences
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
tuning = study(runs.reliance, clean(lengths, seeds=tuning_seeds, rates=tuning_rates, **training))
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
changes = reading.removed(fooled, asked["ablated"])
ways = reading.three_ways(fooled, asked["shifted"], control)
survives = reading.survival(**parts, shifted=asked["shifted"])

# %% tags=["remove-input"]
page.answer(sentences.answer(ways, fooled, control))

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
# What limits this: small networks and few epochs; 10,000 training images, but 5,000 on coloured digits
# and 500 on Fashion-MNIST (900), which has 300 test images; bfloat16 products. SVHN, the paper's fourth
# data set, could not be obtained; *coloured digits*, which this book makes of MNIST and photographs
# ([](../book/data)), stand in its place. The patches fill exactly one token of the ViT unless it is said
# otherwise; whether the order hangs on that is asked with {numref}`fig-order`.
#
# The first version of the paper prints two bar charts without numbers, seeds or settings. Its second
# version {cite:p}`suhail2025v2` is more careful: CNNs are more reserved *at lower learning rates*,
# and no order holds without conditions.
#
# **Others asked before.** Ghosal, Ming and Li {cite:p}`ghosal2022` compare vision transformers with
# CNNs on benchmarks with spurious correlations, and find transformers *more* robust once they are
# pre-trained on enough images. Scimeca, Oh, Chun, Poli and Yun {cite:p}`scimeca2022` offer several
# cues that tell the class equally well, and find that networks prefer simple ones. Hermann, Mobahi, Fel
# and Mozer {cite:p}`hermann2024` keep apart how predictive a cue is and how available. Tsoy and
# Konstantinov {cite:p}`tsoy2025` compare networks trained with and without a shortcut layer by layer,
# and find that what helps depends on architecture and data set. Ours is narrower: for the planted
# patches of this paper, the same networks with controls, wrong patches, patches on and off the tokens,
# learning rates over two decades at equal epochs *and* at equal loss, equal numbers of parameters, and
# each part of the architectures that could be the cause taken out, one at a time, with intervals over
# five seeds.
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
    "Student's 95 % interval.",
    name="tab-gaps",
    formats={"gap": str},
)

# %% tags=["remove-input"]
page.say(sentences.consistency(ways[reading.ON]))

# %% [markdown]
# ### Patches between tokens, and controls
#
# A patch of 4 × 4 pixels at a multiple of four fills exactly one token of the ViT: the network gets the
# shortcut as one vector of its own. Moved by two pixels, the same patch is spread over four tokens,
# mixed with what is beside it. An MLP and a CNN have no tokens. And Accuracy Difference
# compares two test sets, not two networks: a network that was weak without any patch has less to lose.
# So the question is asked in two more ways: with patches **between tokens**, and as the clean accuracy
# that a network **loses against its control**, the same network, images and seed without patches.

# %%
page.show(
    figures.order(fooled, asked["shifted"], control),
    alt="One panel a data set, for each architecture three rows of marks: Accuracy Difference with "
    "patches on the tokens, Accuracy Difference with patches between tokens, and clean accuracy "
    "lost against controls.",
    caption="Three ways to ask how much a network relies on its patch: Accuracy Difference with each "
    "patch on one token of the ViT (dots), with patches two pixels off, between tokens (squares), and "
    "clean accuracy lost against the control (diamonds). Faint marks are seeds, full ones means "
    "with 95 % intervals. First in the title: above both others by the paired interval.",
    name="fig-order",
)

# %% tags=["remove-input"]
page.say(sentences.orders(ways))
page.say(sentences.tokens(ways))
page.say(sentences.controls(ways))

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
# is made three times: after equal epochs, at the moment when the training loss first falls below
# the same value, and at the moment when the loss on *test* images with the shortcut does. The second
# moment is read off a mean over the last twenty batches, which lags: where a loss is reached within
# as few steps it comes late. The third is measured at the observation itself, without any lag.

# %%
page.show(
    figures.rates(measured, "at equal epochs"),
    alt="Accuracy Difference as colour and number: rows are architectures, columns learning rates, "
    "one block a data set.",
    caption="Accuracy Difference by learning rate and architecture after equally many epochs, mean "
    "over seeds. Darker is larger. {numref}`fig-rates-loss` has the same at equal loss.",
    name="fig-rates-epochs",
)

# %% tags=["remove-input"]
page.say(sentences.rising(trends, paced))

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
    alt="Scatter plot of the share of believed wrong patches over Accuracy Difference, one mark a "
    "network and seed; networks that know no places have a mark of their own.",
    caption="Every network of this section, all data sets and seeds. Dashed: where both measures "
    "say the same.",
    name="fig-belief",
)

# %% tags=["remove-input"]
page.say(sentences.whom_it_believes(fooled, asked["ablated"]))

# %% [markdown]
# Are the architectures the cause? The claim (S15) takes it as support if the paper's order *survives*
# such changes, and {numref}`tab-ablation` counts the seeds in which it is found after each. The
# argument also runs the other way: a bias that acts through a part should *change* the difference of
# its architecture when the part is taken out. S15-removed asks for that
# ({numref}`tab-removed`); both are shown, and both can fail.

# %%
page.table(
    reading.survival_table(survives),
    caption="Share of seeds in which ViT, MLP, CNN is the order of Accuracy Difference after one "
    "change.",
    name="tab-ablation",
    formats={name: ".0%" for name in reading.survival_table(survives).columns[1:]},
)

# %% [markdown]
# The same networks, each compared with the one that it replaces, on the same seed:

# %%
page.table(
    reading.removal_table(changes),
    caption="Change of Accuracy Difference when one part of an architecture is replaced, paired by "
    "seed: mean and half the width of Student's 95 % interval. S15-removed judges the mean of absolute "
    "changes.",
    name="tab-removed",
)

# %% tags=["remove-input"]
page.say(sentences.acts(changes))

# %% [markdown]
# ## Verdicts
#
# The paper has four data sets, and so 12 cells of architecture and data set; coloured digits stand in
# the place of SVHN, and what was not run stays open. Entries that end in *-offgrid* have patches
# between tokens, those in *-controlled* the loss against controls. S11 ranks learning rates and
# differences within each data set, and then takes all data sets together. S12 gave the smallest rate
# twice the epochs; S12-equal gives all the same. S09 ranks means over seeds.

# %%
page.verdicts(
    study, evidence, **asked, trends=trends, survives=survives,
    pooled=reading.pooled_trends(measured),
)  # fmt: skip

# %% [markdown]
# ## Where this leaves the two versions of the paper
#
# The first version has an order for all data sets and all settings. The second adds shortcuts of
# intensity instead of place and ViTs without positions, and finds CNNs "more reserved" *at lower
# learning rates*.

# %% tags=["remove-input"]
page.say(sentences.two_versions(ways, measured))

# %% [markdown]
# ## What is asked here beside what the paper asks
#
# - **Whom it believes.** Networks that know no places have no shortcut to lean on, and can have an
#   Accuracy Difference ({numref}`fig-belief`). A wrong patch asks more directly.
# - **Where the patch lies, and what the network could do without any** ({numref}`fig-order`).
# - **What "architecture" is.** {numref}`fig-apart` takes several things apart.
# - **What is held equal.** It belongs beside every statement about learning rates
#   ({numref}`fig-rates-epochs`, {numref}`fig-rates-loss`, {numref}`fig-rates-test-loss`).
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
# The same at equal loss on test images with the shortcut, which does not lag.

# %% tags=["appendix"]
page.show(
    figures.rates(measured, "at equal test loss"),
    alt="Accuracy Difference at equal loss on shortcut test images as colour and number: rows are "
    "architectures, columns learning rates, one block a data set.",
    caption="Accuracy Difference when the loss on test images with the shortcut first falls below "
    f"{compared_loss:g} nats. Empty fields never got there.",
    name="fig-rates-test-loss",
)

# %% [markdown] tags=["appendix"]
# How soon does a network converge? Only the smallest rate had more epochs.

# %% tags=["appendix"]
page.show(
    figures.convergence(measured, converged_loss),
    alt="Epochs to convergence over the learning rate, one line an architecture, one panel a data "
    "set.",
    caption="Epochs to convergence (S12). Runs that did not get there are left out.",
    name="fig-convergence",
)

# %% tags=["appendix", "remove-input"]
page.say(sentences.converging(trends))

# %% [markdown] tags=["appendix"]
# The rank correlations behind the entries of S11 and S12, by cell of architecture and data set.

# %% tags=["appendix"]
page.table(
    reading.trend_table(trends),
    caption="Spearman correlation with the learning rate, computed for each seed and averaged: of "
    "the Accuracy Difference at equal epochs, at equal training loss and at equal loss on shortcut "
    "test images, of the Loss Difference at equal epochs, and of the epochs to convergence (a "
    "loss that is not reached is ranked last): of the training loss, and of the loss on shortcut test "
    "images with equal epochs.",
    name="tab-rates",
    formats={name: ".2f" for name in reading.trend_table(trends).columns[1:]},
)

# %% tags=["setup"]
page.status(study)
