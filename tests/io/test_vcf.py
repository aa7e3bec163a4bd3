"""Reading VCF and BCF: every kind of record has one rule, and alleles are those of the text."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import cyvcf2
import numpy as np
import pytest

from snvrag import _core
from snvrag.errors import InputError
from snvrag.io.reading import read_panel
from snvrag.panel.panel import Panel
from snvrag.training.run_data import demo_file

GOOD = "0|0 0|1 1|1"


def unpacked(panel: Panel) -> np.ndarray:
    """(H, S) alleles."""
    return _core.unpack_rows(panel.site_bits, panel.num_haplotypes).T


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
            if not (text[:, 1] == ord("|")).all():
                raise AssertionError(f"the naive parser met an unphased genotype at {variant}")
            if (text[:, [0, 2]] == ord(".")).any():
                continue
            variants.append(variant)
            rows.append(text[:, [0, 2]].reshape(-1) - ord("0"))
    return np.array(rows).T, variants, samples


def convert(source: Path, target: Path, mode: str) -> Path:
    reader = cyvcf2.VCF(str(source))
    writer = cyvcf2.Writer(str(target), reader, mode)
    for record in reader:
        writer.write_record(record)
    writer.close()
    reader.close()
    return target


@pytest.fixture
def read(tmp_path, write_vcf):
    def run(*records, **options):
        return read_panel(write_vcf(tmp_path / "input.vcf", list(records), **options))

    return run


# --- what is read ---------------------------------------------------------------------------------


def same_as_text(path: str | Path) -> None:
    panel, report = read_panel(path)
    alleles, variants, samples = naive(path)
    np.testing.assert_array_equal(unpacked(panel), alleles)
    assert [*zip(panel.position.tolist(), *panel.alleles.T.tolist(), strict=True)] == variants
    assert list(panel.samples) == samples
    assert report.num_records - sum(report.dropped.values()) == len(variants)


def test_demo_panel_is_what_its_text_says():
    same_as_text(demo_file("demo.vcf.gz"))


@pytest.mark.parametrize("folder", ["kgp_chr20", "kgp_chr1"])
def test_real_panels_are_what_their_text_says(shared_data, folder):
    same_as_text(shared_data / folder / "panel.vcf.gz")


@pytest.mark.parametrize(("name", "mode"), [("p.vcf.gz", "wz"), ("p.bcf", "wb"), ("p.vcf", "w")])
def test_plain_bgzipped_and_bcf_are_the_same(tmp_path, tiny_vcf, tiny_alleles, name, mode):
    panel, report = read_panel(convert(tiny_vcf, tmp_path / name, mode))
    np.testing.assert_array_equal(unpacked(panel), tiny_alleles)
    assert panel.fingerprint == read_panel(tiny_vcf)[0].fingerprint
    assert report.num_records == 200
    assert not report.dropped


def test_gzip_without_blocks_is_read(tmp_path, tiny_vcf, tiny_alleles):
    path = tmp_path / "plain.vcf.gz"
    path.write_bytes(gzip.compress(tiny_vcf.read_bytes()))
    np.testing.assert_array_equal(unpacked(read_panel(path)[0]), tiny_alleles)


def test_more_sites_than_the_buffer_holds(tmp_path, make_panel, write_panel_vcf, mosaic_haplotypes):
    for num_sites in (1023, 1024, 1025, 2600):
        alleles = mosaic_haplotypes(6, num_sites, seed=num_sites)
        path = write_panel_vcf(tmp_path / "long.vcf", make_panel(alleles), alleles)
        np.testing.assert_array_equal(unpacked(read_panel(path)[0]), alleles)


def test_region_reads_only_its_sites(shared_data):
    path = shared_data / "kgp_chr20" / "panel.vcf.gz"
    whole, _ = read_panel(path)
    part, _ = read_panel(path, region="20:1000341-1002000")
    wanted = np.flatnonzero((whole.position >= 1_000_341) & (whole.position <= 1_002_000))
    assert part.fingerprint == whole.select_sites(wanted).fingerprint


# --- a rule for each kind of record ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (("1", 20, "A", "C,G", "0|0 0|1 1|2"), "multi-allelic"),
        (("1", 20, "A", "C,G", "0|0 0|1 1|1"), "multi-allelic"),
        (("1", 20, "A", "C", "0|0 0|1 1|2"), "multi-allelic"),
        (("1", 20, "AT", "A", GOOD), "not an SNV"),
        (("1", 20, "A", "AT", GOOD), "not an SNV"),
        (("1", 20, "AC", "GT", GOOD), "not an SNV"),
        (("1", 20, "A", "<DEL>", GOOD), "not an SNV"),
        (("1", 20, "A", "*", GOOD), "not an SNV"),
        (("1", 20, "A", ".", "0|0 0|0 0|0"), "not an SNV"),
        (("1", 20, "N", "A", GOOD), "not an SNV"),
        (("1", 20, "A", "a", GOOD), "not an SNV"),
        (("1", 20, "A", "C", "0|0 .|. 1|1"), "missing genotype"),
        (("1", 20, "A", "C", "0|0 ./. 1|1"), "missing genotype"),
        (("1", 20, "A", "C", "0|0 .|1 1|1"), "missing genotype"),
        (("1", 20, "A", "C", "0|0 1|. 1|1"), "missing genotype"),
        (("1", 10, "A", "C", GOOD), "duplicate"),
        (("1", 10, "a", "c", "1|1 0|0 0|1"), "duplicate"),
    ],
)
def test_dropped_and_counted(read, record, reason):
    panel, report = read(("1", 10, "A", "C", GOOD), record, ("1", 30, "G", "T", "1|0 0|0 0|0"))
    assert dict(report.dropped) == {reason: 1}
    assert report.num_records == 3
    assert f"3 records, 2 kept, dropped: 1 {reason}" in str(report)
    assert panel.position.tolist() == [10, 30]
    np.testing.assert_array_equal(unpacked(panel).T, [[0, 0, 0, 1, 1, 1], [1, 0, 0, 0, 0, 0]])


@pytest.mark.parametrize("missing", [". 0|1 1|1", ". . ."])
def test_a_missing_genotype_may_be_one_dot(read, missing):
    panel, report = read(("1", 10, "A", "C", GOOD), ("1", 20, "A", "C", missing))
    assert dict(report.dropped) == {"missing genotype": 1}
    assert panel.position.tolist() == [10]


def test_same_position_other_alleles_are_kept_and_the_first_duplicate_wins(read):
    panel, report = read(
        ("1", 10, "A", "C", GOOD),
        ("1", 10, "A", "G", "1|0 0|0 0|0"),
        ("1", 10, "A", "C", "1|1 1|1 1|1"),
        ("1", 10, "C", "A", "0|1 0|0 0|0"),
        ("1", 11, "A", "C", "0|0 0|0 0|1"),
    )
    assert panel.position.tolist() == [10, 10, 10, 11]
    assert panel.alleles.tolist() == [["A", "C"], ["A", "G"], ["C", "A"], ["A", "C"]]
    assert report.dropped["duplicate"] == 1
    np.testing.assert_array_equal(unpacked(panel)[:, 0], [0, 0, 0, 1, 1, 1])


def test_a_dropped_record_does_not_make_the_next_a_duplicate(read):
    panel, report = read(
        ("1", 10, "A", "C", "0|0 .|. 1|1"), ("1", 10, "A", "C", GOOD), ("1", 10, "A", "C", GOOD)
    )
    assert dict(report.dropped) == {"missing genotype": 1, "duplicate": 1}
    assert panel.num_sites == 1


def test_unphased_homozygotes_are_phased_by_nature(read):
    panel, _ = read(("1", 10, "A", "C", "0/0 0|1 1/1"))
    np.testing.assert_array_equal(unpacked(panel)[:, 0], [0, 0, 0, 1, 1, 1])


def test_lower_case_letters_are_nucleotides(read):
    panel, report = read(("1", 10, "a", "c", GOOD), ("1", 11, "g", "T", GOOD))
    assert panel.alleles.tolist() == [["A", "C"], ["G", "T"]]
    assert not report.dropped


def test_other_format_fields_do_not_matter(read):
    panel, _ = read(("1", 10, "A", "C", "0|0:4 0|1 1|1:.", "GT:DP"))
    np.testing.assert_array_equal(unpacked(panel)[:, 0], [0, 0, 0, 1, 1, 1])


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (("1", 20, "A", "C", "0|0 0/1 1|1"), ["unphased", "sample b", "1:20", "phase"]),
        (("1", 20, "A", "C", "0|0 0|1 1"), ["haploid", "sample c", "1:20"]),
        (("1", 20, "A", "C", "0 1 1"), ["1:20", "diploid"]),
        (("1", 20, "A", "C", "0|0|1 0|1 1|1"), ["1:20", "diploid"]),
        (("2", 20, "A", "C", GOOD), ["two chromosomes", "1 and 2", "--region"]),
        (("1", 9, "A", "C", GOOD), ["not sorted", "1:9", "1:10"]),
        (("1", 20, "A", "C", "1 2 3", "DP"), ["no genotypes", "GT", "1:20"]),
        (("1", 20, "A", "C", "1:0|0 2 3:0|1", "DP:GT"), ["GT is not the first", "1:20"]),
        (("1", 20, "A", "C", "1 2 3", "DP:GT"), ["GT is not the first", "1:20"]),
    ],
)
def test_refused(read, record, words):
    with pytest.raises(InputError) as refused:
        read(("1", 10, "A", "C", GOOD), record)
    message = str(refused.value)
    assert "input.vcf" in message
    assert "\n" not in message
    for word in words:
        assert word in message


def test_no_samples(read):
    with pytest.raises(InputError, match=r"input\.vcf: no samples"):
        read(("1", 10, "A", "C", ""), samples=())


def test_a_sample_twice(read):
    with pytest.raises(InputError, match=r"input\.vcf"):
        read(("1", 10, "A", "C", GOOD), samples=("a", "b", "a"))


@pytest.mark.parametrize("records", [[], [("1", 10, "AT", "C", GOOD)]])
def test_empty_after_filtering(read, records):
    with pytest.raises(InputError, match="no phased biallelic SNV left") as refused:
        read(*records)
    assert "\n" not in str(refused.value)


# --- damaged files --------------------------------------------------------------------------------


def block_starts(data: bytes) -> list[int]:
    starts, at = [], 0
    while at < len(data):
        starts.append(at)
        at += int.from_bytes(data[at + 16 : at + 18], "little") + 1
    return starts


@pytest.fixture(scope="module")
def demo_bytes() -> bytes:
    return Path(demo_file("demo.vcf.gz")).read_bytes()


def refused_quietly(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """An InputError of one line, and htslib says nothing beside it."""
    with pytest.raises(InputError) as refused:
        read_panel(path)
    assert path.name in str(refused.value)
    assert "\n" not in str(refused.value)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("where", ["inside a block", "between blocks", "end mark only"])
def test_truncated_bgzip_is_refused(tmp_path, demo_bytes, capfd, where):
    """Cut between two blocks, what is left looks whole but for the mark at the end."""
    starts = block_starts(demo_bytes)
    cut = {
        "inside a block": starts[3] + 1000,
        "between blocks": starts[3],
        "end mark only": starts[-1],
    }
    path = tmp_path / "cut.vcf.gz"
    path.write_bytes(demo_bytes[: cut[where]])
    refused_quietly(path, capfd)


def test_truncated_plain_text_is_refused(tmp_path, tiny_vcf, capfd):
    path = tmp_path / "cut.vcf"
    path.write_bytes(tiny_vcf.read_bytes()[:-60])
    refused_quietly(path, capfd)


def test_truncated_bcf_is_refused(tmp_path, tiny_vcf, capfd):
    path = convert(tiny_vcf, tmp_path / "cut.bcf", "wb")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    refused_quietly(path, capfd)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello\n",
        b"#CHROM\tPOS\n",
        b"\x1f\x8b",
        b"\x1f\x8b\x08\x00" + bytes(6) + b"\xff" * 100,
        gzip.compress(b"hello"),
        b"BCF\x02\x02" + bytes(20),
        b"##fileformat=VCFv4.2\n",
        b"##fileformat=VCFv4.2\nnot a header\n",
    ],
    ids=["empty", "text", "headless", "gzip magic", "bad deflate", "gzip", "bcf", "no line", "bad"],
)
def test_not_a_vcf(tmp_path, capfd, content):
    path = tmp_path / "thing.vcf.gz"
    path.write_bytes(content)
    refused_quietly(path, capfd)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_panel(tmp_path / "none.vcf")
    with pytest.raises(InputError, match="folder"):
        read_panel(tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        "1\tten\t.\tA\tC\t.\tPASS\t.\tGT\t0|0\t0|1\t1|1",
        "1\t20\t.\tA",
        "1\t20\t.\tA\tC\t.\tPASS\t.\tGT\t0|0",
        "1\t20\t.\tA\tC\t.\tPASS\t.\tGT\tx|y\t0|1\t1|1",
    ],
    ids=["position", "columns", "samples", "genotype"],
)
def test_malformed_line(tmp_path, write_vcf, capfd, line):
    path = write_vcf(tmp_path / "input.vcf", [("1", 10, "A", "C", GOOD)])
    path.write_text(path.read_text() + line + "\n")
    refused_quietly(path, capfd)


def test_a_contig_missing_from_the_header(tmp_path, write_vcf, capfd):
    """Such files are common; htslib's warning must not stand beside the one line of an error."""
    path = write_vcf(tmp_path / "input.vcf", [("7", 10, "A", "C", GOOD)])
    assert read_panel(path)[0].chrom == "7"
    capfd.readouterr()
    write_vcf(path, [("7", 10, "A", "C", "0|0 0/1 1|1")])
    refused_quietly(path, capfd)


def test_region_that_holds_nothing(shared_data):
    code = (
        "import sys\nfrom snvrag.errors import InputError\nfrom snvrag.reading import read_panel\n"
        "for region in sys.argv[2:]:\n"
        "    try:\n        read_panel(sys.argv[1], region=region)\n"
        "    except InputError as error:\n        print(error)\n"
    )
    path = str(shared_data / "kgp_chr20" / "panel.vcf.gz")
    regions = ["21", "20:5-6", "20:bad", "20:2000-1000"]
    ran = subprocess.run(
        [sys.executable, "-c", code, path, *regions], capture_output=True, text=True, check=False
    )
    lines = ran.stdout.splitlines()
    assert len(lines) == 4
    assert all(region in line for region, line in zip(regions, lines, strict=True))
    assert ran.stderr == ""


def test_region_without_index(tiny_vcf):
    with pytest.raises(InputError, match="index"):
        read_panel(tiny_vcf, region="1:1-2")
