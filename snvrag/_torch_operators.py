"""Operators and their fake twins; ``torch_ops.py`` is the way in."""

# torch reads an operator's schema from its annotations. torch 2.4 wants them as objects, not as
# text (no `from __future__ import annotations` here), and no default that is a string.
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from . import kernels
from .kernels._arguments import type_error, value_error

_WORDS = "an int64 (or uint64) tensor of packed words"


# --- between tensors and the kernels' arrays ------------------------------------------------------


def _words(name: str, words: Tensor) -> Any:
    """Return packed words as the kernels take them, without a copy."""
    if words.dtype not in (torch.int64, torch.uint64):
        type_error(name, _WORDS, f"dtype {words.dtype}")
    words = words.detach().view(torch.int64)
    return words if words.is_cuda else words.numpy().view(np.uint64)


def _array(values: Tensor | None) -> Any:
    """Return any other argument as the kernels take it, without a copy."""
    return values if values is None or values.is_cuda else values.detach().numpy()


def _tensor(result: Any) -> Tensor:
    """Return a kernel's result as a tensor, without a copy; words as int64."""
    if isinstance(result, Tensor):
        return result
    array: NDArray[Any] = result.view(np.int64) if result.dtype == np.uint64 else result
    return torch.from_numpy(array)


def _same_device(**tensors: Tensor | None) -> None:
    """Check that all tensors lie on the CPU or on one CUDA device."""
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
# The fake twin below each tells torch.compile the shape, dtype and device of the result; it checks
# what it looks at, so that those mistakes are errors while compiling.


@torch.library.custom_op("snvrag::pack_haplotypes", mutates_args=())
def pack_haplotypes(alleles: Tensor) -> Tensor:
    _on_cpu(alleles=alleles)
    return _tensor(kernels.pack_haplotypes(_array(alleles)))


@pack_haplotypes.register_fake
def _(alleles: Tensor) -> Tensor:
    _on_cpu(alleles=alleles)
    num_haplotypes, num_sites = _axes("alleles", alleles, 2)
    return alleles.new_empty((num_haplotypes, (num_sites + 63) // 64), dtype=torch.int64)


@torch.library.custom_op("snvrag::unpack_haplotypes", mutates_args=())
def unpack_haplotypes(bits: Tensor, num_sites: int) -> Tensor:
    _on_cpu(bits=bits)
    return _tensor(kernels.unpack_haplotypes(_words("bits", bits), num_sites))


@unpack_haplotypes.register_fake
def _(bits: Tensor, num_sites: int) -> Tensor:
    _on_cpu(bits=bits)
    num_haplotypes = _axes("bits", bits, 2)[0]
    return bits.new_empty((num_haplotypes, num_sites), dtype=torch.int8)


@torch.library.custom_op("snvrag::af_guided_mask", mutates_args=())
def af_guided_mask(
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
        generator=generator,  # type: ignore[arg-type]  # an unknown one is the kernel's error
    )
    return _tensor(mask)


@af_guided_mask.register_fake
def _(af: Tensor, *_: Any) -> Tensor:
    return af.new_empty(_axes("af", af, 1), dtype=torch.bool)


@torch.library.custom_op("snvrag::af_guided_masks", mutates_args=())
def af_guided_masks(
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
        generator=generator,  # type: ignore[arg-type]
        threads=threads,
    )
    return _tensor(masks)


@af_guided_masks.register_fake
def _(af: Tensor, starts: Tensor, stops: Tensor, *_: Any) -> Tensor:
    _on_cpu(starts=starts, stops=stops)
    return af.new_empty(_axes("af", af, 1), dtype=torch.bool)


@torch.library.custom_op("snvrag::topk_hamming", mutates_args=())
def topk_hamming(
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
        threads=threads,
        weights=_array(weights),
    )
    return _tensor(distances), _tensor(indices)


@topk_hamming.register_fake
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
    num_queries = _axes("queries", queries, 2)[0]
    dtype = torch.int32 if weights is None else torch.float32
    return (
        queries.new_empty((num_queries, k), dtype=dtype),
        queries.new_empty((num_queries, k), dtype=torch.int64),
    )


@torch.library.custom_op("snvrag::topk_l2", mutates_args=())
def topk_l2(
    queries: Tensor,
    cache: Tensor,
    k: int,
    exclude: Tensor | None = None,
    threads: int | None = None,
) -> tuple[Tensor, Tensor]:
    _same_device(cache=cache, queries=queries, exclude=exclude)
    distances, indices = kernels.topk_l2(
        _array(queries), _array(cache), k, exclude=_array(exclude), threads=threads
    )
    return _tensor(distances), _tensor(indices)


@topk_l2.register_fake
def _(
    queries: Tensor, cache: Tensor, k: int, exclude: Tensor | None = None, *_: Any
) -> tuple[Tensor, Tensor]:
    _same_device(cache=cache, queries=queries, exclude=exclude)
    num_queries = _axes("queries", queries, 2)[0]
    return (
        queries.new_empty((num_queries, k), dtype=torch.float32),
        queries.new_empty((num_queries, k), dtype=torch.int64),
    )


def _keep_rows(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    queries, cache, *_ = inputs
    ctx.save_for_backward(queries, cache, output[1])


def _gradient_of_distances(ctx: Any, of_distances: Tensor, _of_indices: Any) -> tuple[Any, ...]:
    """d|q - c|^2 = 2 (q - c) . (dq - dc), for the rows that were found."""
    queries, cache, indices = ctx.saved_tensors
    pull = 2 * of_distances[..., None] * (queries[:, None] - cache[indices])  # (Q, K, D)
    of_queries = of_cache = None
    if ctx.needs_input_grad[0]:
        of_queries = pull.sum(1)
    if ctx.needs_input_grad[1]:
        of_cache = torch.zeros_like(cache).index_add(0, indices.flatten(), -pull.flatten(0, 1))
    return of_queries, of_cache, None, None, None


topk_l2.register_autograd(_gradient_of_distances, setup_context=_keep_rows)
