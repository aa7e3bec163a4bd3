"""The kernels as torch operators: equal answers, and nothing that torch.compile stumbles over."""

from __future__ import annotations

import doctest
import os
import subprocess
import sys
import unittest.mock

import numpy as np
import pytest
import torch

import snvrag
from snvrag import kernels, torch_ops

L = 130  # sites, in three words, the last with two


def words(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array.view(np.int64))


@pytest.fixture
def panel(mosaic_haplotypes) -> torch.Tensor:
    return words(kernels.pack_haplotypes(mosaic_haplotypes(40, L)))


OBSERVED = torch.from_numpy(np.random.default_rng(1).random(L) < 0.4)
EXCLUDE = torch.tensor([[0, 1], [2, -1], [-1, -1]])
AF = torch.from_numpy(np.random.default_rng(2).random(L) ** 3)
STARTS, STOPS = torch.tensor([0, 50, 64]), torch.tensor([50, 64, L])
DENSE = torch.from_numpy(np.random.default_rng(3).standard_normal((20, 7)).astype(np.float32))


def same(got: torch.Tensor, expected: np.ndarray) -> bool:
    return got.dtype == torch.from_numpy(expected).dtype and np.array_equal(got.numpy(), expected)


def test_examples():
    result = doctest.testmod(torch_ops)
    assert result.attempted > 10
    assert result.failed == 0


def test_only_importing_the_operators_loads_torch():
    code = (
        "import sys, snvrag.kernels\n"
        "print('torch' in sys.modules)\n"
        "import snvrag.torch_ops, torch\n"
        "print(torch.ops.snvrag.topk_l2.default is not None)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.stdout.split() == ["False", "True"], ran.stderr


# --- equal to the kernels -------------------------------------------------------------------------


def test_pack_and_unpack(mosaic_haplotypes):
    alleles = mosaic_haplotypes(5, L)
    for given in (torch.from_numpy(alleles), torch.from_numpy(alleles.T.copy()).T):
        bits = torch_ops.pack_haplotypes(given)
        assert same(bits, kernels.pack_haplotypes(alleles).view(np.int64))
    for given in (bits, bits.view(torch.uint64), bits.repeat(2, 1)[::2]):
        assert torch_ops.unpack_haplotypes(given, L).shape == (5, L)
    assert same(torch_ops.unpack_haplotypes(bits, L), alleles)


@pytest.mark.parametrize("generator", ["philox", "mt19937"])
def test_masks(generator):
    got = torch_ops.af_guided_mask(AF, seed=3, window=8, rate=0.4, generator=generator)
    expected = kernels.af_guided_mask(AF.numpy(), seed=3, window=8, rate=0.4, generator=generator)
    assert same(got, expected)
    rates = {"rate": 0.3, "rare_rate": 0.9, "rare_threshold": 0.2, "threads": 2}
    got = torch_ops.af_guided_masks(
        AF, STARTS, STOPS, seed=3, first_window=5, generator=generator, **rates
    )
    expected = kernels.af_guided_masks(
        AF.numpy(), STARTS.numpy(), STOPS.numpy(), seed=3, first_window=5, generator=generator,
        **rates,
    )  # fmt: skip
    assert same(got, expected)


@pytest.mark.parametrize("word_type", [torch.int64, torch.uint64])
@pytest.mark.parametrize("observed", [None, OBSERVED])
@pytest.mark.parametrize("exclude", [None, EXCLUDE])
def test_topk_hamming(panel, word_type, observed, exclude):
    given = panel.view(word_type)
    got = torch_ops.topk_hamming(
        given[:3], given, 4, num_sites=L, observed=observed, exclude=exclude, threads=2
    )
    bits = panel.numpy().view(np.uint64)
    expected = kernels.topk_hamming(
        bits[:3],
        bits,
        4,
        num_sites=L,
        observed=None if observed is None else observed.numpy(),
        exclude=None if exclude is None else exclude.numpy(),
    )
    assert isinstance(got, kernels.TopK)
    assert same(got.distances, expected.distances)
    assert same(got.indices, expected.indices)


def test_weights_are_handed_on_where_there_are_any(panel):
    weights = torch.rand(L)
    answer = kernels.TopK(np.zeros((1, 2), np.float32), np.zeros((1, 2), np.int64))
    with unittest.mock.patch.object(kernels, "topk_hamming", return_value=answer) as kernel:
        torch_ops.topk_hamming(panel[:1], panel, 2, num_sites=L)
        assert kernel.call_args.kwargs["weights"] is None
        got = torch_ops.topk_hamming(panel[:1], panel, 2, num_sites=L, weights=weights)
    handed = kernel.call_args.kwargs["weights"]
    assert handed.ctypes.data == weights.data_ptr()  # in place, without a copy
    assert got.distances.dtype == torch.float32


def test_weighted_topk_hamming(panel):
    weights = torch.rand(L)
    arguments = (panel[:3], panel, 4, L, OBSERVED, EXCLUDE, weights)
    torch.library.opcheck(torch.ops.snvrag.topk_hamming.default, arguments)
    got = torch_ops.topk_hamming(*arguments[:3], num_sites=L, observed=OBSERVED, weights=weights)
    bits = panel.numpy().view(np.uint64)
    expected = kernels.topk_hamming(
        bits[:3], bits, 4, num_sites=L, observed=OBSERVED.numpy(), weights=weights.numpy()
    )
    assert same(got.distances, expected.distances)
    assert same(got.indices, expected.indices)


def test_topk_l2():
    got = torch_ops.topk_l2(DENSE[:3] + 1, DENSE, 5, exclude=EXCLUDE, threads=2)
    expected = kernels.topk_l2((DENSE[:3] + 1).numpy(), DENSE.numpy(), 5, exclude=EXCLUDE.numpy())
    assert isinstance(got, kernels.TopK)
    assert same(got.distances, expected.distances)
    assert same(got.indices, expected.indices)


def test_nothing_to_do(panel):
    found = torch_ops.topk_hamming(panel[:0], panel, 2, num_sites=L, exclude=EXCLUDE[:0])
    assert found.distances.shape == found.indices.shape == (0, 2)
    found = torch_ops.topk_l2(DENSE[:0], DENSE, 2)
    assert found.distances.shape == found.indices.shape == (0, 2)
    assert torch_ops.pack_haplotypes(torch.zeros((0, 3), dtype=torch.int8)).shape == (0, 1)
    assert torch_ops.unpack_haplotypes(panel[:0], L).shape == (0, L)
    assert torch_ops.af_guided_mask(AF[:0], seed=0, window=0, rate=0.5).shape == (0,)
    none = STARTS[:0]
    assert not torch_ops.af_guided_masks(AF, none, none, seed=0, rate=0.5).any()


def test_arguments_are_read_in_place(panel):
    """A panel is gigabytes: no operator may copy its arguments."""
    seen = {}

    def kernel(queries, panel, *_, **__):
        seen.update(queries=queries, panel=panel)
        return kernels.TopK(np.zeros((1, 1), np.int32), np.zeros((1, 1), np.int64))

    with unittest.mock.patch.object(kernels, "topk_hamming", kernel):
        torch_ops.topk_hamming(panel[3:4], panel, 1, num_sites=L)
    assert seen["panel"].ctypes.data == panel.data_ptr()
    assert seen["queries"].ctypes.data == panel[3:4].data_ptr()


# --- inside torch.compile -------------------------------------------------------------------------


def operator_calls(panel: torch.Tensor):
    operators = torch.ops.snvrag
    alleles = torch_ops.unpack_haplotypes(panel, L)
    return {
        "pack_haplotypes": (operators.pack_haplotypes, (alleles,)),
        "pack_haplotypes of whole words": (operators.pack_haplotypes, (alleles[:, :128],)),
        "unpack_haplotypes": (operators.unpack_haplotypes, (panel, L)),
        "af_guided_mask": (operators.af_guided_mask, (AF, 1, 2, 0.3, 0.7, 0.05, "philox")),
        "af_guided_masks": (
            operators.af_guided_masks,
            (AF, STARTS, STOPS, 1, 0.3, 5, 0.7, 0.05, "mt19937", 2),
        ),
        "topk_hamming": (operators.topk_hamming, (panel[:3], panel, 4, L, OBSERVED, EXCLUDE)),
        "topk_hamming of nothing": (operators.topk_hamming, (panel[:0], panel, 4, L)),
        "topk_l2": (operators.topk_l2, (DENSE[:3], DENSE, 4, EXCLUDE)),
        "topk_l2 with gradient": (
            operators.topk_l2,
            (DENSE[:3].clone().requires_grad_(), DENSE.clone().requires_grad_(), 4),
        ),
    }


@pytest.mark.parametrize("name", operator_calls(torch.zeros((3, 3), dtype=torch.int64)))
def test_operator_is_what_torch_expects(panel, name):
    """Schema, fake twin, autograd and dynamic shapes, by torch's own checks."""
    operator, arguments = operator_calls(panel)[name]
    torch.library.opcheck(operator.default, arguments)


def test_operators_take_keywords(panel):
    got = torch.ops.snvrag.topk_hamming(queries=panel[:2], panel=panel, k=1, num_sites=L)
    with torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True):
        fake = torch.ops.snvrag.topk_hamming(
            queries=panel[:2], panel=panel, k=1, num_sites=L, threads=3
        )
    assert [x.shape for x in fake] == [x.shape for x in got]
    assert [x.dtype for x in fake] == [x.dtype for x in got]


def retrieve(alleles, af, k: int, seed: int):
    """Mask, pack, search, and look up what was found, as a training step would."""
    num_sites = alleles.shape[1]
    hidden = torch_ops.af_guided_mask(af, seed=seed, window=2, rate=0.5)
    bits = torch_ops.pack_haplotypes(alleles)
    found = torch_ops.topk_hamming(
        bits[:4], bits, k, num_sites=num_sites, observed=~hidden, exclude=torch.arange(4)[:, None]
    )
    copied = torch_ops.unpack_haplotypes(bits[found.indices.flatten()], num_sites)
    dense = torch_ops.topk_l2(alleles[:4].float(), alleles.float(), k)
    return found, copied.float().mean(0), dense.distances


# "aot_eager" runs all of torch.compile but the code generator, which calls a C++ compiler for about
# a minute here and has nothing to generate for these operators.
@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled_without_a_break(mosaic_haplotypes, dynamic):
    torch.compiler.reset()
    compiled = torch.compile(retrieve, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    for num_haplotypes, num_sites, k in ((20, L, 3), (33, 64, 5), (12, 65, 1)):
        alleles = torch.from_numpy(mosaic_haplotypes(num_haplotypes, num_sites))
        af = alleles.double().mean(0)
        for seed in (0, 7):
            got, expected = compiled(alleles, af, k, seed), retrieve(alleles, af, k, seed)
            assert isinstance(got[0], kernels.TopK)
            for x, y in zip((*got[0], *got[1:]), (*expected[0], *expected[1:]), strict=True):
                assert torch.equal(x, y)


def test_one_graph_serves_every_size(mosaic_haplotypes):
    torch.compiler.reset()
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(torch_ops.topk_hamming, fullgraph=True, backend=counter, dynamic=True)
    for num_haplotypes, num_sites, k in ((20, L, 3), (33, 64 * 5, 5), (12, 999, 2)):
        bits = torch_ops.pack_haplotypes(
            torch.from_numpy(mosaic_haplotypes(num_haplotypes, num_sites))
        )
        found = compiled(bits[:4], bits, k, num_sites=num_sites)
        assert torch.equal(found.indices[:, 0], torch.arange(4))
    assert counter.frame_count == 1


def test_mistakes_are_found_while_compiling():
    compiled = torch.compile(torch_ops.unpack_haplotypes, fullgraph=True, backend="aot_eager")
    with pytest.raises(Exception, match="bits must be a tensor of 2 axes"):
        compiled(torch.zeros(3, dtype=torch.int64), 5)


# --- gradients ------------------------------------------------------------------------------------


def test_gradient_of_dense_distances():
    queries = DENSE[:3].clone().add_(0.3).requires_grad_()
    database = DENSE.clone().requires_grad_()
    found = torch_ops.topk_l2(queries, database, 4, exclude=EXCLUDE)
    assert not found.indices.requires_grad
    slope = torch.rand(3, 4)
    got = torch.autograd.grad((found.distances * slope).sum(), (queries, database))
    again = (queries[:, None] - database[found.indices]).square().sum(-1)
    expected = torch.autograd.grad((again * slope).sum(), (queries, database))
    for x, y in zip(got, expected, strict=True):
        torch.testing.assert_close(x, y)
    (alone,) = torch.autograd.grad(torch_ops.topk_l2(queries, DENSE, 4)[0].sum(), queries)
    assert alone.shape == queries.shape


def test_gradient_inside_torch_compile():
    def loss(queries, database):
        return torch_ops.topk_l2(queries, database, 4).distances.sum()

    torch.compiler.reset()
    gradients = []
    for function in (loss, torch.compile(loss, fullgraph=True, backend="aot_eager")):
        leaves = [DENSE[:3].clone().requires_grad_(), DENSE.clone().requires_grad_()]
        gradients.append(torch.autograd.grad(function(*leaves), leaves))
    for x, y in zip(*gradients, strict=True):
        torch.testing.assert_close(x, y)


def test_a_mask_has_no_gradient():
    af = AF.clone().requires_grad_()
    assert not torch_ops.af_guided_mask(af, seed=0, window=0, rate=0.5).requires_grad


def test_a_gradient_that_does_not_exist_is_an_error(panel):
    answer = kernels.TopK(np.zeros((1, 2), np.float32), np.zeros((1, 2), np.int64))
    weights = torch.rand(L, requires_grad=True)
    with unittest.mock.patch.object(kernels, "topk_hamming", return_value=answer):
        found = torch_ops.topk_hamming(panel[:1], panel, 2, num_sites=L, weights=weights)
    with pytest.raises(RuntimeError, match="no autograd formula"):
        found.distances.sum().backward()


# --- errors ---------------------------------------------------------------------------------------


def test_wrong_dtypes(panel):
    text = r"^queries must be an int64 \(or uint64\) tensor of packed words, got dtype torch.int32$"
    with pytest.raises(TypeError, match=text):
        torch_ops.topk_hamming(panel[:1].int(), panel, 1, num_sites=L)
    with pytest.raises(TypeError, match=r"^panel must be an int64 "):
        torch_ops.topk_hamming(panel[:1], panel.double(), 1, num_sites=L)
    with pytest.raises(TypeError, match=r"^bits must be an int64 "):
        torch_ops.unpack_haplotypes(panel.float(), L)
    with pytest.raises(TypeError, match=r"^alleles must be "):
        torch_ops.pack_haplotypes(panel)
    with pytest.raises(TypeError, match=r"^af must be a float64 "):
        torch_ops.af_guided_mask(AF.float(), seed=0, window=0, rate=0.5)
    with pytest.raises(TypeError, match=r"^database must be a float32 "):
        torch_ops.topk_l2(DENSE, DENSE.double(), 1)
    with pytest.raises(TypeError, match=r"^observed must be "):
        torch_ops.topk_hamming(panel[:1], panel, 1, num_sites=L, observed=OBSERVED.int())
    with pytest.raises(TypeError, match=r"^exclude must be "):
        torch_ops.topk_l2(DENSE[:3], DENSE, 1, exclude=EXCLUDE.int())


def test_wrong_shapes_and_numbers(panel):
    with pytest.raises(ValueError, match=r"^queries must be of 3 words a row \(130 sites\), got 2"):
        torch_ops.topk_hamming(panel[:1, :2], panel, 1, num_sites=L)
    with pytest.raises(ValueError, match=r"^k must be at most 39 \(40 less 1 excluded\), got 40"):
        torch_ops.topk_hamming(panel[:1], panel, 40, num_sites=L, exclude=torch.tensor([[3]]))
    with pytest.raises(ValueError, match=r"^k must be at least 1, got 0"):
        torch_ops.topk_l2(DENSE, DENSE, 0)
    with pytest.raises(ValueError, match=r"^database must be finite, got nan at \(0, 2\)"):
        torch_ops.topk_l2(DENSE, DENSE.clone().index_fill_(1, torch.tensor([2]), torch.nan), 1)
    with pytest.raises(ValueError, match=r"^alleles must be 0 or 1, got -1 at \(0, 1\)"):
        torch_ops.pack_haplotypes(torch.tensor([[0, -1]], dtype=torch.int8))
    with pytest.raises(ValueError, match=r"^generator must be "):
        torch_ops.af_guided_mask(AF, seed=0, window=0, rate=0.5, generator="pcg64")
    with pytest.raises(ValueError, match=r"^starts, stops must be ascending"):
        torch_ops.af_guided_masks(AF, STOPS, STARTS, seed=0, rate=0.5)


def test_a_copy_is_never_made_silently(panel):
    apart = panel.t().contiguous().t()
    with pytest.raises(TypeError, match=r"^panel must be .*contiguous"):
        torch_ops.topk_hamming(panel[:1], apart, 1, num_sites=L)


def test_devices(panel):
    elsewhere = panel.to("meta")
    with pytest.raises(TypeError, match=r"^queries must be on cpu, as panel, got one on meta$"):
        torch.ops.snvrag.topk_hamming(elsewhere, panel, 1, L)
    with pytest.raises(TypeError, match=r"^exclude must be on cpu, as database, got one on meta$"):
        torch_ops.topk_l2(DENSE, DENSE, 1, exclude=EXCLUDE.to("meta"))
    with pytest.raises(TypeError, match=r"^starts must be on the CPU, got one on meta$"):
        torch_ops.af_guided_masks(AF, STARTS.to("meta"), STOPS, seed=0, rate=0.5)
    with pytest.raises(TypeError, match=r"^bits must be on the CPU, got one on meta$"):
        torch_ops.unpack_haplotypes(elsewhere, L)
    with pytest.raises(TypeError, match=r"^alleles must be on the CPU, got one on meta$"):
        torch_ops.pack_haplotypes(OBSERVED[None].to("meta"))


# --- on a CUDA device -----------------------------------------------------------------------------


def test_equal_answers_on_a_cuda_device(panel):
    if not (torch.cuda.is_available() and snvrag.build_info()["cuda"]):
        required = os.environ.get("SNVRAG_REQUIRE_GPU") == "1"
        (pytest.fail if required else pytest.skip)("no CUDA device, or no CUDA extension")

    def step(panel, dense, af, observed, exclude, weights):
        found = torch_ops.topk_hamming(
            panel[:3], panel, 4, num_sites=L, observed=observed, exclude=exclude
        )
        weighted = torch_ops.topk_hamming(panel[:3], panel, 4, num_sites=L, weights=weights)
        mask = torch_ops.af_guided_mask(af, seed=1, window=2, rate=0.5)
        masks = torch_ops.af_guided_masks(af, STARTS, STOPS, seed=1, rate=0.5)
        return (*found, *weighted, torch_ops.topk_l2(dense[:3], dense, 4).indices, mask, masks)

    arguments = (panel, DENSE, AF, OBSERVED, EXCLUDE, torch.rand(L))
    on_device = [x.cuda() for x in arguments]
    torch.compiler.reset()
    for function in (step, torch.compile(step, fullgraph=True, backend="aot_eager")):
        for got, expected in zip(function(*on_device), step(*arguments), strict=True):
            assert got.is_cuda
            assert torch.equal(got.cpu(), expected)
    with pytest.raises(TypeError, match=r"^queries must be on cuda:0, as panel, got one on cpu$"):
        torch_ops.topk_hamming(panel[:1], panel.cuda(), 1, num_sites=L)
    with pytest.raises(TypeError, match=r"^bits must be on the CPU, got one on cuda:0$"):
        torch_ops.unpack_haplotypes(panel.cuda(), L)
