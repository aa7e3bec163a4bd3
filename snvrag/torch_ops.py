"""The kernels as PyTorch operators (``torch.ops.snvrag``), for use inside ``torch.compile``.

Importing this module registers them; importing `snvrag.kernels` alone never loads torch. The
functions below check devices and dtypes and call the operators; results are tensors on the device
of the arguments. CPU tensors are read in place through NumPy, CUDA tensors through DLPack on the
current stream (where the CUDA extension was built).

**Packed words are int64 here**, with the bits of the uint64 that `snvrag.kernels` uses: torch
stores uint64, but indexes, stacks and compares next to nothing of it. Words given as uint64 are
taken too, and ``words.view(torch.int64)`` or ``array.view(np.int64)`` costs nothing.

Retrieval has no gradient but one: the distances of `topk_l2` have that of the squared distance to
the rows that were found. Asking for any other gradient is an error at ``backward``.
"""

from __future__ import annotations

from torch import Tensor

from . import _torch_operators as operators
from .kernels import TopK

__all__ = [
    "af_guided_mask",
    "af_guided_masks",
    "pack_haplotypes",
    "topk_hamming",
    "topk_l2",
    "unpack_haplotypes",
]


def pack_haplotypes(alleles: Tensor) -> Tensor:
    """Pack haplotypes to one bit an allele.

    Parameters
    ----------
    alleles : (H, S) int8, uint8 or bool CPU tensor
        0 for REF, 1 for ALT, of any strides. There is no bit for a missing allele (-1).

    Returns
    -------
    (H, W) int64 CPU tensor
        With W = ceil(S / 64): bit j of word w is site 64 * w + j. Bits behind the last site are 0.

    Raises
    ------
    TypeError
        For a wrong dtype or device.
    ValueError
        For a wrong number of axes, and for an allele other than 0 or 1, with its place.

    Notes
    -----
    Cost: each allele is read once; 64 alleles take a few vector instructions.

    Examples
    --------
    >>> import torch
    >>> from snvrag.torch_ops import pack_haplotypes
    >>> pack_haplotypes(torch.tensor([[1, 0, 1], [0, 0, 1]], dtype=torch.int8))
    tensor([[5],
            [4]])
    """
    bits: Tensor = operators.pack_haplotypes(alleles)
    return bits


def unpack_haplotypes(bits: Tensor, num_sites: int) -> Tensor:
    """Unpack what `pack_haplotypes` packed.

    Parameters
    ----------
    bits : (H, W) int64 or uint64 CPU tensor
        Rows contiguous; rows may lie apart.
    num_sites : int
        S, with W = ceil(S / 64).

    Returns
    -------
    (H, S) int8 CPU tensor
        0 for REF, 1 for ALT.

    Raises
    ------
    TypeError
        For a wrong dtype, layout or device.
    ValueError
        If W is not ceil(num_sites / 64).

    Notes
    -----
    Cost: each allele is written once.

    Examples
    --------
    >>> import torch
    >>> from snvrag.torch_ops import unpack_haplotypes
    >>> unpack_haplotypes(torch.tensor([[5], [4]]), 3)
    tensor([[1, 0, 1],
            [0, 0, 1]], dtype=torch.int8)
    """
    alleles: Tensor = operators.unpack_haplotypes(bits, num_sites)
    return alleles


def af_guided_mask(
    af: Tensor,
    *,
    seed: int,
    window: int,
    rate: float,
    rare_rate: float = 0.7,
    rare_threshold: float = 0.05,
    generator: str = "philox",
) -> Tensor:
    """Return the mask of one window, bit for bit that of `snvrag.kernels.af_guided_mask`.

    No state of torch's or NumPy's generators is read or changed: equal arguments give equal masks,
    so the operator may be cached, reordered or recomputed.

    Parameters
    ----------
    af : (L,) float64 tensor
        ALT frequency of each site in the panel, from 0 to 1. Any strides on the CPU; contiguous and
        not checked for its values on a CUDA device.
    seed : int
        The epoch when training; 2024 for validation.
    window : int
        Number of the window, from 0.
    rate, rare_rate : float
        Probability that a site is hidden, from 0 to 1, in general and where
        ``af < rare_threshold``.
    rare_threshold : float
        Upper end of the rare frequencies, exclusive.
    generator : {"philox", "mt19937"}
        "mt19937" gives V18's own masks, on the CPU alone.

    Returns
    -------
    (L,) bool tensor, on the device of `af`
        True where the site is hidden.

    Raises
    ------
    TypeError
        For a wrong dtype or device.
    ValueError
        For a number out of range, with the first offending index of ``af``.

    Notes
    -----
    Cost: 5 multiplications a site. Philox4x64-10: Salmon et al., "Parallel random numbers: as easy
    as 1, 2, 3", SC 2011.

    Examples
    --------
    >>> import torch
    >>> from snvrag.torch_ops import af_guided_mask
    >>> af = torch.tensor([0.01, 0.20, 0.50, 0.02], dtype=torch.float64)
    >>> af_guided_mask(af, seed=1, window=7, rate=0.5)
    tensor([False, False,  True, False])
    """
    mask: Tensor = operators.af_guided_mask(
        af, seed, window, rate, rare_rate, rare_threshold, generator
    )
    return mask


def af_guided_masks(
    af: Tensor,
    starts: Tensor,
    stops: Tensor,
    *,
    seed: int,
    rate: float,
    first_window: int = 0,
    rare_rate: float = 0.7,
    rare_threshold: float = 0.05,
    generator: str = "philox",
    threads: int | None = None,
) -> Tensor:
    """Return the masks of consecutive windows of a panel, in one tensor.

    Window ``first_window + i`` is ``[starts[i], stops[i])`` and gets what `af_guided_mask` gives
    for its slice of ``af``.

    Parameters
    ----------
    af : (S,) float64 tensor
        ALT frequency of each site of the panel, from 0 to 1.
    starts, stops : (N,) int64 CPU tensor
        Ends of the windows, in sites: half-open, ascending, not overlapping. On the CPU whatever
        the device of `af`, as they are checked before any work.
    seed, rate, rare_rate, rare_threshold, generator
        As in `af_guided_mask`.
    first_window : int
        Number of the first window.
    threads : int, optional
        Number of threads on the CPU. By default one for every 250,000 sites, as far as the machine
        has cores.

    Returns
    -------
    (S,) bool tensor, on the device of `af`
        True where the site is hidden; False in no window.

    Raises
    ------
    TypeError, ValueError
        As in `af_guided_mask`; windows that overlap, descend or leave the panel are a ValueError.

    Notes
    -----
    Cost: 5 multiplications a site.

    Examples
    --------
    >>> import torch
    >>> from snvrag.torch_ops import af_guided_mask, af_guided_masks
    >>> af = torch.linspace(0, 1, 10, dtype=torch.float64)
    >>> masks = af_guided_masks(af, torch.tensor([0, 5]), torch.tensor([5, 10]), seed=3, rate=0.3)
    >>> torch.equal(masks[5:], af_guided_mask(af[5:], seed=3, window=1, rate=0.3))
    True
    """
    masks: Tensor = operators.af_guided_masks(
        af, starts, stops, seed, rate, first_window, rare_rate, rare_threshold, generator, threads
    )
    return masks


def topk_hamming(
    queries: Tensor,
    panel: Tensor,
    k: int,
    *,
    num_sites: int,
    observed: Tensor | None = None,
    exclude: Tensor | None = None,
    weights: Tensor | None = None,
    threads: int | None = None,
) -> TopK:
    """Return the k haplotypes of a panel nearest to each query over the observed sites.

    The panel is laid out for the search in every call. Where the same panel and mask are searched
    often, `snvrag.kernels.HammingIndex` does that once.

    Parameters
    ----------
    queries : (Q, W) int64 or uint64 tensor
        Packed haplotypes over all sites (`pack_haplotypes`), W = ceil(num_sites / 64), rows
        contiguous; hidden sites are ignored. Q may be 0.
    panel : (H, W) int64 or uint64 tensor
        Packed haplotypes, as `queries`.
    k : int
        From 1 to H less the distinct haplotypes excluded for any one query.
    num_sites : int
        L, the number of sites of the window.
    observed : (L,) bool tensor, optional
        True where a site counts (the complement of a mask). By default all do. With no observed
        site, every distance is 0 and the lowest indices win.
    exclude : (Q, E) int64 tensor, optional
        Haplotypes that a query must not retrieve; -1 for none.
    weights : (L,) float32 tensor, optional
        What a difference at each site counts, finite and not negative; without, 1.
    threads : int, optional
        Number of threads on the CPU; by default as many as the work is worth. The answer does not
        depend on it.

    Returns
    -------
    TopK
        (Q, k) distances, int32 (float32 with `weights`): observed sites at which the haplotypes
        differ (the sum of their weights); and (Q, k) indices, int64. Both on the device of the
        arguments, ordered by (distance, index) ascending: equal distances go to the lowest index.

    Raises
    ------
    TypeError
        For a wrong dtype or layout, or devices that differ.
    ValueError
        For a wrong shape or a number out of range.

    Notes
    -----
    Cost: Q x H x ceil(observed / 64) word comparisons, after one pass over the panel. No gradient.

    Examples
    --------
    >>> import torch
    >>> from snvrag.torch_ops import pack_haplotypes, topk_hamming
    >>> panel = pack_haplotypes(torch.tensor([[0, 0], [0, 1], [1, 1]], dtype=torch.int8))
    >>> topk_hamming(panel[:1], panel, 1, num_sites=2, exclude=torch.tensor([[0]]))
    TopK(distances=tensor([[1]], dtype=torch.int32), indices=tensor([[1]]))
    >>> search = torch.compile(topk_hamming, fullgraph=True, backend="eager")
    >>> search(panel[:1], panel, 2, num_sites=2).indices
    tensor([[0, 1]])
    """
    return TopK(
        *operators.topk_hamming(queries, panel, k, num_sites, observed, exclude, weights, threads)
    )


def topk_l2(
    queries: Tensor,
    cache: Tensor,
    k: int,
    *,
    exclude: Tensor | None = None,
    threads: int | None = None,
) -> TopK:
    """Return the k rows of a dense cache nearest to each query by squared L2 distance.

    Parameters
    ----------
    queries : (Q, D) float32 tensor
        Rows contiguous. Q may be 0.
    cache : (H, D) float32 tensor
        Rows contiguous. Finite values.
    k, exclude, threads
        As in `topk_hamming`.

    Returns
    -------
    TopK
        (Q, k) squared distances, float32, and (Q, k) indices, int64, on the device of the
        arguments, ordered by (distance, index) ascending: equal distances go to the lowest index.

    Raises
    ------
    TypeError
        For a wrong dtype or layout, or devices that differ.
    ValueError
        For a wrong shape or a number out of range; for a distance that is not a number.

    Notes
    -----
    Cost: Q x H x D fused multiply-adds, never a (Q, H) matrix. The distances have a gradient in
    queries and cache, 2 (q - c) for the rows found, which takes Q x k x D; the choice of rows has
    none.

    Examples
    --------
    >>> import torch
    >>> from snvrag.torch_ops import topk_l2
    >>> cache = torch.tensor([[0.0, 0.0], [3.0, 4.0], [1.0, 0.0]])
    >>> query = torch.tensor([[0.25, 0.0]], requires_grad=True)
    >>> distances, indices = topk_l2(query, cache, 2)
    >>> indices
    tensor([[0, 2]])
    >>> distances.sum().backward()
    >>> query.grad  # 2 * (0.25 - 0) + 2 * (0.25 - 1)
    tensor([[-1.,  0.]])
    """
    return TopK(*operators.topk_l2(queries, cache, k, exclude, threads))
