"""V18's heads: from what the transformer gives for each site to alleles and genotypes.

Layers as in V18, which names its four genotypes 2 * first + second and takes softmax in each head.
Here both give logits, and the genotypes are three: see `merge_heterozygotes`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_GENOTYPE_WIDTH = 16


def v18_haplotype_head(width: int) -> nn.Sequential:
    """Return layers from (..., D + 2) to (..., 2): the features join two frequencies first."""
    return nn.Sequential(
        nn.Linear(width + 2, 4 * width),
        nn.GELU(),
        nn.Linear(4 * width, width),
        nn.LayerNorm(width),
        nn.Linear(width, 4 * width),
        nn.GELU(),
        nn.Linear(4 * width, 2),
    )


def v18_genotype_head(dropout: float) -> nn.Sequential:
    """Return layers from (..., 7) to (..., 4): logits of 0|0, 0|1, 1|0 and 1|1.

    They see the probabilities of REF and ALT of the first haplotype and of the second, and the
    population's three genotype frequencies; nothing of the features.
    """
    width = _GENOTYPE_WIDTH
    return nn.Sequential(
        nn.Linear(7, width),
        nn.LeakyReLU(0.01),
        nn.LayerNorm(width),
        nn.Linear(width, width),
        nn.LeakyReLU(0.1),
        nn.LayerNorm(width),
        nn.Linear(width, width),
        nn.LeakyReLU(0.1),
        nn.Dropout(dropout),
        nn.Linear(width, 4),
    )


def merge_heterozygotes(ordered: Tensor) -> Tensor:
    """(..., 4) logits of 0|0, 0|1, 1|0 and 1|1 to (..., 3) of 0, 1 and 2 ALT alleles.

    Both heterozygotes become one class by logsumexp, so that its probability is the sum of theirs
    and the loss is that of unordered genotypes: the phase is the haplotype heads' part of the loss.
    """
    ref, first_alt, second_alt, alt = ordered.unbind(-1)
    return torch.stack([ref, torch.logaddexp(first_alt, second_alt), alt], -1)
