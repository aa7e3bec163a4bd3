"""Imputed files in every format with their index; an error leaves no part of one."""

from __future__ import annotations

import gzip
import resource
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import pack
from snvrag.errors import InputError
from snvrag.io import vcf_writer
from snvrag.io.imputed_columns import PRODUCT
from snvrag.io.imputed_vcf import ImputedWriter
from snvrag.io.phased_vcf import PhasedWriter
from snvrag.io.reading import open_haplotypes
from snvrag.io.vcf_writer import Provenance, check_output

# All pairs of haplotype dosages in steps of an eighth.
DOSAGE = np.stack(np.meshgrid(*2 * [np.arange(0, 1001, 125)], indexing="ij"), -1)
DOSAGE = DOSAGE.reshape(-1, 2).astype(np.uint16)
PROVENANCE = Provenance("1.2.3", "snvrag.impute --panel 'a b.vcf'", "ab" * 32)


def _write(path: Path, error: type[BaseException] | None = None, **changes: Any) -> None:
    settings = {"chrom": "20", "contig_length": 63_025_520, "provenance": PROVENANCE, **changes}
    haploid = np.array([False, True, False])
    dosage = DOSAGE[:, None].repeat(3, 1)
    positions = np.arange(100, 100 + len(dosage))
    phase_set = (positions[:, None] // [1000, 1000, 10] * 10).astype(np.int32)
    hom_alt = np.minimum(DOSAGE[:, :1], DOSAGE[:, 1:]) // [2, 3, 1]
    hom_alt[:, 0] = PRODUCT
    with ImputedWriter(path, ["a", "b", "c"], haploid, **settings) as writer:
        for part in (slice(0, 1), slice(1, 40), slice(40, 40), slice(40, None)):
            position = positions[part]
            ids = [f"rs{p}" for p in position.tolist()]
            alleles = np.full((position.size, 2), ["A", "G"])
            given = hom_alt[part].astype(np.uint16), phase_set[part]
            more = given if settings.get("phase_sets") else ()
            writer.write(position, ids, alleles, position % 3 == 0, dosage[part], *more)
            if error is not None:
                raise error


@pytest.mark.parametrize(
    ("name", "index"), [("o.vcf.gz", ".tbi"), ("o.bcf", ".csi"), ("o.vcf", None)]
)
def test_formats_hold_the_same(tmp_path: Path, name: str, index: str | None) -> None:
    import cyvcf2

    path = tmp_path / name
    _write(path)
    left = {name} if index is None else {name, name + index}
    assert {p.name for p in tmp_path.iterdir()} == left
    reader = cyvcf2.VCF(str(path))
    assert list(reader.samples) == ["a", "b", "c"]
    assert reader.seqlens == [63_025_520]
    header = reader.raw_header
    assert "##source=snvrag 1.2.3" in header
    assert "##snvragCommand=snvrag.impute --panel 'a b.vcf'" in header
    assert f"##snvragModelSHA256={'ab' * 32}" in header
    records = list(reader)
    assert [r.POS for r in records] == list(range(100, 181))
    for n, record in enumerate(records):
        first, second = DOSAGE[n] / 1000
        assert f"rs{100 + n}" == record.ID
        assert record.FILTER is None
        assert (record.INFO.get("TYPED"), record.INFO.get("IMP")) == (
            (True, None) if record.POS % 3 == 0 else (None, True)
        )
        assert record.format("DS")[:, 0] == pytest.approx([first + second, first, first + second])
        assert record.format("HDS")[0] == pytest.approx([first, second])
        assert record.INFO["AF"] == pytest.approx((3 * first + 2 * second) / 5, abs=1e-5)
        assert len(record.genotypes[0]) == 3
        assert record.genotypes[0][2]  # phased
        assert record.genotypes[1][1] in (-2, True, False)
    if index is not None:
        assert len(list(cyvcf2.VCF(str(path))("20:150-160"))) == 11


@pytest.mark.parametrize("name", ["o.vcf.gz", "o.bcf", "o.vcf"])
def test_phase_sets_and_probabilities_of_two_alt(tmp_path: Path, name: str) -> None:
    import cyvcf2

    path = tmp_path / name
    _write(tmp_path / f"plain_{name}")
    _write(path, phase_sets=True)
    plain = [*cyvcf2.VCF(str(tmp_path / f"plain_{name}"))]
    missing = -(2**31)
    for n, (record, other) in enumerate(zip(cyvcf2.VCF(str(path)), plain, strict=True)):
        assert record.FORMAT == ["GT", "DS", "HDS", "GP", "PS"]
        assert record.format("PS")[:, 0].tolist() == [missing, missing, record.POS // 10 * 10]
        for field in ("DS", "HDS"):
            np.testing.assert_array_equal(record.format(field), other.format(field))
        # The first sample is phased, the second one haploid.
        np.testing.assert_array_equal(record.format("GP")[:2], other.format("GP")[:2])
        first, second = (DOSAGE[n] / 1000).tolist()
        both = min(first, second)
        expected = [1 - first - second + both, first + second - 2 * both, both]
        assert record.format("GP")[2] == pytest.approx(expected, abs=1e-6)
    assert "ID=PS" not in cyvcf2.VCF(str(tmp_path / f"plain_{name}")).raw_header


def test_phase_sets_are_in_files_that_have_them_alone(tmp_path: Path) -> None:
    settings = {"chrom": "20", "contig_length": None, "provenance": PROVENANCE}
    site = ["."], np.array([["A", "G"]]), np.zeros(1, bool), DOSAGE[None, :1]
    for phase_sets, ends in ((False, ["GP\t0|0:0:0,0:1,0,0"] * 2), (True, [":7", ":."])):
        path = tmp_path / "o.vcf"
        with ImputedWriter(path, ["a"], np.zeros(1, bool), phase_sets=phase_sets, **settings) as w:
            w.write(np.array([7]), *site, phase_set=np.array([[7]], np.int32))
            w.write(np.array([8]), *site)
        for line, end in zip(path.read_text().splitlines()[-2:], ends, strict=True):
            assert line.endswith(end)


@pytest.mark.parametrize("name", ["o.vcf.gz", "o.bcf", "o.vcf"])
def test_phased_genotypes(tmp_path: Path, name: str) -> None:
    """They are read back as they were, and between phase sets as unphased."""
    random = np.random.default_rng(0)
    n, names, haploid = 90, ["a", "b", "c"], np.array([False, True, False])
    alleles, missing = random.integers(0, 2, (2, n, 6)).astype(np.int8)
    missing[:, :4] = alleles[missing == 1] = 0
    position = np.arange(100, 100 + n)
    phase_set = np.where(position < 150, 100, 150)[:, None] * np.array([1, 0, 1])
    phase_set = phase_set.astype(np.int32)
    settings = {"chrom": "20", "contig_length": None, "provenance": PROVENANCE}
    path = tmp_path / name
    with PhasedWriter(path, names, haploid, **settings) as writer:
        for part in (slice(0, 1), slice(1, 60), slice(60, 60), slice(60, None)):
            letters = np.full((position[part].size, 2), ["A", "G"])
            ids = [f"rs{p}" for p in position[part].tolist()]
            bits = pack(alleles[part]), pack(missing[part])
            writer.write(position[part], ids, letters, *bits, phase_set[part])
    index = {"o.vcf.gz": [".tbi"], "o.bcf": [".csi"], "o.vcf": []}[name]
    assert {p.name for p in tmp_path.iterdir()} == {name, *(name + suffix for suffix in index)}
    reader = open_haplotypes(path, missing="keep", unphased="keep")
    assert reader.samples == ("a", "b", "c")
    assert reader.ploidy.tolist() == [2, 1, 2]
    (block,) = reader.blocks()
    assert block.ids == [f"rs{p}" for p in position.tolist()]
    kept = [0, 1, 2, 4, 5]
    np.testing.assert_array_equal(block.site_bits, pack(alleles[:, kept]))
    np.testing.assert_array_equal(block.missing_bits, pack(missing[:, kept]))
    known = alleles - missing
    differ = np.stack([known[:, i] != known[:, i + 1] for i in (0, 2, 4)], 1) & ~haploid
    expected = differ & (position >= 150)[:, None]
    np.testing.assert_array_equal(block.unphased_bits, pack(expected))


def test_long_contigs_are_indexed_by_csi(tmp_path: Path) -> None:
    path = tmp_path / "o.vcf.gz"
    _write(path)
    _write(path, contig_length=1 << 30)
    # The index of the replaced file is gone: htslib would take it.
    assert {p.name for p in tmp_path.iterdir()} == {"o.vcf.gz", "o.vcf.gz.csi"}


@pytest.mark.skipif(not shutil.which("bcftools"), reason="bcftools is not installed")
@pytest.mark.parametrize("name", ["o.vcf.gz", "o.bcf", "o.vcf"])
def test_bcftools_reads_without_a_warning(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    _write(path, phase_sets=True)
    for command in (["view", "-H"], *([] if name == "o.vcf" else [["index", "-f"]])):
        run = subprocess.run(["bcftools", *command, path], capture_output=True, check=True)
        assert run.stderr == b""
        assert run.stdout.count(b"\n") == (81 if "view" in command else 0)


def test_the_same_with_threads_and_little_memory(tmp_path, monkeypatch):
    _write(tmp_path / "a.vcf.gz")
    _write(tmp_path / "b.vcf.gz", threads=2)
    monkeypatch.setattr(vcf_writer, "_TEXT_BYTES", 1)
    _write(tmp_path / "c.vcf.gz")
    contents = {gzip.decompress((tmp_path / f"{x}.vcf.gz").read_bytes()) for x in "abc"}
    assert len(contents) == 1


def test_an_error_leaves_no_part_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "o.vcf.gz"
    for error in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(error):
            _write(path, error)
        assert list(tmp_path.iterdir()) == []
    path.write_text("old")
    with pytest.raises(RuntimeError):
        _write(path, RuntimeError)
    assert path.read_text() == "old"


def test_check_output(tmp_path: Path) -> None:
    for suffix in (".vcf", ".vcf.gz", ".bcf"):
        assert check_output(tmp_path / f"o.x{suffix}", overwrite=False) == suffix
    (tmp_path / "d.vcf").mkdir()
    (tmp_path / "old.vcf").touch()
    assert check_output(tmp_path / "old.vcf", overwrite=True) == ".vcf"
    for name, words in {
        "x.txt": "must end in .vcf.gz, .bcf or .vcf",
        "none/o.vcf": "there is no folder",
        "d.vcf": "is a folder",
        "old.vcf": "already exists",
    }.items():
        with pytest.raises(InputError, match=f"^output {tmp_path / name}: {words}"):
            check_output(tmp_path / name, overwrite=False)


@pytest.mark.parametrize("name", ["o.vcf", "o.vcf.gz", "o.bcf"])
def test_a_disk_that_is_full_is_an_error(tmp_path: Path, name: str) -> None:
    _write(tmp_path / f"whole_{name}")
    size = (tmp_path / f"whole_{name}").stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (size // 2, size - 1):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            with pytest.raises(InputError, match="cannot be written"):
                _write(tmp_path / name)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert not [p for p in tmp_path.iterdir() if "whole" not in p.name]
