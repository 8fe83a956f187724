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
# # Can a network learn to refuse?
#
# Suhail et al. {cite:p}`suhail2024applications` give a classifier an eleventh class, for noise and
# inverted images, and foreign images land there. Do they, and does it take inversion?

# %% tags=["parameters"]
pairs = [["digits", "photographs"]]  # known images, foreign images
n = 600  # training images at most, and images that pass in a round
rounds = 5
width = 8  # of the classifier
judged = 500  # images of each kind that are judged after each round
inversion = {"steps": 40, "width": 8, "batch": 32, "lr": 0.004}  # what differs from a full one
seeds = [10]  # draw of the training images, classifier, noise, generators
precision = "auto"  # "float32", "bfloat16" or what the processor is made for
results = "_build/results/quick"  # folder of finished runs
compute = True  # False: only read what is there
executor = "serial"  # or "loky:2", "dask:tcp://host:port"
threads = 1  # of torch, in each run
device = "cpu"  # or "cuda"

# %% tags=["setup"]
import torch

from chapters.out_of_distribution import design, evidence, figures, reading, runs, sentences
from chapters.shared import open_study
from harness import page
from lib import data, images, ood, predict, train
from lib.generator import Generator
from lib.models import RegularisedCNN

# %% [markdown] tags=["setup"]
# A *run* trains one classifier, in one of five ways (*arms*), on the known images of a pair and judges
# it on known test images and on foreign ones. All arms share images, initial weights and rounds.

# %% tags=["setup"]
named = [name for pair in pairs for name in pair if name != runs.PHOTOGRAPHS]
study = open_study(
    results, named, compute=compute, executor=executor, threads=threads, device=device
)
precision = train.precision_for(precision, device)
trained = study(
    runs.refusing,
    design.cases(pairs),
    seed=seeds,
    n=n,
    rounds=rounds,
    width=width,
    judged=judged,
    inversion=inversion,
    precision=precision,
)

# %% tags=["remove-input"]
page.answer(sentences.answer(trained))

# %% tags=["remove-input"]
page.show(
    figures.thresholds(trained),
    alt="Dots on an axis of confidence, one panel a pair of data sets: known images, foreign images "
    "that are accepted and foreign images that are refused, for a plain classifier and for one with a "
    "garbage class; bars join the two ends.",
    caption=sentences.thresholds(trained)
    + "Confidence with ten classes, and with garbage. A bar joins the least confident known image (of "
    "those classified correctly) and the most confident accepted foreign one where no threshold "
    f"separates. Seed {seeds[0]}.",
    name="fig-thresholds",
)

# %% tags=["remove-input"]
page.say(sentences.limits(trained, n, precision))

# %% [markdown]
# ## A class for garbage
#
# The classifier has eleven outputs. The last class is Gaussian noise at first. After each epoch a
# generator inverts the classifier as it is then ([](03_network_inversion)); images of all ten classes
# join the garbage, and the classes are weighted anew. With $n_i$ images of class $i$, $n$ in all, of
# $k$ classes,
#
# $$ w_i = \frac{n}{k\, n_i}. $$
#
# The paper leaves open how much noise, how many images and what a generator is worth that starts
# anew. We take a tenth of the training images as noise and let a twentieth join in each round; the
# generator goes on from where it was. In small, on a few hundred digits:

# %%
known = data.load("digits", size=20)
x = 2 * known.images - 1
model = RegularisedCNN(1, 20, 11, width=8, generator=torch.Generator().manual_seed(0))
generator = Generator(11, 1, 20, width=8)
how = {"steps": 20, "weights": {"ce": 1.0, "orthogonality": 1.0}, "lr": 4e-3}

# %% [markdown]
# Training asks for more garbage after each round. It takes known images and what is to be garbage;
# there is no parameter through which it could meet a foreign one.

# %%
taught = ood.train_refusing(
    model, x, known.labels, classes=10, rounds=4, passes=2,
    garbage=ood.noise(120, (1, 20, 20), seed=0),
    more=lambda number, model: ood.invert_further(
        model, generator, 10, 6, seed=number, **how)[0].images,
)  # fmt: skip
print("images of garbage:", taught.counts[:, 10].tolist())

# %% [markdown]
# Photographs were never shown to it. What does it make of them?

# %%
photographs = 2 * images.photograph_patches(300, 1, 20) - 1
test = 2 * data.load("digits", split="test", size=20).images - 1
seen, foreign = predict.logits(model, test), predict.logits(model, photographs)
print(f"refused: {ood.refused(foreign, 10).float().mean():.0%} of the photographs,",
      f"{ood.refused(seen, 10).float().mean():.1%} of the digits")  # fmt: skip

# %% [markdown]
# That looks easy. Are the pairs of the paper? And does it take inversion? Two controls, which the paper
# does not have, get as many images in each round: more *noise*, and images of a generator that *nobody
# trained*. If inverted images teach anything of their own, they must do better than both.

# %%
page.show(
    figures.garbage(trained),
    alt="Rows of small images: known ones, noise, images of an untrained generator, inverted images.",
    caption="What joins the garbage class last, in three arms, and known images of the same pair (the "
    f"first). Seed {seeds[0]}.",
    name="fig-garbage",
)

# %% [markdown]
# ## What is refused
#
# The paper says that the majority of foreign images goes to the garbage class.

# %%
page.show(
    figures.turned_away(trained),
    alt="Share of foreign images in the garbage class, a row an arm and a panel a pair of data sets.",
    caption="Share of foreign test images that the garbage class takes, by what joins it. Faint dots "
    "are seeds, full ones means with 95 % intervals; dashed: a half.",
    name="fig-turned-away",
)

# %% tags=["remove-input"]
page.say(sentences.turned_away(trained))

# %% [markdown]
# ## Is there a threshold?
#
# What is not refused counts as one of the ten classes. The paper's boldest sentence is about these:
# the least confident known image is still more confident than the most confident foreign one, so that
# a threshold would separate them without an error. Such a gap is an AUROC of 1 on what is accepted.
# On CIFAR-10 none of the detectors in the OpenOOD benchmark has one {cite:p}`zhang2023`.

# %%
page.say(sentences.gaps(trained))

# %% [markdown]
# A minimum and a maximum of thousands of images rest on two of them. These are the foreign ones:

# %%
page.show(
    figures.slipped(trained),
    alt="Rows of small images, a row a foreign data set, each with its confidence.",
    caption="Foreign images that slip through: those of most confidence among the accepted, after a "
    f"garbage class with inverted images. Above each its confidence. Seed {seeds[0]}.",
    name="fig-slipped",
)

# %% [markdown]
# ## What does the inversion add?
#
# A plain classifier refuses, too, if one reads its output well. Known detectors need no garbage: the
# largest probability {cite:p}`hendrycks2017`, the energy of the logits {cite:p}`liu2020`, ODIN
# {cite:p}`liang2018`, the distance to training images in feature space {cite:p}`sun2022`. We add
# the length of the feature vector, which told inverted images in [](04_interpretability) and is known
# as a detector {cite:p}`park2023`. And there is a way to train with noise but without a garbage class,
# outlier exposure {cite:p}`hendrycks2019`.

# %%
page.show(
    figures.told_apart(trained),
    alt="AUROC, a row a way of refusing and a panel a pair of data sets: garbage classes in orange and "
    "black, detectors on a plain classifier in blue.",
    caption="AUROC of known against foreign test images. Garbage classes and outlier exposure are "
    "scored by confidence, the largest probability among the ten classes (diamonds: by one minus the "
    "probability of garbage). Faint marks are seeds, full ones means with 95 % intervals.",
    name="fig-told-apart",
)

# %% tags=["remove-input"]
page.say(sentences.detectors(trained))

# %% [markdown]
# All arms share their seeds, so what counts is the difference in each seed.

# %%
page.say(sentences.added(trained))

# %% tags=["remove-input"]
page.say(sentences.in_short(trained) + sentences.kept(trained))

# %% [markdown]
# The garbage class is one of eleven and decides only where it is the most probable. It also has a
# probability, and that is a score of its own.

# %%
page.say(sentences.other_score(trained))

# %% [markdown]
# Garbage classes are older than inversion: Dhamija et al. {cite:p}`dhamija2018` compare one, filled
# with real images, with training for no opinion, which did better there; Neal et al.
# {cite:p}`neal2018` and Vernekar et al. {cite:p}`vernekar2019` fill it with generated images close to
# the known ones. The generators here aim at the classifier, not at known images.
#
# ## Round by round
#
# If inverted images close the boundary, it should get better with every round of them.

# %%
page.show(
    figures.rounds(trained),
    alt="Curves over rounds, one column a pair of data sets: AUROC above, share of foreign images "
    "refused below, one colour an arm.",
    caption="AUROC (above) and share of foreign images in the garbage class (below) after each round, "
    "by what joins the garbage. Thin lines are seeds.",
    name="fig-rounds",
)

# %% tags=["remove-input"]
page.say(sentences.over_rounds(trained))

# %% [markdown]
# ## Verdicts
#
# I19 counts known images that are classified correctly; I19-all counts all, and I19-trimmed leaves out
# a hundredth at the border.

# %%
page.verdicts(study, evidence, trained=trained)

# %% [markdown] tags=["appendix"]
# ## All arms in numbers
#
# Foreign and known images weigh the same in the precision (AUPR), whatever their numbers are.

# %% tags=["appendix"]
page.table(
    reading.by_arm(trained, reading.COLUMNS),
    caption="Measures by arm on the test images, means over seeds: share of foreign images and of "
    "known ones in the garbage class, accuracy on known images, how confidence tells them apart "
    "(FPR95: share of foreign images that are as confident as 95 % of the known ones), and the AUROC "
    "by 1 − P(garbage).",
    name="tab-arms",
    formats=dict.fromkeys(("refused", "of known", "accuracy"), ".1%")
    | dict.fromkeys(("AUROC", "AUPR", "FPR95", "by P(garbage)"), ".3f"),
)

# %% [markdown] tags=["appendix"]
# What inverted images add, in each pair and against each control:

# %% tags=["appendix"]
page.table(
    reading.differences(trained),
    caption="AUROC with a garbage class of inverted images minus that of a control on the same seeds, "
    "by confidence, with the 95 % interval of the mean over seeds.",
    name="tab-differences",
)

# %% [markdown] tags=["appendix"]
# ## The gap in numbers
#
# Without a garbage class every foreign image is accepted.

# %% tags=["appendix"]
page.table(
    reading.by_arm(trained, reading.GAPS),
    caption="Least confident known image that is classified correctly, minus the most confident "
    "foreign one that is accepted; with 0.1 % and 1 % of either kind left out at the border; with "
    "known images that are classified wrongly; and the two ends. Means over seeds.",
    name="tab-gap-by-cut",
    formats=dict.fromkeys(reading.GAPS, ".3f"),
)

# %% [markdown] tags=["appendix"]
# ## Detectors on the plain classifier
#
# Nothing is tuned: each has the settings of its paper.

# %% tags=["appendix"]
page.table(
    reading.by_detector(trained),
    caption="Detectors on the plain classifier, means over seeds. The first three besides the largest "
    "probability are those of pytorch-ood {cite:p}`kirchheim2022`.",
    name="tab-detectors-foreign",
    formats=dict.fromkeys(("AUROC", "AUPR", "FPR95"), ".3f"),
)

# %% tags=["setup"]
page.status(study)
