"""Raw `_core` with wrong arguments of every kind: a TypeError or a ValueError, never a crash."""

from __future__ import annotations

import contextlib
import copy
import copyreg
import itertools
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import frozen, unaligned
from snvrag import _core

U8 = np.uint64
L = 100  # sites, in two words


def index() -> Any:
    return _core.HammingIndex.from_haplotypes(np.zeros((9, 2), U8), L, None)


FOUND = {"k": 2, "exclude": np.full((3, 2), -1), "threads": 1}
LI_STEPHENS: dict[str, Any] = {
    "queries": np.zeros((3, 2), U8),
    "site_bits": np.zeros((L, 2), U8),
    "num_haplotypes": 70,
    "observed": np.ones(L, bool),
    "cumulative_rho": np.arange(L) * 0.1,
    "mismatch": 0.01,
    "exclude": np.full((3, 2), -1),
    "missing": np.zeros((3, 2), U8),
    "threads": 1,
}
STATES = {
    **{
        name: value
        for name, value in LI_STEPHENS.items()
        if name not in ("cumulative_rho", "mismatch")
    },
    "position_cm": np.arange(L) * 0.1,
    "neighbours": 2,
    "step": 8,
    "within_cm": 0.1,
    "queries": np.zeros((4, 2), U8),
    "exclude": np.full((4, 2), -1),
    "missing": np.zeros((4, 2), U8),
    "unphased": np.zeros((2, 2), U8),
    "group_size": 2,
}
OVER_STATES = {
    "haplotype_bits": np.zeros((70, 2), U8),
    "states": None,
    **{k: v for k, v in LI_STEPHENS.items() if k not in ("site_bits", "num_haplotypes")},
}
LI_STEPHENS_FUNCTIONS = (
    "li_stephens_dosage",
    "li_stephens_events",
    "li_stephens_evidence",
    "sample_phasings",
)
# Every raw function with good arguments, one of which each test spoils.
CALLS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "pack_rows": (_core.pack_rows, {"alleles": np.zeros((5, L), np.int8)}),
    "unpack_rows": (_core.unpack_rows, {"bits": np.zeros((5, 2), U8), "num_sites": L}),
    "transpose_bits": (_core.transpose_bits, {"bits": np.zeros((5, 2), U8), "num_columns": L}),
    "gather_columns": (
        _core.gather_columns,
        {"bits": np.zeros((70, 2), U8), "start": 0, "stop": 70, "columns": np.arange(9)},
    ),
    "gather_alleles": (
        _core.gather_alleles,
        {
            "bits": np.zeros((70, 2), U8),
            "start": 0,
            "stop": 70,
            "columns": np.arange(9),
            "out": np.zeros((9, 70), np.uint8),
        },
    ),
    "read_genotypes": (
        _core.read_genotypes,
        {
            "codes": np.full((70, 2), 2, np.int32),
            "ploidy": np.zeros(70, np.uint8),
            "alleles": np.zeros(3, U8),
            "missing": np.zeros(3, U8),
            "unphased": np.zeros(2, U8),
        },
    ),
    "imputed_records": (
        _core.imputed_records,
        {
            "heads": b"1\t7\n1\t8\n",
            "hap_dosage": np.zeros((2, 6), np.uint16),
            "haploid": np.zeros(3, bool),
            "hom_alt": np.zeros((2, 3), np.uint16),
            "phase_set": np.zeros((2, 3), np.int32),
        },
    ),
    "phased_records": (
        _core.phased_records,
        {
            "heads": b"1\t7\n1\t8\n",
            "alleles": np.zeros((2, 2), U8),
            "missing": np.zeros((2, 2), U8),
            "haploid": np.zeros(40, bool),
            "phase_set": np.zeros((2, 40), np.int32),
        },
    ),
    "topk_l2": (
        _core.topk_l2,
        {
            "queries": np.zeros((3, 7), np.float32),
            "database": np.zeros((9, 7), np.float32),
            **FOUND,
        },
    ),
    "head_log_odds": (
        _core.head_log_odds,
        {
            "evidence": np.zeros((9, 7), np.float32),
            "mean": np.zeros(7, np.float32),
            "scale": np.ones(7, np.float32),
            "hidden_weight": np.zeros((7, 5), np.float32),
            "hidden_bias": np.zeros(5, np.float32),
            "output_weight": np.zeros(5, np.float32),
            "output_bias": 0.5,
            "threads": 1,
        },
    ),
    "from_haplotypes": (
        _core.HammingIndex.from_haplotypes,
        {"panel": np.zeros((9, 2), U8), "num_sites": L, "observed": np.ones(L, bool)},
    ),
    "from_sites": (
        _core.HammingIndex.from_sites,
        {"site_bits": np.zeros((L, 2), U8), "num_haplotypes": 70, "observed": np.ones(L, bool)},
    ),
    "search": (
        lambda **keywords: index().search(**keywords),
        {
            "queries": np.zeros((3, 2), U8),
            "weights": np.ones(L, np.float32),
            **FOUND,
        },
    ),
    "li_stephens_dosage": (_core.li_stephens_dosage, LI_STEPHENS),
    "li_stephens_events": (_core.li_stephens_events, OVER_STATES),
    "li_stephens_evidence": (
        _core.li_stephens_evidence,
        {**OVER_STATES, "sites": np.arange(L), "alt_count": np.arange(L) % 71},
    ),
    "retrieve_states": (_core.retrieve_states, STATES),
    "sample_phasings": (
        _core.sample_phasings,
        {
            **OVER_STATES,
            "queries": np.zeros((6, 2), U8),
            "missing": np.zeros((6, 2), U8),
            "keys": np.zeros(3, U8),
            "first_rank": 0,
            "unphased": np.zeros((3, 2), U8),
            "switch_error": 0.1,
            "draws": 2,
        },
    ),
}

ARRAYS = [(f, a) for f, (_, good) in CALLS.items() for a, v in good.items() if np.ndim(v)]
NUMBERS = [(f, a) for f, (_, good) in CALLS.items() for a, v in good.items() if not np.ndim(v)]
OPTIONAL = {
    *(
        (f, a)
        for f in ("topk_l2", "search", "retrieve_states", *LI_STEPHENS_FUNCTIONS)
        for a in ("exclude", "threads")
    ),
    *((f, "observed") for f in ("from_haplotypes", "from_sites")),
    ("search", "weights"),
    *((f, "states") for f in LI_STEPHENS_FUNCTIONS[1:]),
    *((f, "missing") for f in ("retrieve_states", *LI_STEPHENS_FUNCTIONS)),
    ("retrieve_states", "unphased"),
    ("head_log_odds", "threads"),
    ("sample_phasings", "unphased"),
    *(("imputed_records", name) for name in ("hom_alt", "phase_set")),
}
FLOATS = {"decay_sites", "mismatch", "output_bias", "switch_error", "within_cm"}


def call(function: str, **changed: Any) -> Any:
    made, good = CALLS[function]
    return made(**{**good, **changed})


def refuses(function: str, text: str, **changed: Any) -> None:
    with pytest.raises(TypeError, match=f"^{text}$"):
        call(function, **changed)


def test_every_raw_function_is_spoiled():
    raw = {name for name in dir(_core) if not name.startswith("_")}
    index = {"from_haplotypes", "from_sites", "search"}
    others = {"HammingIndex", "commit", "compiler", "simd_level", "simd_levels", "set_simd_level"}
    assert set(CALLS) == (raw - others) | index


def wrong_kinds(array: np.ndarray) -> dict[str, Any]:
    """Return what is no such array: a TypeError each, whatever its shape."""
    pool = np.dtype([("a", "i4")])
    others = [np.float64, np.float16, np.int32, np.complex64, object, "S8", "M8[s]", pool]
    wrong: dict[str, Any] = {
        f"dtype {d}": np.zeros(array.shape, d) for d in others if array.dtype != d
    }
    if array.dtype.itemsize > 1:
        wrong["the other byte order"] = array.astype(array.dtype.newbyteorder())
    return {
        **wrong,
        "list": array.tolist(),
        "tuple": tuple(array.tolist()),
        "str": "panel",
        "bytes": array.tobytes(),
        "memoryview": memoryview(array.copy()),
        "int": 3,
        "float": 3.0,
        "class": np.ndarray,
        "object": object(),
        "scalar": array.dtype.type(1),
    }


@pytest.mark.parametrize(("function", "argument"), ARRAYS)
def test_what_is_no_such_array(function, argument):
    for name, value in wrong_kinds(CALLS[function][1][argument]).items():
        with pytest.raises(TypeError):
            pytest.fail(f"took {name}: {call(function, **{argument: value})}")


@pytest.mark.parametrize(("function", "argument"), ARRAYS + NUMBERS)
def test_none(function, argument):
    refused = (
        contextlib.nullcontext() if (function, argument) in OPTIONAL else pytest.raises(TypeError)
    )
    with refused:
        call(function, **{argument: None})


@pytest.mark.parametrize(("function", "argument"), ARRAYS)
def test_wrong_number_of_axes(function, argument):
    good = CALLS[function][1][argument]
    fewer = [good.ravel()] if good.ndim == 2 else []
    for value in (good.ravel()[0:1].reshape(()), good[None], good[None, None], *fewer):
        with pytest.raises(ValueError, match=f"^{argument} must be .*, got shape "):
            call(function, **{argument: value})


WRITTEN = {f"{name} of read_genotypes" for name in ("ploidy", "alleles", "missing", "unphased")}
WRITTEN.add("out of gather_alleles")
FREE = {
    "alleles of pack_rows": {0, 1},
    "bits of unpack_rows": {0},
    "bits of transpose_bits": {0},
    "bits of gather_columns": {0, 1},
    "columns of gather_columns": {0},
    "bits of gather_alleles": {0, 1},
    "codes of read_genotypes": {1},
    "evidence of head_log_odds": {0},
    "database of topk_l2": {0},
    "exclude of topk_l2": {1},
    "exclude of search": {1},
    "exclude of li_stephens_dosage": {1},
    "exclude of li_stephens_events": {1},
    "exclude of li_stephens_evidence": {1},
    "exclude of sample_phasings": {1},
    "haplotype_bits of li_stephens_events": {0},
    "haplotype_bits of li_stephens_evidence": {0},
    "haplotype_bits of sample_phasings": {0},
    "exclude of retrieve_states": {1},
    "panel of from_haplotypes": {0},
}


@pytest.mark.parametrize(("function", "argument"), ARRAYS)
def test_a_row_or_a_column_more_or_less(function, argument):
    good = CALLS[function][1][argument]
    for axis, length in enumerate(good.shape):
        is_free = axis in FREE.get(f"{argument} of {function}", ())
        for size in {0, 1, length - 1, length + 1, 3 * length} - {length}:
            shape = (*good.shape[:axis], size, *good.shape[axis + 1 :])
            refused = pytest.raises(ValueError, match=" must be ")
            with contextlib.suppress(ValueError) if is_free else refused:
                call(function, **{argument: np.zeros(shape, good.dtype)})


@pytest.mark.parametrize(("function", "argument"), ARRAYS)
def test_memory_of_any_layout(function, argument):
    good = CALLS[function][1][argument]
    wide = np.repeat(good, 2, axis=-1)
    views = [wide[..., ::2], wide[..., ::-2], np.broadcast_to(good[..., :1], good.shape)]
    views += [np.asfortranarray(good)] * (good.ndim == 2)
    for view in views:
        if function == "pack_rows" or view.flags.c_contiguous:
            call(function, **{argument: view})
        else:
            refuses(function, r".* must be .*contiguous.*", **{argument: view})
    if good.dtype.itemsize == 1:
        call(function, **{argument: unaligned(good)})
    else:
        text = f"{argument} must be .*, got unaligned memory"
        refuses(function, text, **{argument: unaligned(good)})
    if f"{argument} of {function}" in WRITTEN:
        refuses(function, f"{argument} must be a writeable array.*", **{argument: frozen(good)})
    else:
        call(function, **{argument: frozen(good)})
    if good.ndim == 2 and good.dtype.itemsize > 1:  # rows a broken number of values apart
        row, size = good.shape[1] * good.dtype.itemsize, good.dtype.itemsize
        memory = np.zeros((good.shape[0] + 1) * (row + size), np.uint8).view(good.dtype)
        shape, strides = (max(2, good.shape[0]), good.shape[1]), (row + size // 2, size)
        view = np.lib.stride_tricks.as_strided(memory, shape, strides, writeable=False)
        with pytest.raises((TypeError, ValueError), match=f"^{argument} must be "):
            call(function, **{argument: view})


HUGE = [-1, -(2**31), -(2**63), 2**31, 2**32, 2**40, 2**62, 2**63 - 1, 2**63, 2**64, 2**200]


@pytest.mark.parametrize(("function", "argument"), NUMBERS)
def test_numbers_out_of_range_and_no_numbers(function, argument):
    words: list[Any] = ["1", [1], object(), 1j, np.zeros(2, int)]
    if argument in FLOATS:
        for value in (1e-30, 1e300, float("inf"), 1, np.float32(2)):
            call(function, **{argument: value})
        for value in (0.0, -1.0, float("nan"), -float("inf")):
            if argument != "decay_sites":  # any number is safe
                call(function, **{argument: value})
                continue
            with pytest.raises(ValueError, match="decay_sites"):
                call(function, decay_sites=value)
    else:
        words += [1.0, np.float64(1)]
        for value in HUGE:
            with pytest.raises((TypeError, ValueError)):
                pytest.fail(f"took {value}: {call(function, **{argument: value})}")
    for value in words:
        with pytest.raises(TypeError):
            pytest.fail(f"took {value!r}: {call(function, **{argument: value})}")


@pytest.mark.parametrize("function", CALLS)
def test_missing_and_unknown_arguments(function):
    made, good = CALLS[function]
    call(function)
    with pytest.raises(TypeError):
        made(**good, unheard_of=1)
    for argument in good:
        with pytest.raises(TypeError):
            made(**{name: value for name, value in good.items() if name != argument})


# --- single functions ----------------------------------------------------------------------------


def test_gathered_rows_and_columns_out_of_range():
    for start, stop in ((-1, 5), (5, 4), (0, 71), (71, 71), (-(2**62), 2**62), (0, 2**63 - 1)):
        with pytest.raises(ValueError, match=r"^start, stop must be a range within 70 rows, got "):
            call("gather_columns", start=start, stop=stop)
    for column in (-1, 128, 2**31, -(2**63), 2**63 - 1):
        text = f"^columns must be indices below 128, got {column} at 2$"
        with pytest.raises(ValueError, match=text):
            call("gather_columns", columns=np.array([0, 127, column]))


@pytest.mark.parametrize("value", [-2, 70, 2**31, 2**32, 2**63 - 1, -(2**63)])
@pytest.mark.parametrize(
    "function", ["search", "topk_l2", "retrieve_states", *LI_STEPHENS_FUNCTIONS]
)
def test_an_excluded_index_out_of_range_excludes_nothing(function, value):
    """The public functions refuse it; here it must not lead to any memory."""
    exclude = np.full_like(CALLS[function][1]["exclude"], -1)
    expected = call(function, exclude=exclude)
    exclude[2, 1] = value
    got = call(function, exclude=exclude)
    assert all(map(np.array_equal, got, expected))


def test_everything_excluded():
    exclude = np.tile(np.arange(70), (3, 1))
    for function in ("search", "topk_l2"):
        assert [x.shape for x in call(function, k=9, exclude=exclude)] == [(3, 9)] * 2
    assert call("li_stephens_dosage", exclude=exclude).shape == (3, L)
    assert call("li_stephens_events", exclude=exclude)[0].shape == (L - 1,)
    assert call("li_stephens_evidence", exclude=exclude).shape[:2] == (3, L)
    states = {"queries": np.repeat(U8([0, -1 % 2**64, 0, -1 % 2**64]), 2).reshape(4, 2)}
    states |= {"unphased": np.full((2, 2), -1 % 2**64, U8), "exclude": exclude[[0, 0, 0, 0]]}
    assert call("retrieve_states", **states)[2].shape == (0,)
    states["exclude"][:3] = -1  # of one sample, one query has haplotypes and one none
    assert call("retrieve_states", **states)[2].max() < 70


def test_weights_and_positions_of_any_value():
    for value in (np.nan, np.inf, -np.inf, -1.0, 3e38):
        distances, indices = call("search", weights=np.full(L, value, np.float32))
        assert np.isnan(distances).all()
        assert indices.tolist() == [[0, 1]] * 3
        for function in LI_STEPHENS_FUNCTIONS:
            call(function, cumulative_rho=np.full(L, value))
        call("retrieve_states", position_cm=np.full(L, value))
    assert call("li_stephens_dosage", cumulative_rho=-np.arange(L) * 1.0).shape == (3, L)
    assert call("li_stephens_events", cumulative_rho=-np.arange(L) * 1.0)[0].shape == (L - 1,)
    assert call("li_stephens_evidence", cumulative_rho=-np.arange(L) * 1.0).shape[:2] == (3, L)
    for order in (-np.arange(L) * 1.0, np.random.default_rng(0).random(L)):
        states = call("retrieve_states", position_cm=order)[2]
        assert ((states >= 0) & (states < 70)).all()


def test_genotypes_do_not_write_where_they_may_not():
    for argument, size in itertools.product(("alleles", "missing", "unphased"), (1, 4)):
        out = np.zeros(size, U8)
        with pytest.raises(ValueError, match=f"^{argument} must be "):
            call("read_genotypes", codes=np.full((70, 2), 4, np.int32), **{argument: out})
        assert not out.any()


def test_zero_sized_everything():
    def zeros(*shape: int, dtype: Any = U8) -> np.ndarray:
        return np.zeros(shape, dtype)

    pack, unpack, transpose = _core.pack_rows, _core.unpack_rows, _core.transpose_bits
    for rows in (0, 3):
        assert pack(zeros(rows, 0, dtype=np.int8)).shape == (rows, 0)
        assert unpack(zeros(rows, 0), 0).shape == (rows, 0)
        assert transpose(zeros(rows, 0), 0).shape == (0, (rows + 63) // 64)
        floats = zeros(rows, 0, dtype=np.float32), zeros(3, 0, dtype=np.float32)
        assert _core.topk_l2(*floats, 2, None, 4)[1].tolist() == [[0, 1]] * rows
    assert pack(zeros(0, 65, dtype=np.int8)).shape == (0, 2)
    assert unpack(zeros(0, 2), 65).shape == (0, 65)
    assert transpose(zeros(0, 2), 65).shape == (65, 0)
    assert _core.gather_columns(zeros(0, 0), 0, 0, zeros(0, dtype=int)).shape == (0, 0)
    assert _core.gather_columns(zeros(5, 2), 5, 5, np.arange(3)).shape == (3, 0)
    for samples, ploidy, words, at, expected in ((0, 2, 0, 0, -1), (3, 0, 1, 4, 3)):
        codes = zeros(samples, ploidy, dtype=np.int32)
        out = zeros(samples, dtype=np.uint8), zeros(words), zeros(words), zeros(words)
        assert _core.read_genotypes(codes, *out)[at] == expected
    for made in (
        _core.HammingIndex.from_haplotypes(zeros(3, 0), 0, zeros(0, dtype=bool)),
        _core.HammingIndex.from_sites(zeros(0, 1), 3, zeros(0, dtype=bool)),
    ):
        assert (made.num_haplotypes, made.num_sites, made.num_observed) == (3, 0, 0)
        assert made.search(zeros(2, 0), 3, None, None, 4)[1].tolist() == [[0, 1, 2]] * 2
        none = made.search(zeros(0, 0), 1, zeros(0, 4, dtype=int), None, 4)
        assert none[1].shape == (0, 1)


def test_more_threads_than_work():
    for threads in (1, 2, 7, 100, 4096):
        assert call("search", k=9, exclude=None, threads=threads)[1].tolist() == [[*range(9)]] * 3
        assert call("topk_l2", exclude=None, threads=threads)[1].tolist() == [[0, 1]] * 3


def test_an_index_is_made_by_its_two_functions_alone():
    kind = _core.HammingIndex
    for make in (kind, lambda: kind.__new__(kind), lambda: copyreg.__newobj__(kind)):
        with pytest.raises(TypeError, match="No constructor defined"):
            make()
    for base in kind.__mro__[1:]:
        with pytest.raises(TypeError, match="is not safe, use "):
            base.__new__(kind)
    with pytest.raises(TypeError, match="not an acceptable base type"):
        type("Other", (kind,), {"__init__": lambda self: None})
    made = index()
    for name in ("num_haplotypes", "num_sites", "num_observed", "num_bytes"):
        with pytest.raises(AttributeError):
            setattr(made, name, 1 << 40)
    for copied in (copy.deepcopy, copy.copy, pickle.dumps):
        with pytest.raises(TypeError):
            copied(made)


def test_search_of_something_else():
    for other in (None, object(), np.zeros(3), _core.HammingIndex):
        with pytest.raises(TypeError):
            _core.HammingIndex.search(other, np.zeros((1, 2), U8), 1, None, None, None)


dtypes = st.sampled_from([U8, np.int64, np.float32, np.int8, np.bool_, np.int16, np.uint8])
shapes = st.lists(st.integers(0, 4), min_size=0, max_size=3)
large = st.integers(-(2**66), 2**66).filter(lambda n: abs(n) > 2**20)
arrays = st.builds(np.ones, shapes, dtypes)
views = st.builds(np.ones, shapes.filter(len), dtypes)
strange = st.one_of(
    *(st.none(), st.integers(-3, 300), large, st.floats(), arrays),
    *(views.map(lambda a: a.T[::-1]), views.map(lambda a: a[..., ::2])),
)


@settings(max_examples=150)
@pytest.mark.parametrize("function", CALLS)
@given(st.data())
def test_anything_at_all(function, data):
    good = CALLS[function][1]
    names = data.draw(st.lists(st.sampled_from(sorted(good)), min_size=1, unique=True))
    changed = {name: data.draw(strange, label=name) for name in names}
    with contextlib.suppress(TypeError, ValueError):
        call(function, **changed)
