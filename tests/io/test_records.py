"""Every kind of record has one rule, and alleles and ploidy are those of the text."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from panel_files import VCF_HEADER, make_panel, unpack_sites, write_panel_vcf, write_vcf
from snvrag.errors import InputError
from snvrag.io.reading import open_haplotypes, read_panel

GOOD = "0|0 0|1 1|1"


def read_all(path, num_sites=1024, **options):
    """Return alleles by site (-1 where missing), positions and the reader."""
    reader = open_haplotypes(path, **options)
    num_haplotypes = int(reader.ploidy.sum())
    rows, positions = [], []
    for block in reader.blocks(num_sites):
        assert 1 <= block.num_sites <= num_sites
        alleles = unpack_sites(block.site_bits, num_haplotypes)
        if block.missing_bits is not None:
            missing = unpack_sites(block.missing_bits, num_haplotypes).astype(bool)
            assert not alleles[missing].any()
            alleles[missing] = -1
        rows += alleles.T.tolist()
        positions += block.position.tolist()
        assert len(block.ids) == len(block.alleles) == block.num_sites
    return rows, positions, reader


@pytest.fixture
def written(tmp_path):
    return lambda *records, **options: write_vcf(tmp_path / "in.vcf", list(records), **options)


DROPPED = [
    ("A", "C,G", "0|0 0|1 1|2", "multi-allelic"),
    ("A", "C", "0|0 0|1 1|2", "multi-allelic"),
    ("AT", "A", GOOD, "not an SNV"),
    ("AC", "GT", GOOD, "not an SNV"),
    ("A", "<DEL>", GOOD, "not an SNV"),
    ("A", ".", "0|0 0|0 0|0", "not an SNV"),
    ("N", "A", GOOD, "not an SNV"),
    ("A", "a", GOOD, "not an SNV"),
    ("A", "C", "0|0 .|. 1|1", "missing genotype"),
    ("A", "C", "0|0 ./. 1|1", "missing genotype"),
    ("A", "C", "0|0 .|1 1|1", "missing genotype"),
    ("A", "C", ". 0|1 1|1", "missing genotype"),
    ("A", "C", ". . .", "missing genotype"),
]


def test_dropped_counted_and_named(written):
    records = [("1", 20 + i, *record[:3]) for i, record in enumerate(DROPPED)]
    first, last = ("1", 10, "A", "C", GOOD), ("1", 90, "G", "T", "1|0 0|0 0|0")
    dropped = []
    rows, positions, reader = read_all(written(first, *records, last), on_drop=dropped.append)
    assert positions == [10, 90]
    assert rows == [[0, 0, 0, 1, 1, 1], [1, 0, 0, 0, 0, 0]]
    assert dropped == [
        ("1", 20 + i, ref, alt, reason) for i, (ref, alt, _, reason) in enumerate(DROPPED)
    ]
    assert str(reader.report).endswith(
        "in.vcf: 15 records, 2 kept, dropped: 6 not an SNV, 5 missing genotype, 2 multi-allelic"
    )


def test_duplicates(written):
    """A record of the same position and alleles as one that was kept before."""
    panel, report = read_panel(
        written(
            ("1", 10, "A", "C", "0|0 .|. 1|1"),  # dropped, so that the next is no duplicate
            ("1", 10, "A", "C", GOOD),
            ("1", 10, "A", "G", "1|0 0|0 0|0"),
            ("1", 10, "a", "c", "1|1 1|1 1|1"),
            ("1", 10, "C", "A", "0|1 0|0 0|0"),
            ("1", 11, "A", "C", "0|0 0|0 0|1"),
        )
    )
    assert panel.position.tolist() == [10, 10, 10, 11]
    assert panel.alleles.tolist() == [["A", "C"], ["A", "G"], ["C", "A"], ["A", "C"]]
    assert dict(report.dropped) == {"missing genotype": 1, "duplicate": 1}
    assert unpack_sites(panel.site_bits, 6)[:, 0].tolist() == [0, 0, 0, 1, 1, 1]


def test_kept(written):
    """Homozygous calls need no phase, letters no case, and other FORMAT fields do not matter."""
    rows, _, reader = read_all(
        written(("1", 10, "a", "T", "0/0 0|1 1/1"), ("1", 20, "A", "C", "0|0:4 0|1 1|1:.", "GT:DP"))
    )
    assert rows == [[0, 0, 0, 1, 1, 1]] * 2
    assert not reader.report.dropped


def test_refused(written):
    for record, words in (
        (("1", 20, "A", "C", "0|0 0/1 1|1"), "sample b has an unphased genotype at 1:20, phase"),
        (("1", 20, "A", "C", "0|0 0|1 1"), "sample c has a haploid genotype at 1:20, diploid"),
        (("1", 20, "A", "C", "0|0|1 0|1 1|1"), "sample a has a genotype of more than two alleles"),
        (("2", 20, "A", "C", GOOD), "two chromosomes, 1 and 2: choose a region"),
        (("1", 9, "A", "C", GOOD), "not sorted, 1:9 comes after 1:10"),
        (("1", 20, "A", "C", "1 2 3", "DP"), "no genotypes (FORMAT/GT) at 1:20"),
        (("1", 20, "A", "C", "1:0|0 2 3:0|1", "DP:GT"), "GT is not the first field"),
    ):
        path = written(("1", 10, "A", "C", GOOD), record)
        with pytest.raises(InputError) as refused:
            read_panel(path)
        assert str(refused.value).startswith(f"{path}: {words}")
        assert "\n" not in str(refused.value)


def test_nothing_left(written):
    for records, told in (([], "0 records"), ([("1", 10, "AT", "C", GOOD)], "1 not an SNV")):
        with pytest.raises(InputError, match=f"no biallelic SNV left.*{told}"):
            read_panel(written(*records))


def test_missing_alleles_are_kept_where_asked(written):
    path = written(
        ("1", 10, "A", "C", GOOD),
        ("1", 20, "A", "C", ".|1 . ./."),
        ("1", 30, "A", "C", "1|. 1|1 0|0"),
    )
    rows, _, reader = read_all(path, missing="keep")
    assert rows == [[0, 0, 0, 1, 1, 1], [-1, 1, -1, -1, -1, -1], [1, -1, 1, 1, 0, 0]]
    assert "4 genotypes missing" in str(reader.report)
    assert read_all(path)[1] == [10]


def unphased_of(path, num_sites=1024):
    """Return alleles by site, and which samples are unphased there, with the reader."""
    rows, _, reader = read_all(path, num_sites, missing="keep", unphased="keep")
    blocks = open_haplotypes(path, missing="keep", unphased="keep").blocks(num_sites)
    num_samples = len(reader.samples)
    flags = [unpack_sites(block.unphased_bits, num_samples).T.tolist() for block in blocks]
    return rows, [row for part in flags for row in part], reader


def test_unphased_heterozygotes_are_kept_where_asked(written):
    """Beside phased, missing and half-missing genotypes, and alleles that the record lacks."""
    path = written(
        ("1", 10, "A", "C", "0/1 0|1 1/1"),
        ("1", 20, "A", "C", "0/0 1/0 0/2"),
        ("1", 30, "A", "C", "./1 .|1 ./."),
        ("1", 40, "A", "C", "1/. 1|. 0/1"),
        ("1", 50, "A", "C", "0/0 1/1 0/0"),
    )
    for size in (1, 2, 1024):
        rows, unphased, reader = unphased_of(path, size)
        assert rows == [
            [0, 1, 0, 1, 1, 1],
            [-1, 1, -1, 1, -1, -1],
            [1, -1, 1, -1, 0, 1],
            [0, 0, 1, 1, 0, 0],
        ]
        assert unphased == [[1, 0, 0], [1, 0, 0], [1, 0, 1], [0, 0, 0]]
    assert str(reader.report).endswith(
        "5 records, 4 kept, dropped: 1 multi-allelic; 5 genotypes missing; 4 unphased"
    )
    with pytest.raises(InputError, match="sample a has an unphased genotype at 1:10"):
        open_haplotypes(path, missing="keep")
    assert next(open_haplotypes(written(("1", 10, "A", "C", GOOD))).blocks()).unphased_bits is None


def test_unphased_haploid_and_missing_samples(written):
    """One of each: haploid, heterozygous nowhere, missing everywhere, half-missing at first."""
    names = ["haploid", "homozygous", "missing", "half"]
    calls = ["0 1/1 ./. ./1", ". 0/0 ./. 0/1", "1 1/1 . 1|0"]
    path = written(*(("1", 10 + i, "A", "C", call) for i, call in enumerate(calls)), samples=names)
    rows, unphased, reader = unphased_of(path)
    assert reader.ploidy.tolist() == [1, 2, 2, 2]
    assert rows == [[0, 1, 1, -1, -1, -1, 1], [-1, 0, 0, -1, -1, 0, 1], [1, 1, 1, -1, -1, 1, 0]]
    assert unphased == [[0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]]
    for call, words in (("1/1 1 1/1 1|0", "haploid has a diploid"), ("1 0 . 0", "a haploid")):
        path = written(("1", 10, "A", "C", calls[0]), ("1", 20, "A", "C", call), samples=names)
        with pytest.raises(InputError, match=f"sample .*{words} genotype at 1:20") as refused:
            unphased_of(path)
        assert "\n" not in str(refused.value)


PHASE_SETS = [
    ("0|1:5 0|1:. 1|1:5", [0, 0, 0]),
    ("1|0:5 0/1:. 0/1:5", [0, 1, 1]),
    ("1|1:9 1|0:7 0|1:8", [0, 1, 0]),  # the first set of b is the one without a number
    ("0|1:9 0|1:. 1|0:8", [1, 0, 0]),
    ("0|1:9 1|0:7 .|0:9", [1, 1, 1]),
    ("1|0:5 0|1:. .|.:9", [0, 0, 0]),
    ("0|0:9 .|1:. 1|0:9", [0, 0, 1]),
]


@pytest.mark.parametrize("kind", ["Integer", "String"])
def test_only_the_first_phase_set_of_a_sample_is_phased(written, kind):
    header = VCF_HEADER + f'##FORMAT=<ID=PS,Number=1,Type={kind},Description="Phase set">\n'
    records = [("1", 10 + i, "A", "C", calls, "GT:PS") for i, (calls, _) in enumerate(PHASE_SETS)]
    # The set of a record that is dropped does not count; "." is also what is not written.
    records.insert(1, ("1", 10, "A", "C", "0|1:1 0|1:1 0|1:1", "GT:PS"))
    records += [("1", 90, "A", "C", "0|1 0|1 0|1"), ("1", 91, "A", "C", "0|1 0|1 0|1", "GT:PS")]
    for size in (2, 1024):
        _, unphased, reader = unphased_of(written(*records, header=header), size)
        assert unphased[: len(PHASE_SETS)] == [expected for _, expected in PHASE_SETS]
        assert unphased[len(PHASE_SETS) :] == [[1, 0, 1]] * 2
        assert reader.report.num_unphased == sum(map(sum, unphased))
    # Where unphased genotypes are refused, phase sets are not looked at.
    assert read_all(written(*records[:1], header=header))[0] == [[0, 1, 0, 1, 1, 1]]


def test_ploidy_is_that_of_the_calls(written):
    panel, _ = read_panel(written(("1", 10, "A", "C", "1 0|1 0"), ("1", 20, "A", "C", "0 1|0 1")))
    assert panel.sample_ploidy.tolist() == [1, 2, 1]
    assert unpack_sites(panel.site_bits, 4).T.tolist() == [[1, 0, 1, 0], [0, 1, 0, 1]]
    assert read_panel(written(("1", 10, "A", "C", "1 0 0")))[0].num_haplotypes == 3
    assert read_panel(written(("1", 10, "A", "C", GOOD)))[0].ploidy is None
    path = written(("1", 10, "A", "C", "0|0 0|1 1"), ("1", 20, "A", "C", "0|0 0|1 0|1"))
    with pytest.raises(InputError, match="sample c has a diploid genotype at 1:20, haploid before"):
        read_panel(path)


def test_ploidy_is_learned_from_the_first_call_that_has_it(written):
    path = written(
        ("1", 10, "A", "C", ". .|. ."),
        ("1", 20, "A", "C", "1 . ."),
        ("1", 30, "A", "C", ". 0|1 ."),
        ("1", 40, "A", "C", "0 1|1 .|."),
    )
    rows, _, reader = read_all(path, 2, missing="keep")
    assert reader.ploidy.tolist() == [1, 2, 2]
    assert rows == [[-1] * 5, [1, -1, -1, -1, -1], [-1, 0, 1, -1, -1], [0, 1, 1, -1, -1]]
    for calls, ploidy in (("1 . 0", 1), (". . .", 2)):
        path = written(("1", 10, "A", "C", calls))
        assert open_haplotypes(path, missing="keep").ploidy.tolist() == [ploidy] * 3
    # A dropped record does not count.
    path = written(("1", 10, "A", "C", ".|. 0 1"), ("1", 20, "A", "C", GOOD))
    assert read_panel(path)[0].ploidy is None


PLOIDY = st.lists(st.integers(1, 2), min_size=1, max_size=70)


@given(st.data(), PLOIDY, st.integers(1, 6), st.integers(1, 7))
def test_any_genotypes_are_those_of_the_text(tmp_path_factory, data, ploidy, num_sites, size):
    allele = st.sampled_from("01.")
    calls = [[[data.draw(allele) for _ in range(p)] for p in ploidy] for _ in range(num_sites)]
    calls[0] = [["1"] * count for count in ploidy]  # so that the first record has all ploidies
    texts = [" ".join("|".join(call) for call in row) for row in calls]
    records = [("1", 10 + s, "A", "C", text) for s, text in enumerate(texts)]
    path = tmp_path_factory.mktemp("any") / "input.vcf"
    write_vcf(path, records, [f"s{i}" for i in range(len(ploidy))])
    rows, _, reader = read_all(path, size, missing="keep")
    assert reader.ploidy.tolist() == ploidy
    assert rows == [
        [-1 if allele == "." else int(allele) for call in row for allele in call] for row in calls
    ]
    complete = [row for row in rows if -1 not in row]
    panel, _ = read_panel(path)
    assert unpack_sites(panel.site_bits, panel.num_haplotypes).T.tolist() == complete


def test_blocks_of_any_size(tmp_path, mosaic_haplotypes):
    for num_sites, sizes in ((8, (1, 2, 3, 7, 8, 9)), (2600, (1023, 1024, 1025))):
        alleles = mosaic_haplotypes(6, num_sites)
        path = write_panel_vcf(tmp_path / "p.vcf", make_panel(alleles), alleles)
        for size in sizes:
            for missing in ("drop", "keep"):
                rows, positions, _ = read_all(path, size, missing=missing)
                assert rows == alleles.T.tolist()
                assert positions == (1000 + 37 * np.arange(num_sites)).tolist()
