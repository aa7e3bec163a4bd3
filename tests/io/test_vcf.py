"""Reading VCF and BCF, plain and compressed: alleles are those of the text, damage is refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from panel_files import alleles_of, convert_vcf, write_vcf
from snvrag.demo import DEMO_PANEL, demo_file
from snvrag.errors import InputError
from snvrag.io.reading import open_haplotypes, read_panel

GOOD = "0|0 0|1 1|1"


def naive(path: str | Path) -> tuple[np.ndarray, list[tuple[int, str, str]], list[str]]:
    """A text parser that knows only lines and columns: (H, S) alleles, variants, samples."""
    rows, variants, samples = [], [], []
    with gzip.open(path, "rt") as lines:
        for line in lines:
            if line.startswith("##"):
                continue
            fields = line.rstrip("\n").split("\t")
            if line.startswith("#"):
                samples = fields[9:]
                continue
            ref, alt = fields[3].upper(), fields[4].upper()
            if ref not in ("A", "C", "G", "T") or alt not in ("A", "C", "G", "T"):
                continue
            variant = (int(fields[1]), ref, alt)
            if variant in variants[-5:]:
                continue
            genotypes = [field.split(":")[0] for field in fields[9:]]
            text = np.frombuffer("".join(genotypes).encode(), np.uint8).reshape(-1, 3)
            assert (text[:, 1] == ord("|")).all(), variant
            if (text[:, [0, 2]] == ord(".")).any():
                continue
            variants.append(variant)
            rows.append(text[:, [0, 2]].reshape(-1) - ord("0"))
    return np.array(rows).T, variants, samples


def same_as_text(path: str | Path) -> None:
    panel, report = read_panel(path)
    alleles, variants, samples = naive(path)
    np.testing.assert_array_equal(alleles_of(panel), alleles)
    assert [*zip(panel.position.tolist(), *panel.alleles.T.tolist(), strict=True)] == variants
    assert list(panel.samples) == samples
    assert report.num_records - sum(report.dropped.values()) == len(variants)


def test_the_demo_panel_is_its_text():
    same_as_text(demo_file(DEMO_PANEL))


def test_real_panels_are_their_text(shared_data):
    for folder in ("kgp_chr20", "kgp_chr1"):
        same_as_text(shared_data / folder / "panel.vcf.gz")


def test_every_container_holds_the_same(tmp_path, tiny_vcf, tiny_alleles):
    unblocked = tmp_path / "gzip.vcf.gz"
    unblocked.write_bytes(gzip.compress(tiny_vcf.read_bytes()))
    converted = [convert_vcf(tiny_vcf, tmp_path / mode, mode) for mode in ("wz", "wb", "w")]
    for path in (tiny_vcf, unblocked, *converted):
        panel, report = read_panel(path)
        np.testing.assert_array_equal(alleles_of(panel), tiny_alleles)
        assert panel.fingerprint == read_panel(tiny_vcf)[0].fingerprint
        assert (report.num_records, dict(report.dropped)) == (200, {})


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


def test_a_region_has_its_sites(shared_data, tiny_vcf, capfd):
    path = shared_data / "kgp_chr20" / "panel.vcf.gz"
    whole, _ = read_panel(path)
    part, _ = read_panel(path, region="20:1000341-1002000")
    wanted = np.flatnonzero((whole.position >= 1_000_341) & (whole.position <= 1_002_000))
    assert part.fingerprint == whole.select_sites(wanted).fingerprint

    for region in ("21", "20:5-6", "20:bad", "20:2000-1000"):
        with pytest.raises(InputError, match=region):
            read_panel(path, region=region)
    assert capfd.readouterr().err == ""
    with pytest.raises(InputError, match="a region needs an index: run 'bcftools index"):
        read_panel(tiny_vcf, region="1:1-2")


def refused_quietly(path: Path, capfd: pytest.CaptureFixture[str], words: str = "") -> None:
    """Check that reading raises one line that names the file, and htslib writes nothing."""
    with pytest.raises(InputError) as refused:
        read_panel(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
    assert capfd.readouterr().err == ""


def block_starts(data: bytes) -> list[int]:
    starts, at = [], 0
    while at < len(data):
        starts.append(at)
        at += int.from_bytes(data[at + 16 : at + 18], "little") + 1
    return starts


def test_truncated(tmp_path, tiny_vcf, capfd):
    """A file cut between two blocks looks intact but for the end mark."""
    packed = Path(demo_file(DEMO_PANEL)).read_bytes()
    plain = tiny_vcf.read_bytes()
    bcf = convert_vcf(tiny_vcf, tmp_path / "p.bcf", "wb").read_bytes()
    starts = block_starts(packed)
    for name, data in {
        "inside_a_block.vcf.gz": packed[: starts[3] + 1000],
        "between_blocks.vcf.gz": packed[: starts[3]],
        "without_the_end_mark.vcf.gz": packed[: starts[-1]],
        "text.vcf": plain[:-60],
        "half.bcf": bcf[: len(bcf) // 2],
    }.items():
        (tmp_path / name).write_bytes(data)
        refused_quietly(tmp_path / name, capfd, "" if name == "text.vcf" else "truncated")


def test_not_a_vcf(tmp_path, capfd):
    path = tmp_path / "thing.vcf.gz"
    for content, words in (
        (b"", "not a VCF or BCF file"),
        (b"#CHROM\tPOS\n", "not a VCF or BCF file"),
        (b"\x1f\x8b", "cannot be read"),
        (b"\x1f\x8b\x08\x00" + bytes(6) + b"\xff" * 100, "cannot be read"),
        (gzip.compress(b"hello"), "not a VCF or BCF file"),
        (b"##fileformat=VCFv4.2\n", "not a readable VCF"),
        (b"##fileformat=VCFv4.2\nnot a header\n", "not a readable VCF"),
    ):
        path.write_bytes(content)
        refused_quietly(path, capfd, words)


def test_contigs_and_samples_of_the_header(tmp_path, capfd):
    """Contigs that the header lacks are common; htslib warns of them on standard error."""
    path = write_vcf(tmp_path / "input.vcf", [("7", 10, "A", "C", GOOD)])
    assert read_panel(path)[0].chrom == "7"
    assert capfd.readouterr().err == ""
    write_vcf(path, [("7", 10, "A", "C", "0|0 0/1 1|1")])
    refused_quietly(path, capfd)
    write_vcf(path, [("1", 10, "A", "C", "")], samples=())
    refused_quietly(path, capfd, "no samples")
    write_vcf(path, [("1", 10, "A", "C", GOOD)], samples=("a", "b", "a"))
    refused_quietly(path, capfd)
