"""The terms of the inversion loss, one function an equation; weights and sums stay outside.

L_Inv = α L_KL + β L_CE + γ L_Cosine + δ L_Ortho (paper 001, §3.3; paper 002, §3.3). Logarithms
are natural. N is the number of images in the batch.
"""

import torch.nn.functional as F
from torch import Tensor


class NonFiniteLoss(ArithmeticError):
    """A loss became NaN or infinite; the message says whose, and at which step."""


def kl_divergence(conditioning: Tensor, logits: Tensor) -> Tensor:
    """L_KL = Σᵢ P(i) log(P(i) / Q(i)), mean over the batch, in nats, ≥ 0 (paper 001, §3.3).

    conditioning: P, rows that sum to 1, zeros allowed [n, classes]; logits: of the classifier,
    Q = softmax(logits) [n, classes]. For one-hot P it is the cross-entropy.
    """
    _require_like(conditioning, logits)
    return F.kl_div(logits.log_softmax(1), conditioning, reduction="batchmean")


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """L_CE = −Σᵢ yᵢ log ŷᵢ, mean over the batch, in nats, ≥ 0 (paper 001, §3.3).

    logits: [n, classes], ŷ = softmax(logits); labels: y as indices, int64 [n].
    """
    return F.cross_entropy(logits, labels)


def cosine_similarity(features: Tensor) -> Tensor:
    """L_Cosine = 1/(N(N−1)) Σ_{i≠j} cos θᵢⱼ, in [−1/(N−1), 1] (paper 001, §3.3).

    features: [n, d], n ≥ 2. The sum of all cosines is the squared norm of the sum of the unit
    vectors, so no N × N matrix is needed. A row of zeros has the cosine 0 with every other.
    """
    n = _require_pairs(features)
    with_direction = (features != 0).any(1).sum()
    return (unit(features).sum(0).square().sum() - with_direction) / (n * (n - 1))


def orthogonality(features: Tensor) -> Tensor:
    """L_Ortho = 1/N² Σᵢⱼ (Gᵢⱼ − δᵢⱼ)², G = F Fᵀ of unit features (paper 001, §3.3).

    features: [n, d], n ≥ 2. The papers leave open whether features are normalised; without it
    the loss fixes their norms, too. In [max(0, 1/d − 1/N), 1): the floor is reached by tight
    frames. ‖F Fᵀ‖ = ‖Fᵀ F‖, so the smaller of both products is taken.
    """
    n = _require_pairs(features)
    f = unit(features)
    gram = f.T @ f if f.shape[1] < n else f @ f.T
    return (gram.square().sum() - 2 * f.square().sum() + n) / n**2


def unit(features: Tensor) -> Tensor:
    """Rows [n, d] divided by their norms; a row of zeros stays as it is, with gradient 1."""
    norms = features.norm(dim=1, keepdim=True)
    return features / norms.where(norms > 0, 1)


def _require_like(conditioning: Tensor, logits: Tensor) -> None:
    if conditioning.shape != logits.shape:
        raise ValueError(
            f"conditioning {list(conditioning.shape)} and logits {list(logits.shape)} differ"
        )


def _require_pairs(features: Tensor) -> int:
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"features are [n, d] with n of at least 2, not {list(features.shape)}")
    return len(features)
