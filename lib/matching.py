"""Did an attack find training images? Similarity, matching, calibration.

This is the only module that compares candidates with the truth, after an attack has ended. One
matrix of similarities [images, candidates] is made by `ncc`, for the training images and for
held-out ones; everything else is read from it.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import rankdata
from skimage.metrics import structural_similarity
from torch import Tensor


def ncc(targets: Tensor, candidates: Tensor) -> Tensor:
    """Normalised cross-correlation of every pair, targets [n, ...], candidates [m, ...] -> [n, m].

    Each image is flattened over pixels and channels, its mean removed, its norm set to 1; the
    value lies in [−1, 1] and does not change under scaling (paper 004, B.3; Lewis 1995).
    A constant image correlates 0 with everything.
    """

    def unit(images: Tensor) -> Tensor:
        flat = images.flatten(1).double()
        flat = flat - flat.mean(1, keepdim=True)
        return flat / flat.norm(dim=1, keepdim=True).clamp(min=1e-12)

    return unit(targets) @ unit(candidates).T


def stretch(images: Tensor) -> Tensor:
    """Each image linearly to [0, 1] by its own extremes (paper 004, B.3 step 1)."""
    flat = images.flatten(1)
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    return ((flat - low) / (high - low).clamp(min=1e-12)).reshape(images.shape)


def ssim(a: Tensor, b: Tensor, *, window: int = 3) -> Tensor:
    """Structural similarity of image pairs [n, c, h, w] in [0, 1] -> [n], averaged over channels.

    Wang et al. 2004 over `window` × `window` pixels of equal weight. The released code of
    paper 004 has Gaussian weights of σ = 1.5 cut to 3 pixels, which differ little from equal
    ones; 7 and 11 are usual elsewhere. The window must be odd and fit the image.
    """
    if window % 2 == 0 or window > min(a.shape[-2:]):
        raise ValueError(f"window {window} must be odd and at most the image's side")
    return torch.tensor(
        [
            structural_similarity(x, y, win_size=window, data_range=1.0, channel_axis=0)
            for x, y in zip(a.double().cpu().numpy(), b.double().cpu().numpy())
        ]
    )


@dataclass(frozen=True)
class Matches:
    """For each target the reconstruction that a reader would be shown, best pair first."""

    order: Tensor  # indices of the targets, by falling SSIM [n]
    reconstructions: Tensor  # [n, c, h, w] in [0, 1], in that order
    ncc: Tensor  # of the best candidate [n]
    ssim: Tensor  # of the voted reconstruction [n]


def match(
    targets: Tensor, pool: Tensor, similarity: Tensor, *, window: int = 3, vote: float = 0.9
) -> Matches:
    """Scaling, nearest neighbours, voting and sorting (paper 004, B.3).

    Args:
        targets: images [n, c, h, w] in [0, 1].
        pool: the candidates as images, that is, with the training mean added [m, c, h, w].
        similarity: NCC of each pair, both without the training mean [n, m].
        vote: candidates with NCC above this share of the best are averaged (B.3: 0.9); 1 takes
            the single best, as the released notebooks do.

    Raises:
        ValueError: when the similarity is not that of these targets and this pool.
    """
    if similarity.shape != (len(targets), len(pool)):
        raise ValueError(
            f"similarity {list(similarity.shape)} is not of {len(targets)} targets and "
            f"{len(pool)} candidates"
        )
    best = similarity.amax(1)
    chosen = (similarity >= vote * best[:, None]) & (best[:, None] > 0)
    chosen[torch.arange(len(targets)), similarity.argmax(1)] = True
    weights = chosen.double() / chosen.sum(1, keepdim=True)
    mixed = weights @ stretch(pool).flatten(1).double()
    voted = stretch(mixed.reshape(targets.shape).to(targets))
    scores = ssim(targets, voted, window=window)
    order = scores.argsort(descending=True)
    return Matches(order, voted[order], best[order], scores[order])


def scaled_to(targets: Tensor, candidates: Tensor, similarity: Tensor) -> Tensor:
    """For each target its best candidate, scaled to it by least squares -> [n, ...].

    For attacks that leave the scale (and the sign) of a candidate open: the paper's stretch of
    candidate + mean needs it. The fit takes one number of the target, so held-out images must
    be given the same.

    targets [n, ...] and candidates [m, ...] are both without the mean of the training images;
    similarity: their NCC [n, m].
    """
    best = candidates[similarity.argmax(1)].flatten(1).to(targets)
    flat = targets.flatten(1)
    scale = (best * flat).sum(1) / best.square().sum(1).clamp(min=1e-12)
    return (scale[:, None] * best).reshape(targets.shape)


def distinct(similarity: Tensor, level: float = 0.7) -> int:
    """Number of targets to which some candidate is nearest, with an NCC above `level`.

    A candidate counts for one target only, so one blurred digit does not find all its like.
    similarity: NCC of targets and candidates [n, m].
    """
    best, owner = similarity.max(dim=0)
    return len(owner[best > level].unique())


def trusted(candidates: Tensor, trust: Tensor, count: int, *, same: float = 0.9) -> Tensor:
    """Indices of the `count` most trusted candidates that differ from each other, best first.

    A candidate whose |NCC| with one already chosen is above `same` is left out, so that x and
    −x count once. Fewer come back when there are no more.

    candidates [m, ...]; trust: any score that the attack gives its own candidates [m].
    """
    alike = ncc(candidates, candidates).abs() > same
    chosen: list[int] = []
    for index in trust.argsort(descending=True, stable=True).tolist():
        if len(chosen) == count:
            break
        if not alike[index, chosen].any():
            chosen.append(index)
    return torch.tensor(chosen, dtype=torch.long)


def auroc(positives: Tensor, negatives: Tensor) -> float:
    """P(positive scores above negative), ties counting half (Mann-Whitney)."""
    ranks = rankdata(np.concatenate([positives.cpu().numpy(), negatives.cpu().numpy()]))
    n, k = len(positives), len(negatives)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * k))


def excess_hits(train: Tensor, held_out: Tensor, *, log_ratio: float = 0.2) -> tuple[int, int]:
    """Distinct training images and distinct held-out images that a candidate singles out.

    A candidate hits its nearest image of both sets together (distance 1 − NCC) when the second
    nearest is farther by a factor above exp(`log_ratio`). The sets must be of equal size, so
    that chance gives both the same count.

    train, held_out: NCC of n images of each kind with the same m candidates [n, m].
    """
    if len(train) != len(held_out):
        raise ValueError(f"{len(train)} training and {len(held_out)} held-out images: not equal")
    distance = 1 - torch.cat([train, held_out])
    nearest, index = distance.topk(2, dim=0, largest=False)
    decided = (nearest[1].clamp(min=1e-12) / nearest[0].clamp(min=1e-12)).log() > log_ratio
    hit = index[0][decided].unique()
    return int((hit < len(train)).sum()), int((hit >= len(train)).sum())


@dataclass(frozen=True)
class Calibration:
    """How much better training images are matched than images never trained on."""

    auroc: float  # 0.5: no better
    tpr_at_1_percent: float  # share of training images above the held-out 99 % quantile
    hits: int  # their number
    threshold: float  # that quantile
    excess: float  # distinct training hits − distinct held-out hits, mean over held-out sets


def calibrate(train: Tensor, held_out: Tensor) -> Calibration:
    """Score one pool against training and held-out images.

    `excess` averages over the ⌊k/n⌋ disjoint held-out sets of n images, drawn by stride so that
    classes stay balanced.

    train: NCC of the n training images with the m candidates [n, m]; held_out: that of k ≥ n
    images never trained on [k, m]; with k = 1,000 the 99 % quantile rests on ten images.
    """
    n, sets = len(train), len(held_out) // len(train)
    if not sets:
        raise ValueError(f"{len(held_out)} held-out images are fewer than {n} targets")
    best_train, best_held_out = train.amax(1), held_out.amax(1)
    threshold = best_held_out.quantile(0.99).item()
    hits = int((best_train > threshold).sum())
    pairs = [excess_hits(train, held_out[offset::sets][:n]) for offset in range(sets)]
    return Calibration(
        auroc=auroc(best_train, best_held_out),
        tpr_at_1_percent=hits / n,
        hits=hits,
        threshold=threshold,
        excess=float(np.mean([mine - others for mine, others in pairs])),
    )
