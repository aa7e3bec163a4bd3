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


WORDS = torch.zeros((4, 3), dtype=torch.int64)
BROKEN = DENSE.clone().index_fill_(1, torch.tensor([2]), torch.nan)
T, V = TypeError, ValueError


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
    one = {"seed": 3, "window": 8, "rate": 0.4, "generator": generator}
    expected = kernels.af_guided_mask(AF.numpy(), **one)
    assert same(torch_ops.af_guided_mask(AF, **one), expected)
    many = {"seed": 3, "first_window": 5, "generator": generator, "threads": 2}
    many |= {"rate": 0.3, "rare_rate": 0.9, "rare_threshold": 0.2}
    expected = kernels.af_guided_masks(AF.numpy(), STARTS.numpy(), STOPS.numpy(), **many)
    assert same(torch_ops.af_guided_masks(AF, STARTS, STOPS, **many), expected)


@pytest.mark.parametrize("word_type", [torch.int64, torch.uint64])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"observed": OBSERVED},
        {"exclude": EXCLUDE},
        {"observed": OBSERVED, "exclude": EXCLUDE},
        {"observed": OBSERVED, "weights": torch.rand(L)},
    ],
)
def test_topk_hamming(panel, word_type, options):
    given, bits = panel.view(word_type), panel.numpy().view(np.uint64)
    got = torch_ops.topk_hamming(given[:3], given, 4, num_sites=L, threads=2, **options)
    options = {name: value.numpy() for name, value in options.items()}
    expected = kernels.topk_hamming(bits[:3], bits, 4, num_sites=L, **options)
    assert isinstance(got, kernels.TopK)
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
    answer = kernels.TopK(np.zeros((1, 1), np.float32), np.zeros((1, 1), np.int64))
    weights = torch.rand(L)
    with unittest.mock.patch.object(kernels, "topk_hamming", return_value=answer) as kernel:
        torch_ops.topk_hamming(panel[3:4], panel, 1, num_sites=L, weights=weights)
    handed = (*kernel.call_args.args[:2], kernel.call_args.kwargs["weights"])
    for got, given in zip(handed, (panel[3:4], panel, weights), strict=True):
        assert got.ctypes.data == given.data_ptr()


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
        "topk_hamming with weights": (
            operators.topk_hamming,
            (panel[:3], panel, 4, L, OBSERVED, EXCLUDE, torch.rand(L)),
        ),
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
    options = {"queries": panel[:2], "panel": panel, "k": 1, "num_sites": L}
    got = torch.ops.snvrag.topk_hamming(**options)
    with torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True):
        fake = torch.ops.snvrag.topk_hamming(**options, threads=3)
    assert [(x.shape, x.dtype) for x in fake] == [(x.shape, x.dtype) for x in got]


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
    slope = torch.rand(3, 4)

    def loss(queries, database):
        found = torch_ops.topk_l2(queries, database, 4, exclude=EXCLUDE)
        return (found.distances * slope).sum()

    def leaves():
        return [DENSE[:3].clone().add_(0.3).requires_grad_(), DENSE.clone().requires_grad_()]

    queries, database = leaves()
    found = torch_ops.topk_l2(queries, database, 4, exclude=EXCLUDE)
    assert not found.indices.requires_grad
    again = (queries[:, None] - database[found.indices]).square().sum(-1)
    expected = torch.autograd.grad((again * slope).sum(), (queries, database))
    torch.compiler.reset()
    for function in (loss, torch.compile(loss, fullgraph=True, backend="aot_eager")):
        given = leaves()
        for x, y in zip(torch.autograd.grad(function(*given), given), expected, strict=True):
            torch.testing.assert_close(x, y)
    (alone,) = torch.autograd.grad(torch_ops.topk_l2(queries, DENSE, 4)[0].sum(), queries)
    assert alone.shape == queries.shape


def test_a_gradient_that_does_not_exist(panel):
    af, weights = AF.clone().requires_grad_(), torch.rand(L, requires_grad=True)
    assert not torch_ops.af_guided_mask(af, seed=0, window=0, rate=0.5).requires_grad
    found = torch_ops.topk_hamming(panel[:1], panel, 2, num_sites=L, weights=weights)
    with pytest.raises(RuntimeError, match="no autograd formula"):
        found.distances.sum().backward()


# --- errors ---------------------------------------------------------------------------------------


WRONG = [
    (
        "topk_hamming",
        {"queries": WORDS.int()},
        T,
        r"an int64 .*tensor of packed words, got dtype torch.int32$",
    ),
    ("topk_hamming", {"panel": WORDS.double()}, T, "an int64 "),
    ("topk_hamming", {"observed": OBSERVED.int()}, T, ""),
    ("topk_hamming", {"panel": WORDS.t().contiguous().t()}, T, ".*contiguous"),  # never copied
    ("topk_hamming", {"queries": WORDS[:, :2]}, V, r"of 3 words a row \(130 sites\), got 2"),
    ("topk_hamming", {"queries": WORDS.to("meta")}, T, "on cpu, as panel, got one on meta$"),
    (
        "topk_hamming",
        {"k": 4, "exclude": EXCLUDE[:, :1]},
        V,
        r"at most 3 \(4 less 1 excluded\), got 4",
    ),
    ("topk_l2", {"k": 0}, V, "at least 1, got 0"),
    ("topk_l2", {"database": DENSE.double()}, T, "a float32 "),
    ("topk_l2", {"database": BROKEN}, V, r"finite, got nan at \(0, 2\)"),
    ("topk_l2", {"exclude": EXCLUDE.int()}, T, ""),
    ("topk_l2", {"exclude": EXCLUDE.to("meta")}, T, "on cpu, as database, got one on meta$"),
    ("pack_haplotypes", {"alleles": WORDS}, T, ""),
    ("pack_haplotypes", {"alleles": OBSERVED[None].to("meta")}, T, "on the CPU, got one on meta$"),
    ("pack_haplotypes", {"alleles": -OBSERVED[None].to(torch.int8)}, V, "0 or 1, got -1 at "),
    ("unpack_haplotypes", {"bits": WORDS.float()}, T, "an int64 "),
    ("unpack_haplotypes", {"bits": WORDS.to("meta")}, T, "on the CPU, got one on meta$"),
    ("af_guided_mask", {"af": AF.float()}, T, "a float64 "),
    ("af_guided_mask", {"generator": "pcg64"}, V, ""),
    ("af_guided_masks", {"starts": STARTS.to("meta")}, T, "on the CPU, got one on meta$"),
    ("af_guided_masks", {"starts": STOPS, "stops": STARTS}, V, "starts, stops must be ascending"),
]


@pytest.mark.parametrize(("name", "changes", "error", "text"), WRONG)
def test_wrong_arguments(name, changes, error, text):
    good = {
        "topk_hamming": {"queries": WORDS[:3], "panel": WORDS, "k": 1, "num_sites": L},
        "topk_l2": {"queries": DENSE[:3], "database": DENSE, "k": 1},
        "pack_haplotypes": {},
        "unpack_haplotypes": {"num_sites": L},
        "af_guided_mask": {"af": AF, "seed": 0, "window": 0, "rate": 0.5},
        "af_guided_masks": {"af": AF, "starts": STARTS, "stops": STOPS, "seed": 0, "rate": 0.5},
    }
    text = text if " must be " in text else f"{next(iter(changes))} must be {text}"
    with pytest.raises(error, match=f"^{text}"):
        getattr(torch_ops, name)(**{**good[name], **changes})


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
