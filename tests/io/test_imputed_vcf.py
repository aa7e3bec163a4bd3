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

from snvrag.errors import InputError
from snvrag.io import imputed_vcf
from snvrag.io.imputed_vcf import ImputedWriter, Provenance, check_output

# All pairs of haplotype dosages in steps of an eighth.
DOSAGE = np.stack(np.meshgrid(*2 * [np.arange(0, 1001, 125)], indexing="ij"), -1)
DOSAGE = DOSAGE.reshape(-1, 2).astype(np.uint16)
PROVENANCE = Provenance("1.2.3", "snvrag.impute --panel 'a b.vcf'", "ab" * 32)


def _write(path: Path, **changes: Any) -> None:
    settings: dict[str, Any] = {
        "chrom": "20",
        "contig_length": 63_025_520,
        "provenance": PROVENANCE,
        **changes,
    }
    samples = ["a", "b", "c"]
    haploid = np.array([False, True, False])
    dosage = DOSAGE[:, None].repeat(3, 1)
    with ImputedWriter(path, samples, haploid, **settings) as writer:
        for part in (slice(0, 1), slice(1, 40), slice(40, 40), slice(40, None)):
            d = dosage[part]
            n = len(d)
            position = np.arange(100, 100 + len(dosage))[part]
            writer.write(
                position,
                [f"rs{p}" for p in position.tolist()],
                np.array([["A", "G"]] * n, "U1").reshape(n, 2),
                position % 3 == 0,
                d,
            )


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


def test_long_contigs_are_indexed_by_csi(tmp_path: Path) -> None:
    path = tmp_path / "o.vcf.gz"
    _write(path)
    _write(path, contig_length=1 << 30)
    # The index of the replaced file is gone: htslib would take it.
    assert {p.name for p in tmp_path.iterdir()} == {"o.vcf.gz", "o.vcf.gz.csi"}


def test_bcftools_reads_without_a_warning(tmp_path: Path) -> None:
    bcftools = shutil.which("bcftools")
    if bcftools is None:
        pytest.skip("no bcftools")
    for name in ("o.vcf.gz", "o.bcf", "o.vcf"):
        path = tmp_path / name
        _write(path)
        view = subprocess.run([bcftools, "view", path], capture_output=True, text=True, check=True)
        assert view.stderr == ""
        assert len([x for x in view.stdout.splitlines() if not x.startswith("#")]) == 81
        if name != "o.vcf":
            run = subprocess.run(
                [bcftools, "index", "-f", path], capture_output=True, text=True, check=True
            )
            assert run.stderr == ""


def test_same_bytes_twice(tmp_path: Path) -> None:
    _write(tmp_path / "a.vcf.gz")
    _write(tmp_path / "b.vcf.gz", threads=2)
    with gzip.open(tmp_path / "a.vcf.gz") as a, gzip.open(tmp_path / "b.vcf.gz") as b:
        assert a.read() == b.read()


def test_rows_are_cut_to_fit_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path / "a.vcf")
    monkeypatch.setattr(imputed_vcf, "_TEXT_BYTES", 1)
    _write(tmp_path / "b.vcf")
    assert (tmp_path / "a.vcf").read_bytes() == (tmp_path / "b.vcf").read_bytes()


def test_an_error_leaves_no_part_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "o.vcf.gz"

    def fail(error: type[BaseException]) -> None:
        with ImputedWriter(
            path, ["a"], np.zeros(1, bool), chrom="1", contig_length=None, provenance=PROVENANCE
        ) as writer:
            dosage = np.zeros((1, 1, 2), np.uint16)
            alleles = np.array([["A", "C"]])
            writer.write(np.array([1]), ["."], alleles, np.array([True]), dosage)
            raise error

    for error in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(error):
            fail(error)
        assert list(tmp_path.iterdir()) == []
    path.write_text("old")
    with pytest.raises(RuntimeError):
        fail(RuntimeError)
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
