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
# # Could anyone tell?
#
# {cite:t}`runkel2024` start two attacks at noise, at the training images and at other images, get
# back what they started from, and conclude: whoever holds a convincing reconstruction cannot know
# whether it was trained on. Can they?

# %% tags=["parameters"]
datasets = ["digits"]  # image sets: who could tell is asked on each, all else on the last
task = {}  # where a set needs it: {"labels": "odd-even", "held_out": 500}
n = 10  # training images, where starts are compared
seeds = [10]  # initial weights, draws of images, noise
inner_seeds = []  # those with all 21 mixtures of starts; the others have the edges
affine_steps = 10  # of the bilevel attack's images, on the affine network
hidden_steps = 2  # and on that with a hidden layer
kkt_steps = 10  # of the KKT attack
sigma = 0.03  # tuned deviation of its noise, where standard is 1
noise_n = 10  # training images, and outputs, where it starts at such noise
theory = {"sets": 100}  # of random images, for the bound
tolerances = [1e-4, 1e-8]  # of the bilevel attack's lower level
widths = [5, 20]  # of the hidden layer
width_steps = 2
width_seeds = [10]
surface = {"starts": 3, "steps": 5, "grid": 7}  # of the landscape
surface_seeds = [10]
# attacks whose hits are told from misses, each with its training images, starts, training
tell = {
    "unmixed": {"n": 10, "starts": 2, "epochs": 300},
    "rows": {"n": 10, "starts": 2, "epochs": 300},
}
tuning_seeds = [0]  # draws that choose a signal; `seeds` judge it
results = "_build/results/quick"  # folder of finished runs
compute = True  # False: only read what is there
executor = "serial"  # or "loky:2", "dask:tcp://host:port"
threads = 1  # of torch, in each run
device = "cpu"  # or "cuda"

# %% tags=["setup"]
import torch

from chapters import kkt_starts, telling, two_classes
from chapters.initialization import design, evidence, figures, plays, reading, runs, sentences
from chapters.shared import open_study
from harness import page
from lib import bilevel, lower_level

# %% [markdown] tags=["setup"]
# A *run* trains a network, attacks it from one start and compares what comes out with the training
# images, with the other images and with the noise. Both attacks have the same images, networks and
# starts.

# %% tags=["setup"]
study = open_study(
    results, datasets, compute=compute, executor=executor, threads=threads, device=device
)
images = {"dataset": datasets[-1:], "n": n, **task}
mixtures, pure = design.mixtures(seeds, inner_seeds), design.starts(seeds)
mixed = study(runs.bilevel, mixtures, network="affine", steps=affine_steps, **images)
mixed += study(kkt_starts.kkt, mixtures, network=["affine", "three-layer"], steps=kkt_steps, **images)
started = study(runs.bilevel, pure, network="hidden", steps=hidden_steps, **images)
noise = {**images, "n": noise_n, "network": "three-layer", "steps": kkt_steps}
noisy = study(kkt_starts.kkt, design.from_noise(seeds, sigma), **noise)

# %% tags=["setup"]
proved = study(runs.theory, seed=seeds, **theory, **images)
loosened = study(
    runs.bilevel, design.starts(seeds[:1]), network="affine", steps=affine_steps,
    tolerance=tolerances, **images,
)  # fmt: skip
sized = study(
    runs.widths, width=widths, seed=width_seeds, steps=width_steps, attack=["bilevel", "kkt"],
    **images,
)  # fmt: skip
surfaces = study(
    kkt_starts.landscape, seed=surface_seeds, attack=["bilevel", "kkt"], **surface, **images
)

# %% tags=["setup"]
asked = {"dataset": datasets, **task}
told = study(telling.tellings, design.tellings(tell, seeds, quiz=True), **asked)
tuning = study(telling.tellings, design.tellings(tell, tuning_seeds), **asked)

# %% tags=["remove-input"]
page.answer(sentences.answer(told, tuning, mixed))

# %% tags=["remove-input"]
page.show(
    figures.told_apart(told, tuning, finding=sentences.finding(told, tuning)),
    alt="A panel a data set, a row an attack: AUROC of a signal that an attacker can compute, as dots "
    "against natural-looking misses and as diamonds against inventions.",
    caption="How well an attacker who sees weights and candidates, and not an image, tells training "
    "images from natural-looking misses of the same attack, and from inventions: held-out images, and "
    "candidates from a network trained on others. A signal for each attack, chosen on other draws. "
    "Grey: undecided. Faint marks are seeds, full ones means with 95 % intervals.",
    name="fig-told",
)

# %% tags=["remove-input"]
page.say(sentences.limits(mixed, told, tuning))

# %% [markdown]
# ## Two equations for the unknown images
#
# Training takes images to weights. The **bilevel** attack asks for images whose training gives the
# weights $\theta^*$ that were published (paper, eq 2):
#
# $$\begin{gathered}
# \min_x \lVert \theta^* - \theta(x) \rVert^2 , \\
# \theta(x) = \arg\min_\theta E(x;\, \theta) , \\
# E(x;\, \theta) = \frac1n \sum_i \log\bigl(1 + e^{-y_i \Phi(x_i; \theta)}\bigr)
# + \frac{\mu}{2} \lVert \theta \rVert^2 .
# \end{gathered}$$ (eq-bilevel)
#
# The **KKT** attack of {cite:t}`haim2022` and {cite:t}`buzaglo2023` asks less, that $\theta^*$ be
# stationary for the images (eq 3): a small $\lVert \nabla_\theta E(x; \theta^*) \rVert$. Loss and
# weight decay $\mu$ are our choice, as the paper names neither; without decay the optimum lies at
# infinity and the Hessian that {eq}`eq-bilevel` has to invert is singular. The gradient of
# {eq}`eq-bilevel` comes from implicit differentiation; the paper's eq 7 has the sign that leads
# uphill. On ten digits, from noise:

# %%
digits, _ = two_classes.task("digits", n=10, seed=0)
x, signs = digits.images.flatten(1).double(), 2.0 * digits.labels.double() - 1
zero = [(torch.zeros(1, 64).double(), torch.zeros(1).double())]
problem = lower_level.lower_level(x, signs, zero, decay=0.01)
trained = lower_level.solve(problem, tolerance=1e-10).change()

# %% [markdown]
# The attacker knows `trained`, the labels and the decay:

# %%
begin = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)).double()
solved = bilevel.bilevel_attack(
    trained, zero, signs, begin, steps=30, decay=0.01, tolerance=1e-10
)
moved = (solved.images - begin).norm() / begin.norm()

# %% tags=["remove-input"]
page.say(
    f"""
    In 30 steps the squared distance of the weights goes from {solved.distances[0]:.2g} to
    {solved.distances[-1]:.1g}, and the images move by {moved:.0%} of their norm. They are noise as
    before: an affine network has 65 numbers to say, ten digits 640.
    """
)

# %% [markdown]
# What the paper proves or argues, as experiments (equality with the KKT form, a bound, images from
# equations alone, collapse):

# %%
page.say(sentences.theory(proved))

# %% [markdown]
# So theory leaves room for anything; what remains is luck, or where one starts.
#
# ## Near weights say nothing of images
#
# Three starts: noise from $U(0, 1)$, the training images themselves, and other images of the same
# classes that were never trained on. The paper's Table 1 has how far the weights end from the given
# ones. It depends on when one stops ({numref}`fig-weights-apart`).

# %%
page.table(
    reading.weights(mixed, started),
    caption="Squared distance of the weights after the bilevel attack: the paper's Table 1, ours "
    f"(mean over seeds, 95 % interval; {n} images), and ours as a share of the squared norm of the "
    "weights and of how far training moved them.",
    name="tab-weights",
    formats=dict.fromkeys(("of ‖θ*‖²", "of ‖θ* − θ⁰‖²", "the same, zero steps"), ".1e"),
)

# %% tags=["remove-input"]
page.show(
    figures.weights(mixed, loosened),
    alt="Two panels with a logarithmic axis: distance of the weights along the attack's steps from "
    "three starts, and where it ends by the tolerance of the training inside it. Dotted: Table 1.",
    caption="Distance of the affine network's weights along the bilevel attack (a line a seed), and "
    "where it ends, on one draw, by the tolerance to which each training inside it is solved. Dotted: "
    "the paper's three values.",
    name="fig-weights-apart",
)

# %% tags=["remove-input"]
page.say(sentences.weights_say(mixed, started))

# %% [markdown]
# And the images? {numref}`fig-starts` is the paper's Figures 1 to 4.

# %%
page.show(
    figures.starts(mixed, started),
    alt="Two blocks of small images, three starts side by side: the start, what the attack made of it, "
    "and the training image nearest to that.",
    caption="The bilevel attack from three starts, the first images of one draw: start, output, and "
    "the training image nearest to the output. First block: affine; second: one hidden layer.",
    name="fig-starts",
)

# %% tags=["remove-input"]
page.say(
    "\n".join(
        f"- {tell(mixed, started)}"
        for tell in (sentences.from_noise, sentences.from_truth, sentences.from_others)
    )
)

# %% [markdown]
# A recovery that starts at the truth needs no attack: zero steps score as well or better, so
# these verdicts are *uninformative*, however perfect the images.
#
# ## The KKT attack from the same starts
#
# On three layers with biases, trained as in [](07_kkt_reconstruction), the paper finds at most three
# resemblances from standard noise and more once its scale is tuned (its Figures 5 to 9).

# %%
page.show(
    figures.kkt_starts(mixed, noisy),
    alt="Small images in three groups of columns, a group a start: the start, what came out, and the "
    "training image nearest to that.",
    caption="The KKT attack on three layers from standard normal noise, from noise of the tuned scale "
    "and from other images; the first outputs of one draw, not the finest.",
    name="fig-kkt-starts",
)

# %% tags=["remove-input"]
page.say(sentences.kkt_from_noise(noisy) + " " + sentences.kkt_from_others(mixed))

# %% [markdown]
# ## In between: mixed starts
#
# The paper mixes its starts with two weights of five values each (eq 10):
#
# $$x_0 = \lambda_2 \bigl(\lambda_1 x_{\text{truth}} + (1 - \lambda_1) x_{\text{others}}\bigr)
# + (1 - \lambda_2)\, x_{\text{noise}} .$$ (eq-mixture)
#
# Of the 25 starts 21 are distinct: without images, $\lambda_2 = 0$, five are one. Whatever a curve
# shows, some of it was there before the attack began, so {numref}`fig-mixing` has the start's own
# distances, dotted. That curves of truth and others cross at one half holds by construction. The
# paper compares the bilevel attack on an affine network with the KKT attack on three layers; the
# middle column has the KKT attack on the affine network, too. The maps over all starts are in the
# appendix ({numref}`fig-mixtures`).

# %%
page.show(
    figures.mixing(mixed),
    alt="Curves over the share of the training images in the start, a column an attack, two rows: "
    "distance of the outputs to training images and to what they were mixed with; dotted, the start's.",
    caption="Distance (L₂, of each output to its nearest image of a kind, mean) after the attack; dotted "
    "before it. Above: training images mixed with others, without noise (the paper's Figure 11); below: "
    "with noise (Figure 12). Means over seeds with 95 % intervals.",
    name="fig-mixing",
)

# %% tags=["remove-input"]
page.say(sentences.crossing(mixed))
page.say(sentences.near_the_truth(mixed))

# %% [markdown]
# ## An attack without a start
#
# The argument so far is about attacks that improve a guess. [](07_kkt_reconstruction) has one that
# makes none: the first layer's weights are mixtures of the training images, and unmixing them asks
# which images are in there, not which could explain them. It has restarts of its own, but what
# is there comes back from each. So the question of the title is one of *signals*. For every candidate
# an attacker can compute nine: agreement of restarts, repeats, the multiplier, the share of the
# weights that it explains, how natural it looks (by statistics of photographs, from no image in
# particular), the network's confidence, the norm of its gradient, its share in the row space, and
# how far the KKT attack moves if restarted from it.
#
# A **hit** correlates above 0.7 with a training image, and more than 99 % of held-out images do with
# any candidate. Of hits and misses those are **natural** that look at least as natural as the median
# hit; among these, a signal is worth the probability that it ranks a hit before a miss, its AUROC.
# Attack, signal and direction are chosen on some draws of images and judged on others; up to 0.6 the
# paper is right, from 0.7 it is not.

# %%
page.say(sentences.blind(told, tuning))
page.say(sentences.trusted(told))

# %% [markdown]
# The signal chosen for the unmixed first layer, candidate by candidate:

# %%
page.show(
    figures.signal_values(told, tuning, design.UNMIXED),
    alt="Histograms of a signal in two colours, a panel a data set: training images, and misses that "
    "look natural.",
    caption="The signal chosen on the tuning draws, of hits and of natural-looking misses of the "
    "unmixed first layer; the judged draws together.",
    name="fig-signal",
)

# %% [markdown]
# An eye is a detector as well, and the paper's Figure 6 asks for it. Play:

# %%
page.quiz(plays.rounds(told), caption=plays.caption(told), name="fig-quiz")

# %% [markdown]
# ## Fewer minima? More parameters?
#
# The paper conjectures that the KKT landscape is a smoothed version of the bilevel one, with fewer
# minima. On the same affine network, from the same starts:

# %%
page.say(sentences.surface(surfaces))

# %% [markdown]
# And that chances are better with as many parameters as unknown pixels. With hidden layers of
# growing width ({numref}`fig-parameters`):

# %%
page.say(sentences.by_width(sized))

# %% [markdown]
# ## Verdicts
#
# Nulls of R10, R11, R19 and R21 are zero steps of the attack. R23 takes the best attack and signal,
# ours included; R23-paper the paper's attack alone.

# %%
page.verdicts(
    study, evidence, proved=proved, mixed=mixed, started=started, noisy=noisy, sized=sized,
    surface=surfaces, told=told, tuning=tuning,
)  # fmt: skip

# %% [markdown] tags=["appendix"]
# ## Every signal of every attack
#
# How many candidates look natural, and are hits or misses; with fewer than three of either nothing
# is told apart:

# %% tags=["appendix"]
page.table(
    reading.counts(told),
    caption="Candidates of each attack on the judged draws, means over seeds; precision: share of "
    "hits among the n/4 that agreement ranks first.",
    name="tab-candidates",
    formats=dict.fromkeys(("candidates", "hits", "natural hits", "natural misses"), ".1f")
    | {"precision": ".0%"},
)

# %% [markdown] tags=["appendix"]
# What each signal is worth, below 0.5 where hits have the lower values. (Among all hits, natural
# misses look more natural by their definition.)

# %% tags=["appendix"]
page.table(
    reading.signals(told),
    caption="AUROC of each signal: hits against natural misses of the attack, against held-out "
    "images, and against what the attack makes of another network. Means over the judged draws.",
    name="tab-signals",
    formats=dict.fromkeys(design.SIGNALS.values(), ".2f"),
)

# %% [markdown] tags=["appendix"]
# ## All mixtures
#
# The paper's Figure 10 with a KKT attack on the affine network, and with no step at all:

# %% tags=["appendix"]
page.show(
    figures.mixtures(mixed),
    alt="Maps of five by five starts, a row zero steps or an attack, a column a kind of image: the "
    "distance of the outputs to it as colour.",
    caption="Mean distance of outputs to the nearest training image, other image and noise image, by "
    f"start; those within a map on {len(inner_seeds)} of {len(seeds)} seeds (white: not run).",
    name="fig-mixtures",
)

# %% [markdown] tags=["appendix"]
# The same in numbers:

# %% tags=["appendix"]
page.table(
    reading.distances(mixed),
    caption="Mean distances (L₂ per image) to the nearest image of three kinds, after the attack and "
    "before, by start; means over seeds.",
    name="tab-mixtures",
    formats=dict.fromkeys(
        [f"{kind}{when}" for kind in ("truth", "others", "noise") for when in ("", ", no step")],
        ".2f",
    ),
)

# %% [markdown] tags=["appendix"]
# ## A slice of the landscape
#
# Both objectives on the plane through the training images, the other images and the noise, on the
# affine network:

# %% tags=["appendix"]
page.show(
    figures.landscape(surfaces),
    alt="Two maps of an objective over a plane, bilevel and KKT, with three points: truth, others, "
    "noise.",
    caption="The objective of each attack on the plane through three sets of images, one draw.",
    name="fig-landscape",
)

# %% [markdown] tags=["appendix"]
# ## Parameters and pixels
#
# Networks with one hidden layer, attacked from noise; random mixtures of the first layer's row space
# are the null:

# %% tags=["appendix"]
page.show(
    figures.widths(sized),
    alt="AUROC against parameters for each unknown pixel, a panel an attack, with the span null.",
    caption=f"Calibrated AUROC by the number of parameters for each unknown pixel, {n} training "
    "images. Dashed: as many as pixels; faint dots are seeds.",
    name="fig-parameters",
)

# %% [markdown] tags=["appendix"]
# ## What the paper leaves open, and what was chosen
#
# Loss: logistic, labels known and balanced. Regulariser: an L2 term of 0.01; on the network with a
# hidden layer it is centred on the weights before training, which the attacker then knows, and
# these start smaller than $U(0, 1)$, from where no line search finds a way down. Hessian: inverted
# exactly for the affine network, by conjugate gradients for the other. Steps of the images: Polyak's,
# halved until the distance falls. Pixels in [0, 1]. The KKT attack has free multipliers; on three
# layers they are eliminated as in [](07_kkt_reconstruction). Distances are Euclidean, per image.
# Settings were fixed on seed 0.

# %% tags=["setup"]
page.status(study)
