"""The stream of blocks: genotypes, ploidy and what was dropped, against a text that says it all."""

from __future__ import annotations

import tracemalloc
from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snvrag import _core
from snvrag.errors import InputError
from snvrag.io.reading import RecordReader, collect_panel, open_haplotypes, read_panel

GOOD = "0|0 0|1 1|1"


def unpacked(bits: np.ndarray, num_haplotypes: int) -> list[list[int]]:
    """(n, H) alleles of rows of bits, behind which no bit is set."""
    rows = _core.unpack_rows(bits, 64 * bits.shape[1])
    assert not rows[:, num_haplotypes:].any()
    return rows[:, :num_haplotypes].tolist()


def read_all(path, num_sites=1024, **options):
    """Alleles (-1 where missing) by haplotype, positions, reader."""
    reader = open_haplotypes(path, **options)
    num_haplotypes = int(reader.ploidy.sum())
    rows, positions = [], []
    for block in reader.blocks(num_sites):
        assert 1 <= block.num_sites <= num_sites
        assert block.site_bits.shape == (block.num_sites, (num_haplotypes + 63) // 64)
        alleles = np.array(unpacked(block.site_bits, num_haplotypes))
        if block.missing_bits is not None:
            missing = np.array(unpacked(block.missing_bits, num_haplotypes), bool)
            assert not alleles[missing].any()
            alleles[missing] = -1
        rows += alleles.tolist()
        positions += block.position.tolist()
        assert len(block.ids) == len(block.alleles) == block.num_sites
    return rows, positions, reader


@pytest.fixture
def written(tmp_path, write_vcf):
    def write(*records, **options):
        return write_vcf(tmp_path / "input.vcf", list(records), **options)

    return write


# --- what a reader tells --------------------------------------------------------------------------


def test_a_reader_tells_samples_ploidy_chromosome_and_length(written):
    path = written(("1", 10, "a", "c", GOOD), ("1", 30, "G", "T", "1|0 0|0 0|0"))
    reader = open_haplotypes(path)
    assert reader.samples == ("a", "b", "c")
    assert reader.ploidy.tolist() == [2, 2, 2]
    assert reader.ploidy.dtype == np.int64
    assert reader.chrom == "1"
    assert reader.contig_length == 1_000_000
    (block,) = reader.blocks()
    assert block.position.dtype == np.int64
    assert block.position.tolist() == [10, 30]
    assert block.alleles.tolist() == [["A", "C"], ["G", "T"]]
    assert block.alleles.dtype == "<U1"
    assert block.ids == [".", "."]
    assert block.missing_bits is None
    assert list(reader.blocks()) == []


def test_ids_and_a_contig_without_a_length(tmp_path):
    path = tmp_path / "input.vcf"
    path.write_text(
        "##fileformat=VCFv4.2\n##contig=<ID=10,length=7>\n##contig=<ID=1>\n"
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
        "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\ts\n"
        "1\t5\trs7\tA\tC\t.\t.\t.\tGT\t0|1\n1\t6\t.\tA\tC\t.\t.\t.\tGT\t0|1\n"
        "1\t7\ta;b\tA\tC\t.\t.\t.\tGT\t0|1\n"
    )
    reader = open_haplotypes(path)
    assert reader.contig_length is None
    assert next(reader.blocks()).ids == ["rs7", ".", "a;b"]


@pytest.mark.parametrize("num_sites", [1, 2, 3, 7, 8, 9, 100])
@pytest.mark.parametrize("keep", ["drop", "keep"])
def test_blocks_of_any_size(
    tmp_path, make_panel, write_panel_vcf, mosaic_haplotypes, num_sites, keep
):
    alleles = mosaic_haplotypes(6, 8)
    path = write_panel_vcf(tmp_path / "p.vcf", make_panel(alleles), alleles)
    rows, positions, _ = read_all(path, num_sites, missing=keep)
    assert rows == alleles.T.tolist()
    assert positions == (1000 + 37 * np.arange(8)).tolist()


def test_every_dropped_site_is_named(written):
    path = written(
        ("1", 10, "A", "C", GOOD),
        ("1", 10, "A", "C", GOOD),
        ("1", 20, "A", "C,G", "0|0 0|1 1|2"),
        ("1", 30, "AT", "A", GOOD),
        ("1", 40, "A", ".", "0|0 0|0 0|0"),
        ("1", 50, "G", "T", "0|0 .|0 0|0"),
        ("1", 60, "G", "T", "0|0 0|1 2|0"),
    )
    dropped = []
    _, positions, reader = read_all(path, on_drop=dropped.append)
    assert positions == [10]
    assert dropped == [
        ("1", 10, "A", "C", "duplicate"),
        ("1", 20, "A", "C,G", "multi-allelic"),
        ("1", 30, "AT", "A", "not an SNV"),
        ("1", 40, "A", ".", "not an SNV"),
        ("1", 50, "G", "T", "missing genotype"),
        ("1", 60, "G", "T", "multi-allelic"),
    ]
    assert reader.report.num_records == 7
    assert sum(reader.report.dropped.values()) == 6


# --- missing and unphased genotypes ---------------------------------------------------------------


def test_missing_alleles_are_kept_where_asked(written):
    path = written(
        ("1", 10, "A", "C", GOOD),
        ("1", 20, "A", "C", ".|1 . ./."),
        ("1", 30, "A", "C", "1|. 1|1 0|0"),
    )
    rows, _, reader = read_all(path, missing="keep")
    assert rows == [[0, 0, 0, 1, 1, 1], [-1, 1, -1, -1, -1, -1], [1, -1, 1, 1, 0, 0]]
    assert reader.report.num_missing == 4
    assert "4 genotypes missing" in str(reader.report)
    assert read_all(path)[1] == [10]


def test_unphased_heterozygotes_are_hidden_where_asked(written):
    path = written(("1", 10, "A", "C", "0/1 0|1 1/1"), ("1", 20, "A", "C", "0/0 1/0 0/1"))
    rows, _, reader = read_all(path, missing="keep", unphased="hide")
    assert rows == [[-1, -1, 0, 1, 1, 1], [0, 0, -1, -1, -1, -1]]
    assert reader.report.num_unphased == 3
    assert reader.report.num_missing == 0
    assert "3 unphased genotypes hidden" in str(reader.report)
    with pytest.raises(InputError, match=r"sample a has an unphased .* 1:10, phase the file first"):
        open_haplotypes(path, missing="keep")


def test_unphased_records_are_dropped_where_neither_is_kept(written):
    path = written(("1", 10, "A", "C", "0/1 0|1 1/1"), ("1", 20, "A", "C", GOOD))
    _, positions, reader = read_all(path, unphased="hide")
    assert positions == [20]
    assert reader.report.dropped == {"unphased genotype": 1}


# --- haploid samples ------------------------------------------------------------------------------


def test_a_haploid_sample_is_one_haplotype(written):
    path = written(("1", 10, "A", "C", "1 0|1 0"), ("1", 20, "A", "C", "0 1|0 1"))
    panel, _ = read_panel(path)
    assert panel.sample_ploidy.tolist() == [1, 2, 1]
    assert panel.num_haplotypes == 4
    assert unpacked(panel.site_bits, 4) == [[1, 0, 1, 0], [0, 1, 0, 1]]
    assert panel.haplotypes_of(np.array([0, 1, 2])).tolist() == [[0, 0], [1, 2], [3, 3]]


def test_all_haploid(written):
    panel, _ = read_panel(written(("1", 10, "A", "C", "1 0 0"), ("1", 20, "A", "C", "0 0 1")))
    assert panel.num_haplotypes == 3
    assert unpacked(panel.site_bits, 3) == [[1, 0, 0], [0, 0, 1]]


def test_diploid_panels_say_nothing_of_ploidy(written):
    panel, _ = read_panel(written(("1", 10, "A", "C", GOOD)))
    assert panel.ploidy is None


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ("0|0 0|1 1", "0|0 0|1 0|1", "sample c has a diploid genotype at 1:20, haploid before"),
        ("0|0 0|1 1", "0|0 1 1", "sample b has a haploid genotype at 1:20, diploid before"),
    ],
)
def test_ploidy_that_changes(written, first, second, words):
    path = written(("1", 10, "A", "C", first), ("1", 20, "A", "C", second))
    with pytest.raises(InputError, match=words):
        read_panel(path)


def test_ploidy_is_learned_from_the_first_call_that_tells(written):
    path = written(
        ("1", 10, "A", "C", ". .|. ."),
        ("1", 20, "A", "C", "1 . ."),
        ("1", 30, "A", "C", ". 0|1 ."),
        ("1", 40, "A", "C", "0 1|1 .|."),
    )
    rows, _, reader = read_all(path, 2, missing="keep")
    assert reader.ploidy.tolist() == [1, 2, 2]
    assert rows == [[-1] * 5, [1, -1, -1, -1, -1], [-1, 0, 1, -1, -1], [0, 1, 1, -1, -1]]


def test_samples_never_called_are_haploid_among_haploids(written):
    path = written(("1", 10, "A", "C", "1 . 0"))
    assert open_haplotypes(path, missing="keep").ploidy.tolist() == [1, 1, 1]
    path = written(("1", 10, "A", "C", ". . ."))
    assert open_haplotypes(path, missing="keep").ploidy.tolist() == [2, 2, 2]


def test_a_dropped_record_does_not_tell_the_ploidy(written):
    path = written(("1", 10, "A", "C", ".|. 0 1"), ("1", 20, "A", "C", GOOD))
    assert read_panel(path)[0].ploidy is None


ALLELE = st.sampled_from("01.")
PLOIDY = st.lists(st.integers(1, 2), min_size=1, max_size=70)


@given(st.data(), PLOIDY, st.integers(1, 6), st.integers(1, 7))
def test_any_genotypes_are_those_of_the_text(
    tmp_path_factory, write_vcf, data, ploidy, sites, size
):
    calls = [[[data.draw(ALLELE) for _ in range(count)] for count in ploidy] for _ in range(sites)]
    calls[0] = [["1"] * count for count in ploidy]  # so that the first record tells all ploidies
    records = [
        ("1", 10 + s, "A", "C", " ".join("|".join(call) for call in row))
        for s, row in enumerate(calls)
    ]
    path = tmp_path_factory.mktemp("any") / "input.vcf"
    write_vcf(path, records, [f"s{i}" for i in range(len(ploidy))])
    rows, _, reader = read_all(path, size, missing="keep")
    assert reader.ploidy.tolist() == ploidy
    assert rows == [
        [-1 if allele == "." else int(allele) for call in row for allele in call] for row in calls
    ]
    complete = [row for row in rows if -1 not in row]
    panel, _ = read_panel(path)
    assert unpacked(panel.site_bits, panel.num_haplotypes) == complete


# --- memory ---------------------------------------------------------------------------------------


class EndlessSource:
    """A file of so many sites that exists only as one record's genotypes."""

    path = "fake.vcf"

    def __init__(self, num_samples: int, num_sites: int) -> None:
        self.samples = tuple(f"s{i}" for i in range(num_samples))
        self._codes = np.full((num_samples, 2), 5, np.int32)
        self._num_sites = num_sites

    def records(self):
        for position in range(1, self._num_sites + 1):
            yield "1", position, None, "A", ["C"], None

    def codes(self, handle):
        return self._codes

    def contig_length(self, chrom):
        return None

    def quiet(self):
        return nullcontext()


def test_memory_while_reading():
    """5,008 haplotypes x 337,000 sites are 213 MB of bits, and may take 260 MB: 1.22 of them."""
    source = EndlessSource(2504, 30_000)
    tracemalloc.start()
    try:
        panel = collect_panel(RecordReader(source))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert panel.num_sites == 30_000
    assert int(panel.site_bits[-1, 0]) == 2**64 - 1
    assert peak < 1.2 * panel.site_bits.nbytes
