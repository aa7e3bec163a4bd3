"""HDF5 and VCF Zarr are read as a VCF of the same records is."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from array_files import RECORDS, SAMPLES, write_hdf5, write_zarr
from panel_files import write_vcf
from snvrag.errors import InputError
from snvrag.io import arrays as array_source
from snvrag.io.reading import open_haplotypes, read_panel

WRITERS = {"hdf5": write_hdf5, "zarr": write_zarr}


@pytest.fixture(params=list(WRITERS))
def write(request, tmp_path):
    """Return the function that writes a file of one of the formats."""
    return lambda *given, **named: WRITERS[request.param](tmp_path / "panel", *given, **named)


@pytest.fixture
def vcf(tmp_path) -> Path:
    return write_vcf(
        tmp_path / "same.vcf",
        [("X", p, a[0], ",".join(a[1:]) or ".", calls) for p, _, a, calls in RECORDS],
        SAMPLES,
    )


def content(path: Path, **options) -> list:
    """All that a reader gives but IDs, which the VCF does not have."""
    dropped = []
    reader = open_haplotypes(path, on_drop=dropped.append, **options)
    blocks = list(reader.blocks(3))
    names = ["position", "alleles", "site_bits"] + ["missing_bits"] * ("missing" in options)
    arrays = [np.concatenate([getattr(b, name) for b in blocks]).tolist() for name in names]
    report = reader.report
    file = [reader.samples, reader.ploidy.tolist(), reader.chrom]
    return [*file, arrays, dropped, report.num_records, dict(report.dropped), report.num_missing]


def test_the_same_as_a_vcf(write, vcf, monkeypatch):
    path = write()
    for options in ({}, {"missing": "keep"}):
        for max_bytes in (1, 13, 1 << 20):
            monkeypatch.setattr(array_source, "_MAX_BYTES", max_bytes)
            assert content(path, **options) == content(vcf, **options)
    assert read_panel(path)[0].fingerprint == read_panel(vcf)[0].fingerprint


def test_ids_and_the_length_of_a_contig(tmp_path):
    for path, length in (
        (write_hdf5(tmp_path / "h"), None),
        (write_zarr(tmp_path / "p"), 5000),
        (write_zarr(tmp_path / "q", contig_length=None), None),
    ):
        reader = open_haplotypes(path)
        assert [block.ids for block in reader.blocks()] == [["rs1", "rs9", "."]]
        assert reader.contig_length == length


def test_region(write):
    panel, report = read_panel(write(), region="X:40-45")
    assert panel.position.tolist() == [40]
    assert report.num_records == 4
    with pytest.raises(InputError, match=r"left in X:2-9"):
        read_panel(write(), region="X:2-9")
    with pytest.raises(InputError, match="Y"):
        read_panel(write(), region="Y")


def test_only_the_first_alt_is_kept(tmp_path):
    """allel.vcf_to_hdf5(alt_number=1) has the number of all ALT in numalt."""
    records = [*RECORDS[:1], (20, ".", ["A", "C", "G"], "0|0 0|1 1")]
    panel, report = read_panel(write_hdf5(tmp_path / "p", records, num_alt=1))
    assert panel.position.tolist() == [10]
    assert report.dropped == {"multi-allelic": 1}


def test_phase(tmp_path):
    phased = np.ones((len(RECORDS), 3), bool)
    phased[-1, 1] = phased[5] = False
    path = write_zarr(tmp_path / "p", call_genotype_phased=phased)
    with pytest.raises(InputError, match="sample b has an unphased genotype at X:50"):
        read_panel(path)
    reader = open_haplotypes(path, unphased="keep", missing="keep")
    assert [block.unphased_bits.tolist() for block in reader.blocks()] == [[[0]] * 4 + [[2]]]
    assert reader.report.num_unphased == 1
    path = write_zarr(tmp_path / "q", call_genotype_phased=None)
    with pytest.raises(InputError, match="sample b has an unphased genotype at X:10"):
        read_panel(path)


REFUSED = {
    "hdf5": [
        ("calldata/GT", None, "no array calldata/GT"),
        ("variants/REF", None, "no array variants/REF"),
        ("samples", np.array(["a", "b", "a"], object), "duplicate sample a"),
        ("samples", np.array(["a", "b"], object), "shape"),
        ("variants/POS", np.arange(10.0), "expected integers"),
        ("calldata/GT", np.zeros((10, 3, 2)), "expected integers"),
        ("calldata/GT", np.zeros((10, 3), np.int8), "shape"),
        ("calldata/GT", np.zeros((10, 3, 3), np.int8), "more than two alleles"),
        ("variants/ALT", np.array(["A"], object), "damaged"),
        ("variants/POS", np.arange(10)[::-1].copy(), "not sorted"),
    ],
    "zarr": [
        ("contig_id", None, "no array contig_id"),
        ("variant_allele", None, "no array variant_allele"),
        ("call_genotype", np.zeros((10, 3, 2)), "expected integers"),
        ("variant_contig", np.full(10, 7), "damaged"),
        ("variant_contig", np.arange(10) // 9, "two chromosomes, 1 and X"),
        ("call_genotype_phased", np.ones((2, 3), bool), "damaged"),
    ],
}


@pytest.mark.parametrize("kind", WRITERS)
def test_refused(tmp_path, kind):
    for i, (name, value, words) in enumerate(REFUSED[kind]):
        path = WRITERS[kind](tmp_path / f"panel{i}", **{name: value})
        with pytest.raises(InputError, match=rf"^{path}: .*{words}") as refused:
            read_panel(path)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("kind", "library"), [("hdf5", "h5py"), ("zarr", "zarr")])
def test_without_the_extra(tmp_path, monkeypatch, kind, library):
    path = WRITERS[kind](tmp_path / "panel")
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(InputError, match=rf"panel: .* by {library}: .* 'snvrag\[{kind}\]'"):
        read_panel(path)


def test_a_damaged_chunk_and_a_folder_of_something_else(tmp_path):
    path = write_zarr(tmp_path / "p")
    (chunk,) = (path / "call_genotype").glob("[0-9]*")
    chunk.write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match="damaged after 0 records"):
        read_panel(path)
    with pytest.raises(InputError, match="is a folder, not a file of haplotypes or a VCF Zarr"):
        read_panel(tmp_path)
    (tmp_path / ".zgroup").write_text("{}")
    with pytest.raises(InputError, match=r"cannot be read|no array"):
        read_panel(tmp_path)
