"""Damaged and malformed files of every format are read, or refused in one line."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from array_files import write_hdf5, write_zarr
from panel_files import convert_vcf
from snvrag.errors import InputError
from snvrag.io.prepared import write_prepared
from snvrag.io.reading import open_haplotypes, read_panel


def read_in_every_way(path: Path, **options: Any) -> str:
    """Read a file as a stream and as a panel; return how it ended."""
    return " ".join(read_in_one_way(read, path, options) for read in (read_stream, read_whole))


def read_in_one_way(read: Any, path: Path, options: dict[str, Any]) -> str:
    try:
        read(path, options)
    except InputError as error:
        line = str(error)
        assert str(path) in line, line
        assert line.isprintable(), line
        assert len(line) < 1000
        return "refused"
    return "read"


def read_stream(path: Path, options: dict[str, Any]) -> None:
    reader = open_haplotypes(path, **options, on_drop=lambda site: None)
    num_haplotypes = int(reader.ploidy.sum())
    assert len(reader.samples) == len(reader.ploidy) == len(set(reader.samples))
    last = 0
    for block in reader.blocks(3):
        assert block.site_bits.shape == (block.num_sites, -(-num_haplotypes // 64))
        assert block.alleles.shape == (block.num_sites, 2)
        assert set("".join(block.alleles.ravel())) <= set("ACGT")
        assert block.position[0] >= last
        assert (np.diff(block.position) >= 0).all()
        last = int(block.position[-1])
    assert reader.report.num_records > 0


def read_whole(path: Path, _: dict[str, Any]) -> None:
    panel, _ = read_panel(path, verify=True)
    assert panel.num_sites > 0
    assert panel.alt_count.max() <= panel.num_haplotypes
    assert str(panel.fingerprint)


OPTIONS = st.fixed_dictionaries(
    {"missing": st.sampled_from(["drop", "keep"]), "unphased": st.sampled_from(["refuse", "keep"])}
)

META = [
    "##fileformat=VCFv4.2",
    "##contig=<ID=1,length=1000000>",
    '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">',
]
COLUMNS = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT"]


def mostly(good: Any, bad: Any, times: int = 10) -> st.SearchStrategy[Any]:
    """Draw a good value all but one of some times, so that a file gets past its first line."""
    return st.integers(1, times).flatmap(lambda i: bad if i == times else good)


def rarely(good: Any, bad: str) -> st.SearchStrategy[Any]:
    """Draw one of some words, or nothing, in place of a good value once in 40 times."""
    return mostly(good, st.sampled_from(["", *bad.split()]), 40)


BAD_GENOTYPES = (
    ".|. ./. . 0/1 1/1 0 1 0|. .|1 0|2 1|0|1 x 0| | 0|1:9 -1|0 0|99999999999 0|1| é 0\\1 256|1 "
    "1|-1 .|.|."
)
BAD_POSITIONS = (
    "0 -1 1 2147483647 2147483648 999999999999999999 999999999999999999999999999999 ten 1e3 5.0 "
    "4294967296 9223372036854775807"
)
GENOTYPE = rarely(st.sampled_from(["0|0", "0|1", "1|0", "1|1"]), BAD_GENOTYPES)
FIELDS = {
    "chrom": mostly(st.just("1"), st.sampled_from(["2", "", "chr1", "é", "1 ", "."]), 40),
    "position": rarely(st.none(), BAD_POSITIONS),
    "id": rarely(st.just("."), "rs1 a;b é " + "x" * 300),
    "ref": rarely(st.sampled_from("ACGT"), "N a AT R . *"),
    "alt": rarely(st.sampled_from("ACGT"), "<DEL> * N A,C g . , A, ]1:5]A <*> AT"),
    "info": rarely(st.just("."), "END=5 XX=1;YY ;; DP=. END=0"),
    "format": rarely(st.just("GT"), "DP GT:DP DP:GT . GT:GT"),
}


@st.composite
def vcf_text(draw: st.DrawFn) -> bytes:
    """A VCF that has a few things wrong, or none."""
    samples = draw(
        mostly(
            st.integers(1, 4).map(lambda n: [f"s{i}" for i in range(n)]),
            st.lists(st.sampled_from(["a", "b", "", "é", "a b"]), max_size=3),
        )
    )
    columns = COLUMNS if samples else COLUMNS[:8]
    lines = [*META, "\t".join([*columns, *samples])]
    position = 10
    for _ in range(draw(st.integers(0, 8))):
        position += draw(mostly(st.integers(0, 9), st.integers(-20, 10**9)))
        fields = [draw(FIELDS[name]) for name in ("chrom", "position", "id", "ref", "alt")]
        fields[1] = str(position) if fields[1] is None else fields[1]
        fields += [".", "PASS", draw(FIELDS["info"])]
        if samples:
            fields += [draw(FIELDS["format"]), *(draw(GENOTYPE) for _ in samples)]
        lines.append("\t".join(fields))
    at = draw(st.integers(0, len(lines) - 1))
    match draw(st.integers(0, 19)):
        case 0:
            del lines[at]
        case 1:
            lines[at] = draw(st.text(st.characters(codec="utf-8"), max_size=20))
        case 2:
            lines[at] = lines[at].replace("\t", draw(st.sampled_from([" ", "\t\t", ""])), 1)
        case 3:
            lines[at] += draw(st.sampled_from(["\t0|1", "\t", "\t\t\t", "\0", " "]))
        case 4:
            lines[at] = "\t".join(lines[at].split("\t")[: draw(st.integers(0, 9))])
    end = draw(mostly(st.just("\n"), st.sampled_from(["\r\n", "\r", "\n\n"])))
    text = end.join(lines) + draw(mostly(st.just(end), st.sampled_from(["", "\n\n", "\t", "1"])))
    return text.encode()


def bgzip(data: bytes, size: int = 200) -> bytes:
    """Compress in blocks (SAM specification, 4.1), small ones so that damage meets several."""
    blocks = []
    for start in [*range(0, len(data), size), None]:
        piece = b"" if start is None else data[start : start + size]
        packer = zlib.compressobj(6, zlib.DEFLATED, -15)
        body = packer.compress(piece) + packer.flush()
        extra = struct.pack("<BBHH", 66, 67, 2, len(body) + 25)
        head = b"\x1f\x8b\x08\x04" + bytes(5) + b"\xff" + struct.pack("<H", 6) + extra
        blocks.append(head + body + struct.pack("<II", zlib.crc32(piece), len(piece)))
    return b"".join(blocks)


CONTAINERS = {"vcf": bytes, "gz": gzip.compress, "bgz": bgzip}


def endings_of(path: Path, contents: st.SearchStrategy[bytes]) -> Counter[str]:
    """Read 150 files, and count how that ended."""
    endings: Counter[str] = Counter()

    @settings(max_examples=150)
    @given(content=contents, options=OPTIONS)
    def read_any(content, options):
        path.write_bytes(content)
        endings[read_in_every_way(path, **options)] += 1

    read_any()
    assert endings.total() >= 150
    assert endings["refused refused"] > 15, endings
    return endings


def test_any_text(tmp_path):
    packed = st.builds(
        lambda pack, text: pack(text), st.sampled_from([*CONTAINERS.values()]), vcf_text()
    )
    endings = endings_of(tmp_path / "file", packed)
    assert endings["read read"] > 15, endings


GOOD_RECORDS = [
    f"1\t{10 + 3 * i}\t.\tA\t{'CGT'[i % 3]}\t.\tPASS\t.\tGT\t{i % 2}|0\t0|1\t{i % 3 % 2}|1"
    for i in range(40)
]
GOOD_TEXT = "\n".join([*META, "\t".join([*COLUMNS, "a", "b", "c"]), *GOOD_RECORDS, ""]).encode()


@pytest.fixture(scope="module")
def intact(tmp_path_factory) -> dict[str, bytes]:
    """Bytes of one panel in every format that is a file."""
    folder = tmp_path_factory.mktemp("intact")
    plain = folder / "plain.vcf"
    plain.write_bytes(GOOD_TEXT)
    made = {name: pack(GOOD_TEXT) for name, pack in CONTAINERS.items()}
    made["bcf"] = convert_vcf(plain, folder / "bcf", "wb").read_bytes()
    panel, _ = read_panel(plain)
    write_prepared(folder / "prepared", panel, ["."] * panel.num_sites)
    made["prepared"] = (folder / "prepared").read_bytes()
    return made


@st.composite
def damage(draw: st.DrawFn) -> Any:
    """A function that spoils some bytes."""
    kind = draw(st.sampled_from(["cut", "flip", "flip", "drop", "append", "swap"]))
    where = draw(st.floats(0, 1, exclude_max=True))
    value = draw(st.integers(1, 255))
    more = draw(st.binary(min_size=1, max_size=30))

    def spoil(data: bytes) -> bytes:
        at = int(where * len(data))
        return {
            "cut": data[:at],
            "drop": data[:at] + data[at + value :],
            "append": data + more,
            "swap": data[:at] + more + data[at + len(more) :],
            "flip": data[:at] + bytes([data[at] ^ value]) + data[at + 1 :],
        }[kind]

    return spoil


def test_any_damage(tmp_path, intact):
    whole = st.sampled_from([*intact.values()])
    endings_of(tmp_path / "file", st.builds(lambda spoil, data: spoil(data), damage(), whole))


@pytest.mark.parametrize("write", [write_hdf5, write_zarr])
def test_any_damage_to_arrays(tmp_path, write):
    """HDF5 has no checksums of its own: some damage is read as other genotypes."""
    path = write(tmp_path / "panel")
    assert read_in_every_way(path) == "read read"
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    good = {file: file.read_bytes() for file in files}

    @settings(max_examples=40)
    @given(file=st.sampled_from(sorted(good)), spoil=damage(), options=OPTIONS)
    def read_any(file, spoil, options):
        file.write_bytes(spoil(good[file]))
        read_in_every_way(path, **options)
        file.write_bytes(good[file])

    read_any()


HEAD = "\n".join([*META, "\t".join([*COLUMNS, "a", "b"])]) + "\n"
LINE = "1\t{}\t.\tA\tC\t.\tPASS\t.\tGT\t0|1\t1|1\n"
LINES = "".join(LINE.format(position) for position in (10, 20, 30))


def test_odd_but_readable(tmp_path):
    plain, odd = tmp_path / "plain.vcf", tmp_path / "odd.vcf"
    plain.write_bytes((HEAD + LINES).encode())
    for what, text, pack in (
        ("no final newline", HEAD + LINES.rstrip("\n"), bytes),
        ("blank last line", HEAD + LINES + "\n", bytes),
        ("blank last lines", HEAD + LINES + "\r\n\n", bgzip),
        ("CRLF", (HEAD + LINES).replace("\n", "\r\n"), bytes),
        ("gzip", HEAD + LINES, gzip.compress),
        ("bgzip", HEAD + LINES, bgzip),
        ("no contig", (HEAD + LINES).replace("##contig=<ID=1,length=1000000>\n", ""), bytes),
    ):
        odd.write_bytes(pack(text.encode()))
        assert read_panel(odd)[0].fingerprint == read_panel(plain)[0].fingerprint, what


def test_malformed(tmp_path):
    path = tmp_path / "bad.vcf"
    for text, words in (
        (HEAD + LINES + "\n" + LINE.format(40), "record 4 is empty"),
        (HEAD + LINES + "\t" + LINE.format(40), "record 4 is empty"),
        (HEAD + "#" + LINES, "record 1 begins with '#1'"),
        (HEAD + LINES.replace("\t", " "), "record 1 begins with"),
        (HEAD + LINES.replace("\t1|1", ""), "damaged"),
        (HEAD + LINES + "1\t40\t.\tA\n", "damaged"),
        (HEAD + "7\t10\n", "damaged"),  # of a chromosome that the header does not have
        (HEAD + LINES.replace("20", "ten"), "damaged"),
        (HEAD + LINES.replace("0|1", "x|y"), "damaged"),
        (HEAD.replace("\tFORMAT\ta\tb", "") + LINES, "no samples"),
    ):
        path.write_text(text)
        with pytest.raises(InputError) as refused:
            read_panel(path)
        assert str(refused.value).startswith(f"{path}: {words}")


def test_bcf_without_checksums_and_positions_that_do_not_fit(tmp_path, intact):
    path = tmp_path / "bad"
    for pack in (bytes, gzip.compress):
        path.write_bytes(pack(gzip.decompress(intact["bcf"])))
        with pytest.raises(InputError, match="BCF that is not bgzipped"):
            read_panel(path)
    path.write_text(HEAD + LINES + LINE.format(2**31 - 1))
    assert read_panel(path)[0].position[-1] == 2**31 - 1
    for position in (2**31, 2**32 + 35, 10**30):
        path.write_text(HEAD + LINES + LINE.format(position))
        with pytest.raises(InputError, match=r"record 4 is at '\d+', expected positions"):
            read_panel(path)


def test_one_site_of_one_sample(tmp_path):
    path = tmp_path / "tiny.vcf"
    for call in ("1", "0|1"):
        path.write_text(HEAD.replace("\tb\n", "\n") + LINE.format(7).replace("0|1\t1|1", call))
        panel, _ = read_panel(path)
        assert (panel.num_samples, panel.num_sites) == (1, 1)
        assert panel.num_haplotypes == len(call.split("|"))
        assert panel.alt_count.tolist() == [1]


def test_training_compares_the_checksums_of_a_prepared_panel(tmp_path, intact, capsys):
    from snvrag.train import main

    data = bytearray(intact["prepared"])
    data[len(data) // 2] ^= 1
    (tmp_path / "flipped").write_bytes(data)
    assert main(["--panel", str(tmp_path / "flipped"), "--output", str(tmp_path / "out")]) == 2
    assert "flipped: damaged, the checksum of" in capsys.readouterr().err
