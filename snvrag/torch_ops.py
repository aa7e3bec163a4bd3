"""The kernels as PyTorch operators (``torch.ops.snvrag``), for use inside ``torch.compile``.

Importing this module registers them; importing `snvrag.kernels` alone never loads torch. There are
operators for packing, unpacking, the masks and both top-k searches. `snvrag.kernels.HammingIndex`,
`align_sites` and `li_stephens_dosage` have none: call them outside of compiled code.

Each function takes tensors where the kernel of the same name takes arrays, and its arguments,
result and errors are the kernel's unless its docstring says otherwise. Results are on the device of
the arguments, which must share it; packing and unpacking run on the CPU alone. CPU tensors are read
in place through NumPy, CUDA tensors through DLPack on the current stream (if the CUDA extension was
built).

**Packed words are int64 here**, with the bits of the uint64 that `snvrag.kernels` uses: torch
stores uint64, but supports hardly any operation on it. Words given as uint64 are accepted, too, and
``words.view(torch.int64)`` or ``array.view(np.int64)`` costs nothing.

Only the distances of `topk_l2` have a gradient. Any other gradient is an error at ``backward``.
"""

# torch reads an operator's schema from its annotations. torch 2.4 needs them as objects, not as
# text (no `from __future__ import annotations` here), and no default that is a string.
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import kernels
from .kernels import TopK
from .kernels._checks import num_words, type_error, value_error

__all__ = [
    "af_guided_mask",
    "af_guided_masks",
    "pack_haplotypes",
    "topk_hamming",
    "topk_l2",
    "unpack_haplotypes",
]

# --- between tensors and the kernels' arrays ------------------------------------------------------


def _words(name: str, words: Tensor) -> Any:
    """Return packed words as the kernels take them, without a copy."""
    if words.dtype not in (torch.int64, torch.uint64):
        type_error(name, "an int64 (or uint64) tensor of packed words", f"dtype {words.dtype}")
    words = words.detach().view(torch.int64)
    return words if words.is_cuda else words.numpy().view(np.uint64)


def _array(values: Tensor | None) -> Any:
    """Return any other argument as the kernels take it, without a copy."""
    return values if values is None or values.is_cuda else values.detach().numpy()


def _tensor(result: Any) -> Tensor:
    """Return a kernel's result as a tensor, without a copy; words as int64."""
    if isinstance(result, Tensor):
        return result
    return torch.from_numpy(result.view(np.int64) if result.dtype == np.uint64 else result)


def _same_device(**tensors: Tensor | None) -> None:
    """Check that all tensors are on the CPU or on one CUDA device."""
    given = [(name, tensor) for name, tensor in tensors.items() if tensor is not None]
    first_name, first = given[0]
    if first.device.type not in ("cpu", "cuda"):
        type_error(first_name, "on the CPU or a CUDA device", f"one on {first.device}")
    for name, tensor in given[1:]:
        if tensor.device != first.device:
            type_error(name, f"on {first.device}, as {first_name}", f"one on {tensor.device}")


def _on_cpu(**tensors: Tensor) -> None:
    for name, tensor in tensors.items():
        if tensor.device.type != "cpu":
            type_error(name, "on the CPU", f"one on {tensor.device}")


def _axes(name: str, tensor: Tensor, ndim: int) -> Any:
    """Return the shape, whose sizes may be symbols while torch.compile traces."""
    if tensor.ndim != ndim:
        value_error(name, f"a tensor of {ndim} axes", f"shape {tuple(tensor.shape)}")
    return tensor.shape


# --- the operators --------------------------------------------------------------------------------
# The fake twin of each gives torch.compile the shape, dtype and device of the result. It makes the
# checks that need no values, so that these errors are raised while compiling.


@torch.library.custom_op("snvrag::pack_haplotypes", mutates_args=())
def _pack_haplotypes(alleles: Tensor) -> Tensor:
    _on_cpu(alleles=alleles)
    return _tensor(kernels.pack_haplotypes(_array(alleles)))


@_pack_haplotypes.register_fake
def _(alleles: Tensor) -> Tensor:
    _on_cpu(alleles=alleles)
    num_haplotypes, num_sites = _axes("alleles", alleles, 2)
    return alleles.new_empty((num_haplotypes, num_words(num_sites)), dtype=torch.int64)


@torch.library.custom_op("snvrag::unpack_haplotypes", mutates_args=())
def _unpack_haplotypes(bits: Tensor, num_sites: int) -> Tensor:
    _on_cpu(bits=bits)
    return _tensor(kernels.unpack_haplotypes(_words("bits", bits), num_sites))


@_unpack_haplotypes.register_fake
def _(bits: Tensor, num_sites: int) -> Tensor:
    _on_cpu(bits=bits)
    num_haplotypes = _axes("bits", bits, 2)[0]
    return bits.new_empty((num_haplotypes, num_sites), dtype=torch.int8)


@torch.library.custom_op("snvrag::af_guided_mask", mutates_args=())
def _af_guided_mask(
    af: Tensor,
    seed: int,
    window: int,
    rate: float,
    rare_rate: float,
    rare_threshold: float,
    generator: str,
) -> Tensor:
    _same_device(af=af)
    mask = kernels.af_guided_mask(
        _array(af),
        seed=seed,
        window=window,
        rate=rate,
        rare_rate=rare_rate,
        rare_threshold=rare_threshold,
        generator=generator,  # type: ignore[arg-type]  # checked by the kernel
    )
    return _tensor(mask)


@_af_guided_mask.register_fake
def _(af: Tensor, *_: Any) -> Tensor:
    return af.new_empty(_axes("af", af, 1), dtype=torch.bool)


@torch.library.custom_op("snvrag::af_guided_masks", mutates_args=())
def _af_guided_masks(  # torch's schemas are flat
    af: Tensor,
    starts: Tensor,
    stops: Tensor,
    seed: int,
    rate: float,
    first_window: int,
    rare_rate: float,
    rare_threshold: float,
    generator: str,
    threads: int | None,
) -> Tensor:
    _same_device(af=af)
    _on_cpu(starts=starts, stops=stops)
    masks = kernels.af_guided_masks(
        _array(af),
        _array(starts),
        _array(stops),
        seed=seed,
        rate=rate,
        first_window=first_window,
        rare_rate=rare_rate,
        rare_threshold=rare_threshold,
        generator=generator,  # type: ignore[arg-type]  # checked by the kernel
        threads=threads,
    )
    return _tensor(masks)


@_af_guided_masks.register_fake
def _(af: Tensor, starts: Tensor, stops: Tensor, *_: Any) -> Tensor:
    _on_cpu(starts=starts, stops=stops)
    return af.new_empty(_axes("af", af, 1), dtype=torch.bool)


@torch.library.custom_op("snvrag::topk_hamming", mutates_args=())
def _topk_hamming(  # torch's schemas are flat
    queries: Tensor,
    panel: Tensor,
    k: int,
    num_sites: int,
    observed: Tensor | None = None,
    exclude: Tensor | None = None,
    weights: Tensor | None = None,
    threads: int | None = None,
) -> tuple[Tensor, Tensor]:
    _same_device(panel=panel, queries=queries, observed=observed, exclude=exclude, weights=weights)
    distances, indices = kernels.topk_hamming(
        _words("queries", queries),
        _words("panel", panel),
        k,
        num_sites=num_sites,
        observed=_array(observed),
        exclude=_array(exclude),
        weights=_array(weights),
        threads=threads,
    )
    return _tensor(distances), _tensor(indices)


@_topk_hamming.register_fake
def _(
    queries: Tensor,
    panel: Tensor,
    k: int,
    num_sites: int,  # noqa: ARG001
    observed: Tensor | None = None,
    exclude: Tensor | None = None,
    weights: Tensor | None = None,
    *_: Any,
) -> tuple[Tensor, Tensor]:
    _same_device(panel=panel, queries=queries, observed=observed, exclude=exclude, weights=weights)
    shape = (_axes("queries", queries, 2)[0], k)
    dtype = torch.int32 if weights is None else torch.float32
    return queries.new_empty(shape, dtype=dtype), queries.new_empty(shape, dtype=torch.int64)


@torch.library.custom_op("snvrag::topk_l2", mutates_args=())
def _topk_l2(
    queries: Tensor,
    database: Tensor,
    k: int,
    exclude: Tensor | None = None,
    threads: int | None = None,
) -> tuple[Tensor, Tensor]:
    _same_device(database=database, queries=queries, exclude=exclude)
    distances, indices = kernels.topk_l2(
        _array(queries), _array(database), k, exclude=_array(exclude), threads=threads
    )
    return _tensor(distances), _tensor(indices)


@_topk_l2.register_fake
def _(
    queries: Tensor, database: Tensor, k: int, exclude: Tensor | None = None, *_: Any
) -> tuple[Tensor, Tensor]:
    _same_device(database=database, queries=queries, exclude=exclude)
    shape = (_axes("queries", queries, 2)[0], k)
    return queries.new_empty(shape), queries.new_empty(shape, dtype=torch.int64)


def _keep_rows(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    queries, database, *_ = inputs
    ctx.save_for_backward(queries, database, output[1])


def _gradient_of_distances(ctx: Any, of_distances: Tensor, _of_indices: Any) -> tuple[Any, ...]:
    """Return the gradients d|q - r|^2 = 2 (q - r) . (dq - dr) for the rows r that were found."""
    queries, database, indices = ctx.saved_tensors
    pull = 2 * of_distances[..., None] * (queries[:, None] - database[indices])  # (Q, K, D)
    of_queries = pull.sum(1) if ctx.needs_input_grad[0] else None
    of_database = None
    if ctx.needs_input_grad[1]:
        found, pulls = indices.flatten(), -pull.flatten(0, 1)
        of_database = torch.zeros_like(database).index_add(0, found, pulls)
    return of_queries, of_database, None, None, None


_topk_l2.register_autograd(_gradient_of_distances, setup_context=_keep_rows)

# --- the functions --------------------------------------------------------------------------------


def pack_haplotypes(alleles: Tensor) -> Tensor:
    """Pack (H, S) int8, uint8 or bool alleles as `snvrag.kernels.pack_haplotypes`; (H, W) int64.

    >>> pack_haplotypes(torch.tensor([[1, 0, 1], [0, 0, 1]], dtype=torch.int8))
    tensor([[5],
            [4]])
    """
    bits: Tensor = _pack_haplotypes(alleles)
    return bits


def unpack_haplotypes(bits: Tensor, num_sites: int) -> Tensor:
    """Unpack (H, W) words to int8 alleles as `snvrag.kernels.unpack_haplotypes`.

    >>> unpack_haplotypes(torch.tensor([[5], [4]]), 3)
    tensor([[1, 0, 1],
            [0, 0, 1]], dtype=torch.int8)
    """
    alleles: Tensor = _unpack_haplotypes(bits, num_sites)
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

    It is a pure function: calls may be cached, reordered or repeated.

    >>> af = torch.tensor([0.01, 0.20, 0.50, 0.02], dtype=torch.float64)
    >>> af_guided_mask(af, seed=1, window=7, rate=0.5)
    tensor([False, False,  True, False])
    """
    mask: Tensor = _af_guided_mask(af, seed, window, rate, rare_rate, rare_threshold, generator)
    return mask


def af_guided_masks(  # as the kernel
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
    """Return the masks of consecutive windows as `snvrag.kernels.af_guided_masks`.

    ``starts`` and ``stops`` are on the CPU whatever the device of ``af``: they are checked there.

    >>> af = torch.linspace(0, 1, 10, dtype=torch.float64)
    >>> masks = af_guided_masks(af, torch.tensor([0, 5]), torch.tensor([5, 10]), seed=3, rate=0.3)
    >>> torch.equal(masks[5:], af_guided_mask(af[5:], seed=3, window=1, rate=0.3))
    True
    """
    masks: Tensor = _af_guided_masks(
        af, starts, stops, seed, rate, first_window, rare_rate, rare_threshold, generator, threads
    )
    return masks


def topk_hamming(  # as the kernel
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
    """Return the k haplotypes nearest to each query as `snvrag.kernels.topk_hamming`.

    Every call builds an index: to search one repeatedly, use `snvrag.kernels.HammingIndex`.

    >>> panel = pack_haplotypes(torch.tensor([[0, 0], [0, 1], [1, 1]], dtype=torch.int8))
    >>> topk_hamming(panel[:1], panel, 1, num_sites=2, exclude=torch.tensor([[0]]))
    TopK(distances=tensor([[1]], dtype=torch.int32), indices=tensor([[1]]))
    >>> search = torch.compile(topk_hamming, fullgraph=True, backend="eager")
    >>> search(panel[:1], panel, 2, num_sites=2).indices
    tensor([[0, 1]])
    """
    return TopK(*_topk_hamming(queries, panel, k, num_sites, observed, exclude, weights, threads))


def topk_l2(
    queries: Tensor,
    database: Tensor,
    k: int,
    *,
    exclude: Tensor | None = None,
    threads: int | None = None,
) -> TopK:
    """Return the k rows of a database nearest to each query as `snvrag.kernels.topk_l2`.

    The distances have a gradient in queries and database, 2 (q - r) for the rows r that were found,
    at a cost of Q x k x D; the choice of rows has none.

    >>> database = torch.tensor([[0.0, 0.0], [3.0, 4.0], [1.0, 0.0]])
    >>> query = torch.tensor([[0.25, 0.0]], requires_grad=True)
    >>> distances, indices = topk_l2(query, database, 2)
    >>> indices
    tensor([[0, 2]])
    >>> distances.sum().backward()
    >>> query.grad  # 2 * (0.25 - 0) + 2 * (0.25 - 1)
    tensor([[-1.,  0.]])
    """
    return TopK(*_topk_l2(queries, database, k, exclude, threads))
