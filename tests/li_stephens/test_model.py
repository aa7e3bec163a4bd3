"""Genetic maps, and the Li-Stephens models of a panel by them."""

from __future__ import annotations

import gzip
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snvrag.errors import InputError
from snvrag.io.genetic_map import read_genetic_map
from snvrag.kernels import li_stephens_dosage, oracle, pack_haplotypes
from snvrag.li_stephens.model import LiStephensModel
from snvrag.panel.genetic_map import GeneticMap

POSITION = [100, 2_000, 2_000, 50_000]
CM = [0.0, 0.5, 0.75, 2.0]
PLINK = "".join(f"20 . {cm} {bp}\n" for bp, cm in zip(POSITION, CM, strict=True))
SHAPEIT = "".join(f"{bp}\t20\t{cm}\n" for bp, cm in zip(POSITION, CM, strict=True))


@pytest.fixture
def write(tmp_path):
    def _write(text: str, name: str = "chr20.map") -> str:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    return _write


# --- reading maps ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        PLINK,
        SHAPEIT,
        PLINK.replace("20 .", "chr20 rs1"),
        "chr id cM bp\n" + PLINK,
        "pos\tchr\tcM\n" + SHAPEIT,
        "chr20 id cM bp\n" + PLINK,  # a header that begins like a line
        PLINK.replace("\n", "\r\n"),
        "\n" + PLINK.replace("\n", "\n\n"),
        PLINK.removesuffix("\n"),
        "19 . 7 1\n" + PLINK + "21 . 0 1\n21 . 0 7\n",
    ],
)
@pytest.mark.parametrize("chrom", ["20", "chr20"])
def test_formats(write, text, chrom):
    read = read_genetic_map(write(text), chrom)
    assert read.position.dtype == np.int64
    assert read.cm.dtype == np.float64
    assert read.position.tolist() == POSITION
    assert read.cm.tolist() == CM


@pytest.mark.parametrize("chrom", ["X", "chrX"])
@pytest.mark.parametrize("text", ["X . 0. 100\nX . 1.5 200\n", "100 X 0.\n200 X 1.5\n"])
def test_a_first_line_that_is_no_header_counts(write, chrom, text):
    read = read_genetic_map(write(text), chrom)
    assert read.position.tolist() == [100, 200]
    assert read.cm.tolist() == [0, 1.5]


def test_gzipped_whatever_its_name(tmp_path):
    for name in ("map.gz", "map.txt"):
        path = tmp_path / name
        path.write_bytes(gzip.compress(PLINK.encode()))
        assert read_genetic_map(str(path), "20").position.tolist() == POSITION


NEITHER = "neither 'chrom id cM bp' nor 'bp chrom cM'"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "0 lines of chromosome 20, at least 2 needed"),
        ("chr id cM bp\n", "0 lines of chromosome 20"),
        ("20 . 0 1\n", "1 lines of chromosome 20"),
        (PLINK.replace("20 .", "2 ."), "0 lines of chromosome 20"),
        (PLINK + "20 . 3 49999\n", "line 5: position or cM descends"),
        (PLINK + "20 . 1.9 60000\n", "line 5: position or cM descends"),
        (PLINK + "20 3\n", f"line 5 is {NEITHER}"),
        (PLINK + "20 . 3 60000 more\n", f"line 5 is {NEITHER}"),
        (PLINK + "20 . 3 6e4\n", f"line 5 is {NEITHER}"),
        (PLINK + "20 . many 60000\n", f"line 5 is {NEITHER}"),
        (PLINK + "20 . nan 60000\n", f"line 5 is {NEITHER}"),
        (PLINK + "20 . inf 60000\n", f"line 5 is {NEITHER}"),
        (PLINK + "20 . 3 -1\n", f"line 5 is {NEITHER}"),
        (PLINK + f"20 . 3 {2**63}\n", f"line 5 is {NEITHER}"),
        ("20 . 0 1\nchr id cM bp\n", f"line 2 is {NEITHER}"),
        # HapMap's, chrom bp cM/Mb cM
        ("Chromosome bp Rate(cM/Mb) Map(cM)\nchr20 61795 0.29 0.0\n", f"line 2 is {NEITHER}"),
    ],
)  # fmt: skip
def test_errors_name_the_option_the_file_and_the_line(write, text, words):
    path = write(text)
    with pytest.raises(InputError, match=re.escape(f"--genetic-map {path}: {words}")) as refused:
        read_genetic_map(path, "20")
    assert "\n" not in str(refused.value)


def test_files_that_cannot_be_read(tmp_path):
    whole = gzip.compress(PLINK.encode() * 50)
    contents = {
        "truncated": whole[:-20],
        "damaged": whole[:14] + bytes(20) + whole[34:],
        "binary": b"20 . 0 1\n\xff\xfe",
    }
    paths = [tmp_path / "none", tmp_path]
    for name, content in contents.items():
        paths.append(tmp_path / name)
        paths[-1].write_bytes(content)
    for path in paths:
        with pytest.raises(InputError, match=r"^--genetic-map .*: cannot be read \(") as refused:
            read_genetic_map(str(path), "20")
        assert str(path) in str(refused.value)
        assert "\n" not in str(refused.value)


# --- positions on a map ---------------------------------------------------------------------------


def test_linear_within_the_map_and_one_cm_a_mb_beyond():
    genetic = GeneticMap(np.array([1_000_000, 1_000_100, 2_000_000]), np.array([5.0, 5.5, 7.0]))
    places = np.array([0, 500_000, 1_000_000, 1_000_025, 1_000_100, 2_000_000, 4_000_000])
    expected = [4.0, 4.5, 5.0, 5.125, 5.5, 7.0, 9.0]
    np.testing.assert_allclose(genetic.at(places), expected, rtol=1e-12)


@given(
    st.lists(st.tuples(st.integers(0, 10**8), st.floats(0, 300)), min_size=2, max_size=20),
    st.lists(st.integers(0, 3 * 10**8), min_size=1, max_size=50).map(sorted),
)
def test_it_never_descends(points, places):
    position, cm = (np.sort(np.array(column)) for column in zip(*points, strict=True))
    genetic = GeneticMap(position.astype(np.int64), cm)
    got = genetic.at(np.array(places, np.int64))
    assert (np.diff(got) >= -1e-9).all()


# --- the models -----------------------------------------------------------------------------------

NUM_SITES = 90


@pytest.fixture(scope="module")
def alleles(mosaic_haplotypes):
    return mosaic_haplotypes(40, NUM_SITES, seed=4)


@pytest.fixture(scope="module")
def panel(alleles, make_panel):
    return make_panel(alleles, position=10_000 + 3_000 * np.arange(NUM_SITES))


@pytest.mark.parametrize(
    ("flank", "window", "expected"),
    [
        (0, (10, 20), (10, 20)),
        (5, (10, 20), (5, 25)),
        (5, (3, 88), (0, 90)),
        (1000, (10, 20), (0, 90)),
        (-1, (10, 20), (0, 90)),
        (-1, (0, 90), (0, 90)),
    ],
)
def test_sites_that_count_for_a_window(panel, flank, window, expected):
    model = LiStephensModel(panel, ne=(1e4,), mismatch=0.01, flank=flank)
    assert model.with_flank(*window) == expected


@pytest.mark.parametrize("with_map", [False, True])
@pytest.mark.parametrize(("start", "stop"), [(0, NUM_SITES), (10, 75), (40, 41)])
def test_dosage_is_that_of_the_formula(panel, alleles, with_map, start, stop):
    """4 Ne d / H switches in d morgans, for each Ne; oracle in double precision."""
    error = 0.02 if with_map else 2 / 40  # by default 2 / H
    genetic = GeneticMap(np.array([0, 100_000, 150_000]), np.array([1.0, 1.2, 3.0]))
    ne = (1e4, 1e6)
    model = LiStephensModel(
        panel,
        ne=ne,
        mismatch=0.02 if with_map else 0.0,
        genetic_map=genetic if with_map else None,
        flank=0,
    )
    assert model.num_models == 2
    observed = np.random.default_rng(0).random(stop - start) < 0.4
    queries, own = alleles[[3, 8], start:stop], np.array([[2, 3], [-1, -1]])
    missing = np.zeros((2, stop - start), np.int8)
    missing[0, ::4] = 1
    got = model.dosage(
        pack_haplotypes(queries), start, stop, observed, own, pack_haplotypes(missing)
    )
    assert got.dtype == np.float32
    assert got.shape == (2, 2, stop - start)
    bp = panel.position[start:stop]
    morgans = bp * 1e-8  # even, or by halves of that and of the map
    if with_map:
        morgans = (morgans + genetic.at(bp) / 100) / 2
    for q, exclude in enumerate(((2, 3), ())):
        for c, size in enumerate(ne):
            expected = oracle.li_stephens_dosage(
                queries[q],
                alleles[:, start:stop],
                observed & (missing[q] == 0),
                4 * size * morgans / 40,
                error,
                exclude,
            )
            np.testing.assert_allclose(got[q, c], expected, rtol=0, atol=1e-4)


def test_whole_panel_sees_what_a_window_does_not(make_panel):
    """The observed sites far from a window tell who is copied within."""
    alleles = np.random.default_rng(0).integers(0, 2, (40, NUM_SITES)).astype(np.int8)
    panel = make_panel(alleles)
    query = alleles[5:6]
    observed = np.zeros(NUM_SITES, bool)
    observed[60:] = True  # none in the window
    exclude = np.full((1, 1), -1)
    frequency = alleles.mean(0)[:20]
    answers = {}
    for flank in (0, 42, -1):
        model = LiStephensModel(panel, ne=(100.0,), mismatch=0.001, flank=flank)
        first, last = model.with_flank(0, 20)
        bits = pack_haplotypes(query[:, first:last])
        answers[flank] = model.dosage(bits, first, last, observed[first:last], exclude)[0, 0, :20]
    np.testing.assert_allclose(answers[0], frequency, rtol=0, atol=1e-5)
    distance = {flank: np.abs(answer - query[0, :20]).mean() for flank, answer in answers.items()}
    assert distance[-1] < 0.01
    assert min(distance[0], distance[42]) > 0.2


def test_threads_change_nothing(panel, alleles):
    observed = np.arange(NUM_SITES) % 3 == 0
    exclude = np.full((8, 1), -1)
    given = (pack_haplotypes(alleles[:8]), 0, NUM_SITES, observed, exclude)
    one, four = (
        LiStephensModel(panel, ne=(1e5,), mismatch=0.01, flank=0, threads=n).dosage(*given)
        for n in (1, 4)
    )
    assert np.array_equal(one, four)
    direct = li_stephens_dosage(
        given[0],
        panel.site_bits,
        num_haplotypes=40,
        observed=observed,
        cumulative_rho=4e5 * (panel.position - panel.position[0]) * 1e-8 / 40,
        mismatch=0.01,
    )
    np.testing.assert_allclose(one[:, 0], direct, rtol=0, atol=1e-6)
