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
# # Whose training images can be read off the first layer?
#
# [](07_kkt_reconstruction) found that the first layer of a small network, unmixed, gives back what it
# was trained on. That network was trained to leak: full batches, huge margins, tiny initial weights.
# Who else is at risk, and what helps?

# %% tags=["parameters"]
datasets = ["digits"]  # image sets: names, or folders of images
n = 10  # training images, where recipes and defences are compared
ways = [
    "plain",
    "default initialisation",
    "default initialisation, start known",
    "fine-tuned, start known",
]
defences = ["8 bits", "DP-SGD, noise 2"]
sizes = [10, 20]  # training images, for the question how many fit
seeds = [10]  # initial weights, draw of images, order of batches, start of the attack
defence_seeds = [10]
settings = {"width": 200, "steps": 200, "held_out": 100}  # what differs from the recipes
varied_n = 20  # training images, where width and rank are varied, on the last data set
widths = [50, 100]
ranks = [5]
varied_seeds = [10]
results = "_build/results/quick"  # folder of finished runs
compute = True  # False: only read what is there
executor = "serial"  # or "loky:2", "dask:tcp://host:port"
threads = 1  # of torch, in each run
device = "cpu"  # or "cuda"

# %% tags=["setup"]
from dataclasses import replace

import torch

from chapters import recipes
from chapters.shared import open_study
from chapters.who_is_at_risk import design, evidence, figures, reading, runs, sentences
from harness import page

# %% [markdown] tags=["setup"]
# A *run* trains one network by a recipe, hands its weights to the attack, and compares what comes out
# with the training images. Recipes share images and initial weights in each seed.

# %% tags=["setup"]
study = open_study(
    results, datasets, compute=compute, executor=executor, threads=threads, device=device
)
read = study(
    runs.read_off, [design.case(name) for name in ways],
    dataset=datasets, n=n, seed=seeds, **settings,
)  # fmt: skip
guarded = study(
    runs.read_off, [design.case(name) for name in defences],
    dataset=datasets, n=n, seed=defence_seeds, **settings,
)  # fmt: skip
guarded += read.where(**design.case("plain"), seed=defence_seeds)

# %% tags=["setup"]
sized = study(runs.read_off, design.sized(sizes, seeds), dataset=datasets, **settings)
varied = {"dataset": datasets[-1:], "n": varied_n, "seed": varied_seeds, **design.case("plain")}
by_width = study(runs.read_off, **varied, **{**settings, "width": widths})
by_rank = study(runs.read_off, **varied, **settings, rank=ranks)

# %% tags=["remove-input"]
page.answer(sentences.answer(read, sized))

# %% tags=["remove-input"]
page.show(
    figures.recipes(read, finding=sentences.finding(read)),
    alt="One panel a data set, one row a way of training: dots for the share of training images that "
    "unmixing the first layer brings back, hollow diamonds for what the strongest of three nulls does.",
    caption=f"Share of {n} training images found, by how the network was trained; each row is the "
    "plain recipe but for what it names. Faint marks are seeds, full ones means with 95 % intervals.",
    name="fig-recipes",
)

# %% tags=["remove-input"]
page.say(sentences.limits(read))

# %% [markdown]
# ## What any training leaves behind
#
# The gradient of a loss with respect to the first weight matrix is, for one image, the outer product
# of a signal that comes back and the image. So whatever the loss, the batches, the momentum and the
# length of the steps,
#
# $$W_1(t) - W_1(0) = \sum_{i=1}^n d_i(t)\, x_i^\top .$$ (eq-change)
#
# The rows of the change are mixtures of the training images. Three things come between: steps that are
# not gradients (Adam divides each entry by a length of its own), inputs that are not the images
# (augmentation, a convolution), and $W_1(0)$, if it is large and unknown. Here with PyTorch's default
# initialisation, on twenty digits:

# %%
recipe = replace(recipes.KNOWN["default initialisation"], steps=300)
of = recipes.victim("digits", 20, 0, recipe, width=200, held_out=100)
weight, (start, _) = recipes.layers(of.network)[0].weight.detach(), of.start[0]
for name, matrix in {"weights": weight, "change": weight - start}.items():
    values = torch.linalg.svdvals(matrix)
    shown = ", ".join(f"{number}: {values[number - 1]:.5f}" for number in (1, 19, 20, 40))
    print(f"{name}, singular values {shown}")

# %% [markdown]
# The weights show nothing of the number of images; their change ends after nineteen, since twenty
# images less their mean span no more. Who knows the start
# subtracts it. That is not far-fetched: whoever fine-tunes a public network publishes weights whose
# start anybody can download. *Fine-tuned* here means: trained on all other classes of the same data
# set, then, with a new last layer, on images of two classes that it never saw.
#
# **The plain recipe** is what a textbook has: batches of ten, momentum 0.9, a constant rate of 0.01,
# 1,500 steps, two hidden layers of 1,000 units; only the first layer's initial weights are small
# (standard deviation $10^{-4}$, as in {cite:t}`haim2022`). Every other recipe changes what its name
# says. **The attack** is given a weight matrix (or its change) and the shape of an image. It takes the
# row space above the edge of the noise and looks in it for the images whose derivatives are sparsest,
# without the orthogonality that FastICA asks for; a few starts are merged by how well they agree. No
# label, no loss, no learning rate, no training or held-out image enters.
#
# **Found** means: some candidate correlates with the training image more than with 99 % of held-out
# images of the same classes. Three nulls on the same network say what needs no attack: held-out
# images, random mixtures of the same row space, and the rows of the layer as they are.

# %%
page.say(sentences.by_recipe(read))

# %% [markdown]
# Does it help an attacker to know the start? In each seed the network is the same, only the start is
# subtracted or not:

# %%
page.say(sentences.known_start(read))

# %% [markdown]
# ## How many images, and how fast?
#
# More images make for more of a mixture: the rank rises, and the derivatives of an image have to be
# told from those of all others.

# %%
page.show(
    figures.sizes(sized),
    alt="Two rows of panels over the number of training images, a column a data set: share of images "
    "found, with the start unknown and known and the strongest null, and seconds of the attack.",
    caption="The plain recipe: share of training images found (above) and seconds of the attack on one "
    "thread (below), by their number. Faint marks are seeds, lines join means.",
    name="fig-how-many",
)

# %% tags=["remove-input"]
page.say(sentences.by_size(sized))

# %% [markdown]
# The twelve best pairs of one network at the largest size, which is what {cite:t}`haim2022` show
# forty-five of, after a search of a hundred runs ranked by the training set:

# %%
page.show(
    figures.pairs(reading.last(sized)),
    alt="Rows of small images read off the weights, above the training images they belong to.",
    caption=f"{max(sizes)} training images, start unknown, one network: twelve pairs by their "
    "correlation (numbers). Chosen and scaled with the training images in view; the mean "
    "training image is added.",
    name="fig-pairs-large",
)

# %% [markdown]
# ## What does the attack itself know?
#
# An adversary has no training image to compare with, so a list of candidates in which one in ten is
# true would protect the other nine. But what is there comes back from other starts, and the attack
# ranks its candidates by that.

# %%
page.show(
    figures.trusted(sized, finding=sentences.trusted_finding(sized)),
    alt="Curves over the number of candidates, taken in the order of trust, on a logarithmic axis, a "
    "panel a data set, a curve a number of training images: the share that is close to one.",
    caption="Candidates in the order of the attack's own trust, by how many are taken: share close to "
    "a training image (correlation above 0.7), a line a number of training images (at its end); "
    f"dashed, to a held-out one at {max(sizes)}. Start unknown, means over seeds.",
    name="fig-trusted",
)

# %% tags=["remove-input"]
page.say(sentences.who_can_tell(sized))

# %% [markdown]
# ## A convolution first
#
# A kernel meets patches, and its gradient mixes all patches of all images: far more than it has
# entries. An image counts by its best patch. Behind the convolution stands a fully connected layer,
# which mixes feature maps, and the attacker has the kernels; there an image counts by its map.

# %%
page.say(sentences.convolution(read))

# %% [markdown]
# ## What helps?
#
# A defence has a price. Each mark of {numref}`fig-defences` is the plain recipe with one defence:
# before training (a larger first layer), in training (weight decay ten times as strong, stopping when
# 200 further images say so, [DP-SGD](https://arxiv.org/abs/1607.00133) by
# [Opacus](https://arxiv.org/abs/2109.12298)), or after it (weights rounded to 8 or 4 bits, noise on
# the first layer).

# %%
page.show(
    figures.defences(guarded),
    alt="Scatter of test accuracy and share of training images found, a panel a data set, a mark a "
    "defence with its name at the right; hollow diamonds for the null.",
    caption=f"Defences of a network trained on {n} images: test accuracy against share of training "
    "images found, means over seeds; bold: undefended. A good defence stands on the right and low.",
    name="fig-defences",
)

# %% tags=["remove-input"]
page.say(sentences.defended(guarded))

# %% [markdown]
# An attack that fails proves nothing about the next one; of these only DP-SGD bounds all of them, by
# its ε. Where no more than the null is shown, these are the defences:

# %%
page.say(sentences.worst(guarded))

# %% [markdown]
# ## Whose idea this is
#
# That gradients of a fully connected layer mix its inputs, and that ICA undoes it, is the cocktail
# party attack of {cite:t}`kariyappa2023`, on gradients in federated learning; {cite:t}`dimitrov2024`
# invert them exactly by the sparsity of the other factor, and [SPEAR++](https://arxiv.org/abs/2510.24200)
# by sparse dictionary learning. Maximum-likelihood ICA is old; the solver that makes it fast is
# [Picard](https://arxiv.org/abs/1706.08171) of Ablin and others, whose variant without orthogonality
# is what our own follows. That the change of the first layer bounds the search is in
# [recovery guarantees](https://arxiv.org/abs/2605.06519). {cite:t}`loo2023` know the start, too. What
# this chapter adds: trained weights in the place of gradients, the recipes of practice side by side,
# nulls, and what the attack can know of its own success.
#
# ## Verdicts
#
# B03 to B08 are this book's own; their thresholds are older than these runs. The others vary rows of
# {cite:t}`haim2022` with our attack and never count as theirs.

# %%
page.verdicts(study, evidence, read=read, sized=sized)

# %% [markdown] tags=["appendix"]
# ## All recipes in numbers
#
# *Close*: a candidate is nearest to the image, with a correlation above 0.7. Nulls are the strongest of
# three. *First 20*: share of training images among the twenty candidates trusted most.

# %% tags=["appendix"]
page.table(
    reading.recipes(read),
    caption=f"Networks trained on {n} images by recipe, means over seeds.",
    name="tab-recipes",
    formats=reading.FORMATS,
)

# %% [markdown] tags=["appendix"]
# ## All defences in numbers
#
# ε at δ = 1/(10 n), by Rényi accounting:

# %% tags=["appendix"]
page.table(
    reading.defences(guarded),
    caption=f"Defences of networks trained on {n} images, means over seeds.",
    name="tab-defences",
    formats={**reading.FORMATS, "ε": ".0f"},
)

# %% [markdown] tags=["appendix"]
# ## All sizes in numbers
#
# The plain recipe, start unknown and known:

# %% tags=["appendix"]
page.table(
    reading.sizes(sized),
    caption="The plain recipe by number of training images, means over seeds.",
    name="tab-sizes",
    formats=reading.FORMATS,
)

# %% [markdown] tags=["appendix"]
# ## Width and rank
#
# A wider layer has more rows to mix images in, and a row space of the same dimensions.

# %% tags=["appendix"]
page.show(
    figures.along(by_width, "width"),
    alt="Share of training images found against the width of the hidden layers, with the null.",
    caption=f"Width of the two hidden layers, {varied_n} training images, plain recipe.",
    name="fig-width",
)

# %% [markdown] tags=["appendix"]
# The attack takes all directions above the noise. Fewer hold less of every image, and fewer images:

# %% tags=["appendix"]
page.show(
    figures.along(by_rank, "rank"),
    alt="Share of training images found against the rank of the row space that is unmixed.",
    caption=f"Rank of the row space that is unmixed, {varied_n} training images, plain recipe.",
    name="fig-rank",
)

# %% [markdown] tags=["appendix"]
# ## Pairs of the first data set
#
# As {numref}`fig-pairs-large`, of the first data set:

# %% tags=["appendix"]
page.show(
    figures.pairs(sized.where(dataset=datasets[:1])),
    alt="Rows of small images read off the weights, above the training images they belong to.",
    caption=f"Twelve pairs by their correlation (numbers) at {max(sizes)} images, first data set.",
    name="fig-pairs-first",
)

# %% [markdown] tags=["appendix"]
# ## How settings were chosen
#
# Recipes were fixed on seed 0, by whether they fit their training images; the attack's settings on
# other draws of images than the ones published here. Thresholds of B03 to B08 are the targets that
# were written down before the attack was finished. Weight decay is 0.001, strong weight decay 0.01,
# both added to the gradient. Adam has a rate of 0.001 and 500 steps. Augmentation flips half of the
# images and shifts each by up to an eighth of its side. DP-SGD clips at 1, with 150 steps at a rate of
# 0.1. Early stopping takes 200 of the held-out images to stop by, and is scored on the others.

# %% tags=["setup"]
page.status(study)
