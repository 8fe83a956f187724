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
# # Can a generator be steered to the training data?
#
# Inverted images look like nothing. Suhail and Sethi {cite:p}`suhail2024tldr` add five terms to the loss,
# to get images *like* those that a classifier was trained on, and see a risk to privacy. Like their class,
# or like the very images?

# %% tags=["parameters"]
sizes = {"digits": [100, 200, 400]}  # numbers of training images, by data set
aside = {"digits": {"held_out": 200, "known": 600}}  # images for controls and for the oracles
classifier_steps = 60
steps = 40  # of each generator
tried = {"perturbation": ["adversarial"], "radius": [0.1], "variation": [0.01]}  # to choose from
ask = [  # questions that are run; [] for all
    "all nine terms",
    "inversion loss",
    "few, all nine terms",
    "few, inversion loss",
    "by size",
]
seeds = [10]  # draw of the images, the classifier and the generator, where nothing is ranked
order_seeds = [10]  # of what is ranked
generators = 1  # for each classifier, over the sizes
widths = [8, 16]  # of the classifier
regularisers = ["dropout"]  # that a classifier does without
fresh = 300  # images of a generator that are judged
tuned_on = "digits"  # where chapter 3 chooses the weights of the inversion loss, and how
tuned_by = {"n": 600, "classifier_steps": 50, "steps": 60}
precision = "auto"  # "float32", "bfloat16" or what the processor is made for
results = "_build/results/quick"  # folder of finished runs
compute = True  # False: only read what is there
executor = "serial"  # or "loky:2", "dask:tcp://host:port"
threads = 1  # of torch, in each run
device = "cpu"  # or "cuda"

# %% tags=["setup"]
import torch

from chapters.network_inversion import design as inverting
from chapters.network_inversion.reading import real_images
from chapters.network_inversion.runs import inverted
from chapters.shared import open_study, subject
from chapters.training_like import design, evidence, figures, reading, runs, sentences
from harness import page
from lib import inversion, likeness, train
from lib.generator import Generator

# %% [markdown] tags=["setup"]
# The weights of the four terms of the inversion loss are those that the rule of [](03_network_inversion)
# chooses. The new terms' are chosen on a shadow network, of seed 0, which appears nowhere else: an attacker
# trains it on images of their own, and takes the settings with the smallest KID to those.

# %% tags=["setup"]
datasets = list(sizes)
first = datasets[0]
study = open_study(
    results,
    [*datasets, tuned_on],
    compute=compute,
    executor=executor,
    threads=threads,
    device=device,
)
precision = train.precision_for(precision, device)
training = {"classifier_steps": classifier_steps, "steps": steps, "precision": precision}
judging = {**training, "fresh": fresh}

# %% tags=["setup"]
tuning = inverting.tuning(tuned_on, precision=precision, **tuned_by)
four = inverting.chosen_weights(study(inverted, tuning))
shadow = study(runs.reconstructed, design.tuning(four, sizes, aside, tried=tried, **judging))
best = {**dict.fromkeys(datasets, design.default(four)), **design.chosen(shadow)}

# %% tags=["setup"]
questions = design.questions(
    best,
    sizes,
    aside,
    seeds=seeds,
    order_seeds=order_seeds,
    generators=generators,
    widths=widths,
    regularisers=regularisers,
    **judging,
)
asked = study.groups(
    runs.reconstructed,
    {name: cases if name in (ask or questions) else [] for name, cases in questions.items()},
)
premised = study(runs.premises, design.premises(four, sizes, aside, seeds=order_seeds, **training))
written = study(runs.formulas, dataset=first, seed=[10, 11, 12])
real, patched = (
    real_images(study(runs.examples, dataset=datasets, planted=planted))
    for planted in (False, True)
)

# %% tags=["remove-input"]
page.answer(sentences.answer(asked))

# %% tags=["remove-input"]
page.show(
    figures.gallery(asked, real, {"inverted": design.INVERSION, "nine terms": design.FULL}),
    alt="Blocks of small images, one a data set: five classes in columns; real images in the first "
    "row, inverted images below them, reconstructions in the last row.",
    caption=sentences.gallery(asked)
    + "Test images, images inverted with four terms, and reconstructions with all nine, "
    f"of the same classes; the first of each class, not chosen. Seed {order_seeds[0]}.",
    name="fig-gallery",
)

# %% tags=["remove-input"]
page.say(sentences.limits(asked, len(datasets), steps, classifier_steps, precision))

# %% [markdown]
# ## What is different about a training image?
#
# The loss rests on three properties that a classifier is said to have at its training images: it is
# *surer* there, it is *less sensitive* to changes of the image, and the gradient of its loss by its weights
# is *smaller*. Two comparisons are mixed up in that. Against inverted images such differences may only say
# that a training image is an image. Against held-out images of the same classes they would say that the
# classifier has seen it.

# %%
page.show(
    figures.premises(premised),
    alt="Rows of four gradients, one panel a data set, logarithmic axis: marks for held-out images, for "
    "images inverted with hot vectors, and with soft vectors.",
    caption=sentences.premises(premised)
    + "Median norm of four gradients at held-out images, and at "
    "inverted ones, over that at training images (dashed). Small marks are seeds, large ones means with "
    "95 % intervals.",
    name="fig-premises",
)

# %% tags=["remove-input"]
page.say(sentences.confidence(premised))

# %% [markdown]
# The control for gradients, in numbers:

# %%
page.say(sentences.gradients(premised))

# %% [markdown]
# ## Nine terms
#
# To the four terms of [](03_network_inversion) come: the same Kullback-Leibler divergence and cross-entropy
# for a *perturbed* copy of each image; squared differences of neighbouring pixels; pixels outside [0, 1];
# and the norm of the gradient. Vectors are hot now, which asks for confidence.
#
# The last term can be read in two ways. Of a batch the gradients of single images cancel; the paper writes
# the term for one image, so we take the mean of the norms of single images:

# %%
own = subject("digits", 0, "regularised CNN", 300, 60, "float32", "cpu")
images, labels = own.test.images[:64], own.test.labels[:64]
single = likeness.weight_gradient_norms(own.classifier, images, labels)
batch = likeness.batch_gradient_norm(own.classifier, images, labels)
print(f"mean norm of single images {single.mean():.2f}, norm of their batch {batch:.2f}")

# %% [markdown]
# The paper leaves open, too, what the perturbation is. One step uphill on the loss, instead of noise, is
# the strongest of a given size; that *robust classifiers* give back images of their classes is known
# {cite:p}`santurkar2019`, here the classifier is an ordinary one and the images are asked to be robust. Other
# attacks without data lean on the statistics that batch normalisation has kept {cite:p}`yin2020`, which these
# papers leave alone. A generator, then, is trained in a few lines:

# %%
torch.manual_seed(0)
generator = Generator(10, 1, own.test.images.shape[-1], vector="hot", width=16)
loss = likeness.ReconstructionLoss(own.classifier, perturbation="adversarial", radius=0.1)
weights = {**four, **design.FIXED, "variation": 0.01}
inversion.invert(own.classifier, generator, steps=60, weights=weights, objective=loss)
samples = inversion.sample(generator, own.classifier, 200, seed=0)
print(f"the classifier names the wanted label of {samples.correct.float().mean():.0%}")

# %% [markdown]
# ## To the class
#
# Two *oracles*, classifiers of other architectures that were trained on other images, judge the
# reconstructions: do they see the class that was asked for, and how far are their features from those of the
# training images (KID, the kernel distance of {cite:t}`binkowski2018`)?

# %%
page.show(
    figures.losses(asked),
    alt="Two rows of panels, one column a data set: KID to the training images and agreement of the "
    "oracle, one line a loss.",
    caption="KID to the training images (above, smaller is nearer) and share of images whose label the "
    "oracle sees (below). Small marks are seeds, large ones means with 95 % intervals. Orange: all "
    "nine terms; blue: the four of chapter 3.",
    name="fig-losses",
)

# %% tags=["remove-input"]
page.say(sentences.likeness(asked))

# %% [markdown]
# Which of the three signals does it?

# %%
page.say(sentences.signals(asked))

# %% [markdown]
# ### More images, fewer memories?
#
# The papers say that reconstructions get worse as the training set grows, and show pictures. In numbers,
# for up to three generators against each classifier:

# %%
page.show(
    figures.by_size(asked["by size"]),
    alt="Three rows of panels, one column a data set: KID, agreement of the oracle and calibrated AUROC "
    "over three numbers of training images.",
    caption="Likeness over the number of training images. Marks are seeds, each the mean of its generators; "
    "dashed: chance.",
    name="fig-sizes",
)

# %% tags=["remove-input"]
page.say(sentences.sizes(asked["by size"]))

# %% [markdown]
# ## To the single image
#
# Are reconstructions nearer to the images that the classifier was trained on than to others of their
# classes? As in [](07_kkt_reconstruction), every training image is matched with its best reconstruction
# (NCC), and so is every held-out image; the AUROC of the two is 0.5 if training images are found no better.
# Nulls have never seen the classifier: other real images, and the means of their classes. And a swap: two
# classifiers are trained on disjoint halves; are the outputs for one nearer to its own half? All of this
# where memorising is easiest, at the smallest number of images.

# %%
page.show(
    figures.instances(asked),
    alt="One panel a data set, one row an attack or a null: calibrated AUROC around a dashed line at 0.5, "
    "and the share nearer to the own half in the last row.",
    caption="AUROC of training against held-out images, for attacks (orange, black) and nulls (grey), and "
    "the share of reconstructions nearer to the half that their classifier saw (blue). Small marks are seeds, "
    "large ones means with 95 % intervals.",
    name="fig-instances",
)

# %% tags=["remove-input"]
page.say(sentences.instances(asked))

# %% [markdown]
# The best matches of all, with the nearest image of either kind:

# %%
page.show(
    figures.pairs(asked["few, all nine terms"], first),
    alt="Three rows of images: reconstructions, the nearest training images and the nearest held-out images, "
    "with their correlation over each.",
    caption="The reconstructions that are most like any real image, the nearest training image of each and "
    f"the nearest held-out one, with their NCC. First data set, seed {order_seeds[0]}.",
    name="fig-nearest",
)

# %% [markdown]
# ### Ours: the direction of the weights
#
# The paper names the implicit bias of gradient descent as future work. We add it as a tenth term: one minus
# the cosine of the weights and the negative gradient of the loss, which is 0 where images explain where
# training has gone.

# %%
page.say(sentences.stationarity(asked))

# %% [markdown]
# ## What a shortcut leaves behind
#
# Suhail et al. {cite:p}`suhail2025` reconstruct the training images of networks that leaned on a patch
# ([](01_shortcut_injection)), and see images full of patches from a ViT, and coherent ones from a CNN. The
# control are the same networks, trained without patches.

# %%
page.show(
    figures.shortcuts(asked),
    alt="Two rows of panels, one column a data set: intensity inside the patch over outside, and agreement of "
    "the oracle, for MLP, CNN and ViT, trained on patches and without.",
    caption="Reconstructions from networks trained on patches (orange) and without (grey): intensity inside "
    "the patch of the own class over that outside, and agreement of an oracle that never saw a patch. Small "
    "marks are seeds, large ones means with 95 % intervals.",
    name="fig-shortcuts",
)

# %% tags=["remove-input"]
page.say(sentences.patches(asked))

# %% [markdown]
# ## Verdicts
#
# T13 is judged as the ledger has it, and in two parts of its own: class and image.

# %%
page.verdicts(study, evidence, asked=asked, premised=premised, written=written)

# %% [markdown] tags=["appendix"]
# ## Every loss
#
# One term left out at a time, the perturbation of the other kind, and the gradient of the batch:

# %% tags=["appendix"]
page.show(
    figures.losses(asked, figures.ALL_LOSSES),
    alt="Two rows of panels, one column a data set: KID and agreement of the oracle, one line for each of "
    "fourteen losses.",
    caption="As {numref}`fig-losses`, for every loss.",
    name="fig-all-losses",
)

# %% [markdown] tags=["appendix"]
# The losses that are ranked, in numbers:

# %% tags=["appendix"]
page.table(
    reading.in_numbers(asked),
    caption="Likeness to the training images, means over seeds; diversity is 1 − the mean cosine of an "
    "oracle's features within a class.",
    name="tab-losses",
    formats={"oracle": ".0%", "second oracle": ".0%", "KID": ".2f", "diversity": ".2f"},
)

# %% [markdown] tags=["appendix"]
# ## Every class
#
# The papers say of CIFAR-10 that some reconstructions are not perfect. Whose?

# %% tags=["appendix"]
per_class = reading.by_class(asked)
page.table(
    per_class,
    caption="Share of reconstructions of each class whose label the oracle sees, means over seeds.",
    name="tab-classes",
    formats={name: ".0%" for name in per_class.columns if name != "class"},
)

# %% [markdown] tags=["appendix"]
# ## Classifiers
#
# Batch normalisation, dropout and weight decay are on together; here each is left out alone.

# %% tags=["appendix"]
page.show(
    figures.regularisers(asked, {"all three": "", **{f"no {name}": name for name in regularisers}}),
    alt="Two rows of panels, one column a data set: KID and agreement of the oracle with all regularisers and "
    "without one.",
    caption="KID and agreement of the oracle against classifiers with all three regularisers (orange), and "
    "with one left out.",
    name="fig-regularisers",
)

# %% [markdown] tags=["appendix"]
# Do networks with more weights than the training set has pixels give more away?

# %% tags=["appendix"]
page.show(
    figures.by_width(asked["by width"]),
    alt="Three panels: KID, agreement of the oracle and calibrated AUROC over parameters per pixel.",
    caption="The classifier's width on the first data set, at its smallest number of images; dotted: as many "
    "parameters as pixels.",
    name="fig-widths",
)

# %% [markdown] tags=["appendix"]
# ## Pixels
#
# A generator that ends in tanh cannot leave the range, and the pixel term is always 0. One that ends in a
# linear layer can.

# %% tags=["appendix"]
page.say(sentences.linear(asked))

# %% [markdown] tags=["appendix"]
# ## As the networks see it
#
# The paper's Figure 3, with the networks of [](01_shortcut_injection):

# %% tags=["appendix"]
page.show(
    figures.as_perceived(asked["shortcuts"], patched, first),
    alt="Rows of images: real ones with a white patch, and reconstructions from a ViT, a CNN and an MLP.",
    caption="Test images with the patch of their class, and reconstructions from three networks that were "
    f"trained on patches. First data set, seed {order_seeds[0]}.",
    name="fig-perceived",
)

# %% [markdown] tags=["setup"]
# What the rule chose for the new terms:

# %% tags=["setup"]
page.say(sentences.chosen(best, {name: study.title(name) for name in best}))

# %% tags=["setup"]
page.status(study)
