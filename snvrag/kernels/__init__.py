"""The kernels, for use in any project: importing them loads neither torch nor CUDA.

Numba is loaded by the first mask, or once millions of sites were aligned, and its compiled code is
cached on disk.

Arrays are NumPy's. The masks and the searches also take CUDA arrays (of torch or CuPy): they then
run on the device, on the caller's current stream, and return CUDA arrays. Packing, alignment,
`retrieve_states`, the Li-Stephens model (`li_stephens_dosage`, `li_stephens_evidence`,
`estimate_rates`, `sample_phasings`) and the head run on the CPU alone.

All functions may be called from several threads at once, and several threads may search one
`HammingIndex`, which is immutable once built. Calls run without the GIL, and the compiled modules
leave it off where Python is free-threaded. Mutating an input during a call gives unspecified
results, never an out-of-bounds access: indices are copied before they are checked. Ctrl-C ends a
long search.
"""

from .alignment import align_sites
from .evidence import EVIDENCE, li_stephens_evidence
from .head import HeadWeights, head_log_odds
from .li_stephens import li_stephens_dosage
from .masking import af_guided_mask, af_guided_masks
from .packing import pack_haplotypes, unpack_haplotypes
from .phasings import Phasings, sample_phasings
from .rates import Rates, estimate_rates
from .retrieval import HammingIndex, TopK, topk_hamming, topk_l2
from .states import States, retrieve_states

__all__ = [
    "EVIDENCE",
    "HammingIndex",
    "HeadWeights",
    "Phasings",
    "Rates",
    "States",
    "TopK",
    "af_guided_mask",
    "af_guided_masks",
    "align_sites",
    "estimate_rates",
    "head_log_odds",
    "li_stephens_dosage",
    "li_stephens_evidence",
    "pack_haplotypes",
    "retrieve_states",
    "sample_phasings",
    "topk_hamming",
    "topk_l2",
    "unpack_haplotypes",
]
