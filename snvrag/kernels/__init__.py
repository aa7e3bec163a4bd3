"""The kernels, for use in any project: neither torch nor CUDA is loaded by importing them.

Numba is loaded by the first call of a mask or alignment kernel, and its compiled code is cached on
disk.
"""

from .alignment import align_sites
from .masking import af_guided_mask, af_guided_masks
from .packing import pack_haplotypes, unpack_haplotypes
from .retrieval import HammingIndex, TopK, topk_hamming, topk_l2

__all__ = [
    "HammingIndex",
    "TopK",
    "af_guided_mask",
    "af_guided_masks",
    "align_sites",
    "pack_haplotypes",
    "topk_hamming",
    "topk_l2",
    "unpack_haplotypes",
]
