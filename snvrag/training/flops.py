"""How much the network computes: what a share of a GPU's peak is told by."""

from __future__ import annotations

from ..batches.batch import NUM_MATCH_FEATURES
from ..network.transformer import NUM_FREQUENCIES, NUM_TOKENS, NetworkConfig, stretches

TRAINING = 3
"""Backward passes cost twice a forward pass: products for the inputs and for the weights."""


def forward_flops(size: NetworkConfig, num_samples: int, num_sites: int) -> int:
    """Return the floating-point operations of a forward pass over a batch.

    Counted are matrix products, convolutions and attention, a multiplication and an addition as
    two, as `torch.utils.flop_counter` does; not counted are what is computed site by site (norms,
    softmax, sines, the loss), which takes time but no part of a GPU's peak. With B samples (2B
    rows), L sites, width D and feed-forward width 4D, a linear layer of n inputs and m outputs is
    2 n m a token, and most of the sum are the N layers of the transformer:

        2B x L x N x (2 x 12 D^2 + 4 D L)

    where 12 D^2 are the weights of a layer (3 D^2 + D^2 for attention, 8 D^2 for the rest) and
    4 D L the products of queries with keys and of weights with values. With ``span``, L is in the
    second term the sites of a stretch. A step of training is `TRAINING` times as much: its share of
    a device's peak is model FLOP utilisation (Chowdhery et al., PaLM, 2022, appendix B), in which
    nothing counts that is computed twice.

    Parameters
    ----------
    size : NetworkConfig
    num_samples : int
        B.
    num_sites : int
        L, padding included.
    """
    width, rows, length = size.width, 2 * num_samples, num_sites
    channels = max(8, width // 8)
    # Once for a sample's sites: frequency, place in the window, joining, gate.
    site = 2 * NUM_FREQUENCIES * width + width * width
    site += 7 * channels + 7 * channels * channels + width * width + channels * width
    site += 2 * (width // 2) + (width // 2) * width
    # Once for a sample: both haplotypes at once in the genotype head.
    genotype = (2 * width + 3) * width + 3 * width
    # For each haplotype: joining with the neighbours, the transformer, the haplotype head.
    token = 3 * width * width + 12 * width * width * size.layers
    token += (width + 2) * width + 2 * width
    per_neighbour = 0
    if size.weighting == "local":
        hidden = 16
        per_neighbour = NUM_MATCH_FEATURES * hidden + hidden * hidden + hidden
    num_evidence = (NUM_MATCH_FEATURES + 1 if size.weighting == "local" else 0) + size.num_models
    token += num_evidence * width
    if size.neighbour_prior and size.num_models:
        num_sources = 1 + size.num_models
        token += (1 + num_sources) * 16 + 16 * num_sources
    products = num_samples * length * (site + genotype)
    products += rows * length * (token + size.num_neighbours * per_neighbour)
    products += 2 * NUM_TOKENS * width * width  # the tokens' own terms, for queries and neighbours
    for i in range(size.layers):
        for part in stretches(length, size.span, size.span // 2 * (i % 2)):
            products += rows * 2 * width * (part.stop - part.start) ** 2
    return 2 * products
