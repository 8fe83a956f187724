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
# # What do the features of inverted images show?
#
# [](03_network_inversion) ends with images that a classifier names as we like and nobody else
# recognises. Inside the classifier each of them is a vector of features, one linear layer away from
# its class. Suhail et al. {cite}`suhail2024applications` look at these vectors in three ways: on a
# plane, with the regions where the classifier would decide for each class; as a map, in which they
# see *two clusters* for every class; and through sparse autoencoders, whose units fire differently
# on training and on inverted images.
#
# Each of the three can mislead. A plane shows a small part of the variance, a map can tear a cloud
# into islands, and units differ for many reasons. So beside every picture stands a number that does
# not depend on it.

# %% tags=["parameters"]
datasets = ["digits"]
n = 600  # training images of the classifier, if there are so many
classifier_steps = 150
steps = 150  # of each generator
reduced = {"fresh": 1000, "width": 16}  # chapter 3, for a quick look
reduced_look = {"judged": 500, "width": 16}  # the same for this chapter
seeds = [10]  # draw of the training images, classifier, generators
generators = 3  # against the same classifier
perplexities = [5, 30, 100]  # of t-SNE
tuning_dataset = "digits"  # where chapter 3 chose the weights of the loss
tuning_seeds = [0]
tuning_kl = [1.0]
tuning_cosine = [1.0, 4.0]
tuning_orthogonality = [1.0, 4.0]
cosine_weights = [0.0, 4.0, 64.0]
precision = "auto"  # "float32", "bfloat16" or what the processor has
results = "_build/results/quick"  # folder of finished runs
compute = True  # False: only read what is there
executor = "serial"  # or "loky:2", "dask:tcp://host:port"
threads = 1  # of torch, in each run
device = "cpu"  # or "cuda"

# %%
import numpy as np
import pandas as pd
import torch
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from experiments import network_inversion as chapter
from experiments import pages
from lib import claims, data, features, plots, train
from lib.results import present
from lib.sweep import grid, sweep

torch.set_num_threads(threads)
if precision == "auto":
    precision = "bfloat16" if train.native_bfloat16(device) else "float32"

# %% [markdown]
# The generators are those of chapter 3: vector-matrix conditioning, all four terms, the weights
# that its rule chose. Three of them invert each classifier.

# %% tags=["hide-input"]
wanted = list(dict.fromkeys([*datasets, tuning_dataset]))
not_here = pages.unavailable(wanted) if compute else {}
where = dict(
    folder=results,
    executor=executor,
    threads=threads,
    compute=lambda run: compute and run["dataset"] not in not_here,
)
standard = dict(
    n=n, classifier_steps=classifier_steps, steps=steps, precision=precision, device=device,
    conditioning="vector-matrix", vector="soft", matrix="row and column",
    architecture="regularised CNN",
)  # fmt: skip
one = dict(generator=0, **reduced)
tuning = sweep(
    chapter.inverted,
    grid(
        dataset=tuning_dataset, seed=tuning_seeds, kl=tuning_kl, ce=1.0,
        cosine=tuning_cosine, orthogonality=tuning_orthogonality, **standard, **one,
    ),
    **where,
)  # fmt: skip
weights = chapter.chosen_weights(present(tuning))
settings = {**standard, **weights}
looked = sweep(
    chapter.interpreted,
    grid(dataset=datasets, seed=seeds, generators=generators, **settings, **reduced_look),
    **where,
)
matrices = [
    dict(conditioning=conditioning, matrix=kind)
    for conditioning in ("matrix", "vector-matrix")
    for kind in ("row and column", "row or column")
]
groups = pages.sweep_groups(
    chapter.inverted,
    {
        "by cosine": grid(
            dataset=datasets, seed=seeds, **{**settings, "cosine": cosine_weights}, **one
        ),
        "by matrix": [
            run
            for change in matrices
            for run in grid(dataset=datasets, seed=seeds, **{**settings, **change}, **one)
        ],
    },
    **where,
)

# %% tags=["hide-input"]
everything = {str(r.path): r for group in [tuning, looked, *groups.values()] for r in group}
pages.say_status(list(everything.values()), not_here)
looked = present(looked)
table = pages.tidy(looked)
here = list(dict.fromkeys(table["data set"])) if len(table) else []
first = {data.title(r.parameters["dataset"]): r for r in reversed(looked)}
first = {title: first[title] for title in here}  # the first seed of each data set


def values(title, name, reduce=float):
    """One value a seed."""
    return [reduce(v) for v in table[table["data set"] == title][name]]


def average(title, name, reduce=float):
    return float(np.mean(values(title, name, reduce)))


# %% tags=["hide-input"]
def in_short(title):
    return (
        f"- **{title}.** Two principal components hold {average(title, 'inverted_explained', sum):.0%} "
        "of the variance of inverted features, and "
        f"{average(title, 'inverted_agreement'):.0%} of the images keep their class on that plane. "
        f"A class forms {average(title, 'clusters_in_features', np.mean):.1f} clusters in the features. "
        "Of the 16 units that fire most on a class's training images the test images share "
        f"{average(title, 'overlap_test', np.mean):.0%}, inverted images "
        f"{average(title, 'overlap_inverted', np.mean):.0%} (Jaccard index); a detector made of such "
        f"units has an AUROC of {average(title, 'auroc_units'):.2f}."
    )


if here:
    plots.say(
        "```{admonition} In short\n:class: tip\n"
        + "\n".join(in_short(title) for title in here)
        + f"\n\nMeans over {table['seed'].nunique()} seeds.\n```"
    )
if datasets == ["digits"]:
    plots.say(
        "*These pages were executed on small digits, the images that come with every clone; the "
        "`laptop` profile runs the same pages on MNIST, CIFAR-10 and Fashion-MNIST.*"
    )

# %% [markdown]
# ## On a plane
#
# Principal component analysis finds the plane that keeps most of the variance. Points of the plane
# lie in feature space, too (the inverse PCA), so the last layer can be asked what it would decide
# there; asked on a mesh, it paints its *decision regions* (paper 001, §5.1). The code is short:

# %%
penultimate = torch.randn(200, 12)
last_layer = torch.nn.Linear(12, 3)
plane = features.principal_plane(penultimate)
points = plane.project(penultimate)  # [200, 2]
xs, ys, regions = features.decision_regions(plane, last_layer, points)

# %% tags=["hide-input"]
COLOURS = ListedColormap([*plots.PALETTE][:10])


def draw_plane(ax, result, basis, kinds):
    """Regions of one plane, and the images of some kinds as dots."""
    arrays = result.arrays
    xs, ys = arrays[f"{basis}_xs"], arrays[f"{basis}_ys"]
    ax.imshow(
        arrays[f"{basis}_regions"], origin="lower", extent=(xs[0], xs[-1], ys[0], ys[-1]),
        aspect="auto", cmap=COLOURS, vmin=-0.5, vmax=9.5, alpha=0.35, interpolation="nearest",
    )  # fmt: skip
    for kind, style in kinds.items():
        points = arrays[f"{basis}_plane_{kind}"].astype(float)
        labels = arrays[f"{basis}_plane_{kind}_labels"]
        ax.scatter(*points.T, c=labels, cmap=COLOURS, vmin=-0.5, vmax=9.5, **style)
    ax.set(xticks=[], yticks=[], xlim=(xs[0], xs[-1]), ylim=(ys[0], ys[-1]))
    ax.grid(False)


if here:
    with plots.style():
        fig = Figure(figsize=(plots.WIDTH, 2.5 * len(here) + 0.2), layout="constrained")
        axes = fig.subplots(len(here), 2, squeeze=False)
    dot = dict(s=5, linewidths=0.2, edgecolors="white")
    cross = dict(s=9, marker="^", linewidths=0.2, edgecolors="black")
    for row, title in zip(axes, here):
        draw_plane(row[0], first[title], "inverted", {"inverted": dot})
        draw_plane(row[1], first[title], "training", {"training": dot, "inverted": cross})
        row[0].set_ylabel(title, fontsize=9)
    axes[0, 0].set_title("plane of inverted images", fontsize=10)
    axes[0, 1].set_title("plane of training images", fontsize=10)
    plots.show(
        fig,
        alt="Two planes a data set with coloured regions. Left, inverted images as dots around the "
        "middle; right, training images as dots in arms that reach outwards, inverted images as "
        "triangles between them.",
        caption="Features on the plane of two principal components, coloured by class; the pale regions "
        "are what the last layer decides on the plane. Left: inverted images on their own plane. Right: "
        "training images (dots) on theirs, with the inverted images (triangles) projected onto it. "
        f"Seed {seeds[0]}.",
        name="fig-planes",
    )

# %% tags=["hide-input"]
if here:
    rows = pd.DataFrame(
        {
            "data set": title,
            "features of": kind,
            "variance in the plane": average(title, f"{kind}_explained", sum),
            "keep their class": average(title, f"{kind}_agreement"),
        }
        for title in here
        for kind in ("inverted", "training")
    )
    plots.table(
        rows,
        caption="How much a plane can show: share of the variance that two components hold, and share of "
        "images that the last layer still gives their class when the features are moved into the plane.",
        name="tab-planes",
        formats={"variance in the plane": ".0%", "keep their class": ".0%"},
    )

# %% tags=["hide-input"]
if here:
    plots.say(
        "On its own plane a dot stands in a region of its own colour in "
        + "; ".join(f"{average(t, 'inverted_agreement'):.0%} of cases ({t})" for t in here)
        + ". Where that share is low, the drawn borders are not the borders that decided: the plane cuts "
        "through the regions, and the images lie beside it. With ten classes, regions can need nine "
        "dimensions."
    )

# %% [markdown]
# ## On a map: are there two clusters?
#
# t-SNE {cite}`vandermaaten2008` lays the features out so that neighbours stay neighbours. How
# large its islands are depends on the *perplexity*, the number of neighbours that count.

# %% tags=["hide-input"]
if here:
    with plots.style():
        fig = Figure(figsize=(plots.WIDTH, 1.75 * len(here) + 0.3), layout="constrained")
        axes = fig.subplots(len(here), len(perplexities), squeeze=False)
    for row, title in zip(axes, here):
        arrays = first[title].arrays
        for ax, perplexity in zip(row, perplexities):
            points = arrays[f"tsne_{perplexity}"].astype(float)
            ax.scatter(
                *points.T, c=arrays["tsne_labels"], cmap=COLOURS, vmin=-0.5, vmax=9.5, s=4, lw=0
            )
            ax.set(xticks=[], yticks=[])
            ax.grid(False)
        row[0].set_ylabel(title, fontsize=9)
    for ax, perplexity in zip(axes[0], perplexities):
        ax.set_title(f"perplexity {perplexity}", fontsize=10)
    plots.show(
        fig,
        alt="Maps of coloured dots, one row a data set and one column a perplexity; islands of single "
        "colours that get larger and smoother with the perplexity.",
        caption="t-SNE of the penultimate features of 50 inverted images a class, one colour a class, at "
        f"three perplexities; seed {seeds[0]}.",
        name="fig-tsne",
    )

# %% [markdown]
# The eye counts islands. To count clusters where they are, in the features themselves, we ask for
# each class whether two clusters fit better than one by the gap statistic {cite}`tibshirani2001`, and
# if so, which number up to six has the best silhouette {cite}`rousseeuw1987`. The same procedure on the
# coordinates of the maps says what the maps make of it.

# %% tags=["hide-input"]
if here:
    columns = {"in the features": "clusters_in_features"} | {
        f"map, perplexity {p}": f"clusters_in_tsne_{p}" for p in perplexities
    }
    rows = pd.DataFrame(
        {"data set": title} | {name: average(title, c, np.mean) for name, c in columns.items()}
        for title in here
    )
    plots.table(
        rows,
        caption="Mean number of clusters in a class, over ten classes and all seeds: 100 images a class "
        "decide in {numref}`fig-clusters`, 50 here.",
        name="tab-clusters",
        formats=dict.fromkeys(columns, ".2f"),
    )

# %% [markdown]
# More weight on the cosine term is said to make more clusters. The runs of chapter 3 with other
# weights decide, on 100 images a class.

# %% tags=["hide-input"]
swept = pages.tidy([r for r in present(groups["by cosine"]) if "clusters" in r.scalars])
if len(swept):
    swept["mean clusters"] = [np.mean([k for k in counts if k]) for counts in swept["clusters"]]
    swept["with two"] = [sum(k == 2 for k in counts) for counts in swept["clusters"]]
    places = {value: i for i, value in enumerate(sorted(swept["cosine"].unique()))}
    swept["weight"] = swept["cosine"].map(places)
    figure = plots.curves(
        swept, "weight", "mean clusters", "data set",
        label_x="γ, weight of the cosine term", label_y="clusters in a class",
    )  # fmt: skip
    figure.axes[0].set_xticks(list(places.values()))
    figure.axes[0].set_xticklabels([f"{v:g}" for v in places])
    plots.show(
        figure,
        alt="Mean number of clusters in a class over the weight of the cosine term, one line a data "
        "set.",
        caption="Mean number of clusters in the features of a class over the weight of the cosine term; "
        "mean over seeds and 95 % interval.",
        name="fig-clusters",
    )

# %% tags=["hide-input"]
def two_clusters(title):
    """For each seed, the number of classes with two clusters at the weight where most have two."""
    own = swept[swept["data set"] == title]
    best = own.groupby("cosine")["with two"].mean().idxmax()
    return best, own[own["cosine"] == best].sort_values("seed")["with two"].tolist()


def rank_by_seed(title):
    """Rank correlation of the weight and the number of clusters; 0 where that never changes."""
    own = swept[swept["data set"] == title]
    return [
        float(spearmanr(rows["cosine"], rows["mean clusters"]).statistic)
        if rows["mean clusters"].nunique() > 1
        else 0.0
        for _, rows in own.groupby("seed")
        if rows["cosine"].nunique() == len(cosine_weights)
    ]


counted = list(dict.fromkeys(swept["data set"])) if len(swept) else []
if counted:
    plots.say(
        "The number of classes with exactly two clusters is largest at "
        + "; ".join(
            f"γ = {two_clusters(t)[0]:g}, with {np.mean(two_clusters(t)[1]):.1f} of ten ({t})"
            for t in counted
        )
        + ". The rank correlation of γ with the number of clusters is "
        + "; ".join(f"{np.mean(rank_by_seed(t)):.2f} ({t})" for t in counted if rank_by_seed(t))
        + "."
    )

# %% [markdown]
# ### Where two clusters come from
#
# There is another way to get two clusters, which we noticed after the thresholds were written, so
# that no verdict rests on it. Paper 000 describes the matrix with a hot row **or** column, papers 001
# and 002 with row **and** column. With *or*, a coin is tossed for every image, the generator sees its
# outcome, and the coin has two sides.

# %% tags=["hide-input"]
tossed = pages.tidy([r for r in present(groups["by matrix"]) if "clusters" in r.scalars])
if len(tossed):
    tossed["with two"] = [sum(k == 2 for k in counts) for counts in tossed["clusters"]]
    tossed["told by"] = tossed["conditioning"] + ", " + tossed["matrix"]
    tossed = tossed.sort_values(["conditioning", "matrix"])
    plots.show(
        plots.intervals(
            tossed, "told by", "with two", hue="data set",
            label_x="classes, of ten, with exactly two clusters",
        ),
        alt="Number of classes with two clusters for the matrix with row and column and with row or "
        "column, without and with a vector; row or column has more.",
        caption="Classes whose inverted images form two clusters in the features, with a hot row *and* "
        "column and with a hot row *or* column; faint dots are seeds, full ones means with 95 % "
        "intervals.",
        name="fig-coin",
    )  # fmt: skip

# %% tags=["hide-input"]
if len(tossed):
    coin = tossed.groupby("told by")["with two"].mean()
    plots.say(
        "Classes with exactly two clusters, mean over data sets and seeds: "
        + "; ".join(f"{name} {value:.1f} of ten" for name, value in coin.items())
        + ". Where *or* makes them and *and* does not, the two clusters show the generator's own input "
        "and not the classifier's view of the class."
    )

# %% [markdown]
# ## Through sparse units
#
# A k-sparse autoencoder {cite}`makhzani2014` writes each feature vector as a sum of few entries of a
# learned dictionary: of 256 units at most 8 fire. Which units fire on a class's training images, on
# its test images, on inverted images that were asked for as that class? The dictionary is fitted to
# training and inverted images in equal parts, so that it favours neither.

# %% tags=["hide-input"]
overlaps = pd.DataFrame(
    {"data set": row["data set"], "class": str(k), "images": kind, "overlap": value}
    for _, row in table.iterrows()
    for kind in ("test", "inverted")
    for k, value in enumerate(row[f"overlap_{kind}"])
)
if len(overlaps):
    overlaps["compared"] = overlaps["images"].map(
        {"test": "training and test", "inverted": "training and inverted"}
    )
    plots.show(
        plots.intervals(
            overlaps, "data set", "overlap", hue="compared",
            label_x="overlap of the 16 units that fire most (Jaccard)",
        ),
        alt="Overlap of the most active units, one row a data set: training and test images share most "
        "of them, training and inverted images few.",
        caption="Jaccard index of the 16 units that fire most often in a class. Faint dots are classes of "
        "each seed, full ones means with 95 % intervals.",
        name="fig-units",
    )  # fmt: skip

# %% [markdown]
# What are these units? First the three that prefer training images most, then the three that prefer
# inverted images, each with the images, of both kinds together, that fire it most.

# %% tags=["hide-input"]
def portraits(result):
    arrays = result.arrays
    pictures = arrays["portrait_images"] / 255
    which = arrays["portrait_is_inverted"]
    rows, titles = {}, {}
    for i, unit in enumerate(arrays["portrait_units"]):
        shown = pictures[i * which.shape[1] : (i + 1) * which.shape[1]]
        rows[f"unit {unit}"] = shown
        titles[f"unit {unit}"] = ["inverted" if w else "training" for w in which[i]]
    return rows, titles


if here:
    subject = first[here[-1]]
    plots.show(
        plots.image_rows(*portraits(subject)),
        alt="Six rows of eight small images: in the first three rows training images, in the last three "
        "inverted ones.",
        caption=f"Images that fire a unit most, {here[-1]}, seed {subject.parameters['seed']}. Above: the "
        "units that prefer training images most; below: those that prefer inverted images most.",
        name="fig-portraits",
    )

# %% tags=["hide-input"]
if here:
    shares = [
        (
            title,
            np.mean([r["portrait_share_inverted"][-3:].mean() for r in looked
                     if data.title(r.parameters["dataset"]) == title]),
            np.mean([r["portrait_share_training"][-3:].mean() for r in looked
                     if data.title(r.parameters["dataset"]) == title]),
        )
        for title in here
    ]  # fmt: skip
    plots.say(
        "The three units that prefer inverted images fire on "
        + "; ".join(
            f"{inverted:.0%} of inverted and {training:.0%} of training images ({title})"
            for title, inverted, training in shares
        )
        + "."
    )

# %% [markdown]
# ### A detector, and what it has to beat
#
# If units differ, they can raise an alarm. The paper says that they *could* be used for that. Our
# detector has seen no inverted image: its autoencoder is fitted to training images only, and its
# score is how improbable it is that these units fire, given how often each fires on training images
# of the class that the classifier names. Three simpler scores, which do not ask which units fire,
# stand beside it.

# %% tags=["hide-input"]
scores = {
    "which units fire": "auroc_units",
    "what the autoencoder leaves unexplained": "auroc_reconstruction",
    "low confidence of the classifier": "auroc_confidence",
    "small norm of the features": "auroc_norm",
}
if here:
    plots.table(
        pd.DataFrame(
            {"score": name} | {title: average(title, column) for title in here}
            for name, column in scores.items()
        ),
        caption="AUROC of telling inverted images from test images; 0.5 is guessing, below 0.5 the score "
        f"points the wrong way. Means over {table['seed'].nunique()} seeds.",
        name="tab-detectors",
        formats=dict.fromkeys(here, ".3f"),
    )

# %% tags=["hide-input"]
if here:
    def beats(title, one, other):
        """In every seed."""
        return all(a > b for a, b in zip(values(title, one), values(title, other)))

    better = [t for t in here if beats(t, "auroc_units", "auroc_confidence")]
    by_norm = [t for t in here if beats(t, "auroc_norm", "auroc_units")]
    plots.say(
        (
            f"In every seed, units tell more than the classifier's confidence on {', '.join(better)}"
            + ("; elsewhere they do not always. " if len(better) < len(here) else ". ")
            if better
            else "Nowhere do units tell more than the classifier's own confidence in every seed. "
        )
        + "Confidence is low because the loss asked for doubt (chapter 3), so that part of the contrast "
        "is made by the attack's own targets."
        + (
            f" And on {', '.join(by_norm)} the mere length of the feature vector tells more than any unit: "
            "inverted images excite the last hidden layer less than real ones do. A detector does not "
            "need a dictionary for that."
            if by_norm
            else ""
        )
    )

# %% [markdown]
# ### Which generator made it?
#
# Three generators invert the same classifier. If a class is one place in feature space, nobody can
# tell their images apart. A linear probe tries, class by class: from the codes of the sparse units, and
# from the features themselves.

# %% tags=["hide-input"]
if here and "probe_codes" in table:
    plots.table(
        pd.DataFrame(
            {
                "data set": title,
                "from the units": average(title, "probe_codes"),
                "from the features": average(title, "probe_features"),
            }
            for title in here
        ),
        caption="Accuracy of a linear probe that names the generator of an image of a known class, 5-fold "
        f"cross-validation, mean over classes and seeds; guessing: {1 / generators:.0%}.",
        name="tab-probe",
        formats={"from the units": ".0%", "from the features": ".0%"},
    )

# %% [markdown]
# ## Verdicts

# %% tags=["hide-input"]
def fewer(row):
    """Classes in which inverted images share fewer units with training images than test images."""
    return sum(a < b for a, b in zip(row["overlap_inverted"], row["overlap_test"]))


if len(table):
    table["less overlap"] = table.apply(fewer, axis=1)
evidence = {
    "I12": {t: {"region_agreement": values(t, "inverted_agreement")} for t in here},
    "I13": {t: {"classes_with_two": two_clusters(t)[1]} for t in counted},
    "I14": {t: {"rho_clusters": rank_by_seed(t)} for t in counted},
    "I15": {
        t: {
            "classes_with_less_overlap": values(t, "less overlap"),
            "detector_auroc": values(t, "auroc_units"),
        }
        for t in here
    },
    "I16": {t: {"probe_accuracy": values(t, "probe_codes")} for t in here},
}
verdicts = [claims.judge(claim, found) for claim, found in evidence.items()]
judged_claims = claims.table(verdicts)
plots.table(
    judged_claims[["claim", "statement", "verdict", "notes"]],
    caption="Claims of this chapter, judged by thresholds that were written down before the "
    "published runs (`claims.yaml`). The paper has four data sets; what was not run stays open.",
    name="tab-verdicts-04",
)

# %% tags=["hide-input"]
pages.say_evidence(verdicts)

# %% [markdown]
# ## What we found beside what the paper says
#
# - **How good a window a plane is** has a number: for how many images the drawn regions are right
#   ({numref}`tab-planes`).
# - **Count clusters in the features.** What the same procedure counts on the maps stands beside it
#   ({numref}`tab-clusters`).
# - **A coin can make two clusters** ({numref}`fig-coin`): row *or* column is a hidden label.
# - **Different units fire, but a detector needs a baseline** ({numref}`tab-detectors`).
# - **Generators have a handwriting**, as far as a linear probe can read it ({numref}`tab-probe`): what
#   one of them finds is a part of what the classifier would accept, which is why one needs several.
