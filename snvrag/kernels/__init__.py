"""The kernels, for use in any project: neither torch nor CUDA is loaded by importing them.

Numba is loaded by the first call of a mask or alignment kernel, and its compiled code is cached on
disk.

Threads may call any of these functions at the same time, and search one `HammingIndex`, which does
not change once it is built; they run without the GIL, and the compiled module leaves it off where
Python is free-threaded. Who writes to an array that a call is reading gets an unspecified answer,
but no access outside of the arrays: what leads to an address is copied before it is checked. Ctrl-C
ends a long search.
"""

from .alignment import align_sites
from .copying import li_stephens_dosage
from .masking import af_guided_mask, af_guided_masks
from .packing import pack_haplotypes, unpack_haplotypes
from .retrieval import HammingIndex, TopK, topk_hamming, topk_l2

__all__ = [
    "HammingIndex",
    "TopK",
    "af_guided_mask",
    "af_guided_masks",
    "align_sites",
    "li_stephens_dosage",
    "pack_haplotypes",
    "topk_hamming",
    "topk_l2",
    "unpack_haplotypes",
]
