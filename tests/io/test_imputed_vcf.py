"""What is written of dosages: text, statistics, formats, indexes, and nothing half done."""

from __future__ import annotations

import gzip
import resource
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from snvrag.errors import InputError
from snvrag.io import imputed_vcf
from snvrag.io.imputed_vcf import (
    ImputedWriter,
    Provenance,
    genotype_probabilities,
    sample_columns,
    site_statistics,
)

PROVENANCE = Provenance("1.2.3", "snvrag.impute --panel 'a b.vcf'", "ab" * 32)


def _every_pair(step: int = 1) -> NDArray[np.uint16]:
    values = np.arange(0, 1001, step)
    return np.stack(np.meshgrid(values, values, indexing="ij"), -1).astype(np.uint16)


def test_probabilities_and_genotype_of_every_pair_of_dosages() -> None:
    pairs = _every_pair()
    probabilities, alt = genotype_probabilities(pairs)
    assert (probabilities.sum(-1) == 1000).all()
    assert probabilities.min() == 0
    first, second = pairs[..., 0] / 1000, pairs[..., 1] / 1000
    exact = np.stack(
        [(1 - first) * (1 - second), first * (1 - second) + second * (1 - first), first * second],
        -1,
    )
    assert np.abs(probabilities / 1000 - exact).max() <= 0.001 + 1e-9
    assert (alt.sum(-1) == probabilities.argmax(-1)).all()
    het = alt.sum(-1) == 1
    carrier = np.take_along_axis(pairs, alt.argmax(-1)[..., None], -1)[..., 0]
    assert (carrier[het] == pairs.max(-1)[het]).all()


def test_text_of_cells() -> None:
    dosage = np.array([[[0, 0], [1, 1000], [600, 600], [12, 340]]], np.uint16)
    (text,) = sample_columns(dosage, np.zeros(4, bool))
    assert text == (
        "\t0|0:0:0,0:1,0,0\t0|1:1.001:0.001,1:0,0.999,0.001"
        "\t1|0:1.2:0.6,0.6:0.16,0.48,0.36\t0|0:0.352:0.012,0.34:0.652,0.344,0.004"
    )
    (text,) = sample_columns(dosage, np.array([True, False, True, True]))
    assert text == (
        "\t0:0:0:1,0\t0|1:1.001:0.001,1:0,0.999,0.001\t1:0.6:0.6:0.4,0.6\t0:0.012:0.012:0.988,0.012"
    )


def test_statistics_by_their_definition() -> None:
    random = np.random.default_rng(1)
    dosage = random.integers(0, 1001, (50, 7, 2)).astype(np.uint16)
    dosage[0] = 0
    dosage[1] = 1000
    dosage[2] = np.where(random.random((7, 2)) < 0.5, 0, 1000)
    dosage[2, 0] = [0, 1000]
    haploid = np.array([True] + [False] * 5 + [True])
    af, dr2 = site_statistics(dosage, haploid)
    for n in range(50):
        h = [dosage[n, i, j] / 1000 for i in range(7) for j in range(1 if haploid[i] else 2)]
        assert af[n] == pytest.approx(np.mean(h))
        p = float(np.mean(h))
        expected = np.var(h) / (p * (1 - p)) if 0 < p < 1 else 0.0
        assert dr2[n] == pytest.approx(expected)
    assert (af[:2] == [0, 1]).all()
    assert (dr2[:2] == 0).all()
    # A site whose alleles are all known is known with certainty.
    assert site_statistics(dosage[2:3], np.zeros(7, bool))[1] == pytest.approx(1)


def _write(path: Path, **changes: Any) -> None:
    settings: dict[str, Any] = {
        "chrom": "20",
        "contig_length": 63_025_520,
        "provenance": PROVENANCE,
        **changes,
    }
    samples = ["a", "b", "c"]
    haploid = np.array([False, True, False])
    dosage = _every_pair(125).reshape(-1, 1, 2).repeat(3, 1)
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
    dosage = _every_pair(125).reshape(-1, 2)
    for n, record in enumerate(records):
        first, second = dosage[n] / 1000
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
    _write(path, contig_length=1 << 30, overwrite=True)
    # The index of what was replaced is gone: htslib would take it.
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


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_run_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "o.vcf.gz"

    def interrupted() -> None:
        with ImputedWriter(
            path, ["a"], np.zeros(1, bool), chrom="1", contig_length=None, provenance=PROVENANCE
        ) as writer:
            writer.write(
                np.array([1]), ["."], np.array([["A", "C"]]), np.array([True]),
                np.zeros((1, 1, 2), np.uint16),
            )  # fmt: skip
            raise error

    with pytest.raises(error):
        interrupted()
    assert list(tmp_path.iterdir()) == []
    path.write_text("old")
    with pytest.raises(InputError, match="--overwrite"):
        interrupted()
    assert path.read_text() == "old"


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--output .*x\.txt: must end in"):
        _write(tmp_path / "x.txt")
    with pytest.raises(InputError, match="there is no folder"):
        _write(tmp_path / "none" / "o.vcf")
    (tmp_path / "d.vcf").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        _write(tmp_path / "d.vcf")


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
