"""Files of any kind of badness end in an answer or in one line, whatever is wrong with them."""

from __future__ import annotations

import gzip
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import cyvcf2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snvrag.errors import InputError
from snvrag.prepared import write_prepared
from snvrag.reading import open_haplotypes, read_panel

# --- what must hold of every file -----------------------------------------------------------------


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
    {"missing": st.sampled_from(["drop", "keep"]), "unphased": st.sampled_from(["refuse", "hide"])}
)

# --- texts ----------------------------------------------------------------------------------------

META = [
    "##fileformat=VCFv4.2",
    "##contig=<ID=1,length=1000000>",
    '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">',
]
COLUMNS = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT"]


def rarely(good: st.SearchStrategy[Any], bad: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Draw a good value 39 times of 40."""
    return st.integers(0, 39).flatmap(lambda i: bad if i == 39 else good)


def mostly(good: st.SearchStrategy[Any], bad: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Draw a good value nine times of ten, so that a file gets past its first line."""
    return st.integers(0, 9).flatmap(lambda i: bad if i == 9 else good)


GENOTYPE = rarely(
    st.sampled_from(["0|0", "0|1", "1|0", "1|1"]),
    st.sampled_from(
        [".|.", "./.", ".", "0/1", "1/1", "0", "1", "0|.", ".|1", "0|2", "1|0|1", "", "x", "0|",
         "|", "0|1:9", "-1|0", "0|99999999999", "0|1|", "é", "0\\1", "256|1", "1|-1", ".|.|."]
    ),
)  # fmt: skip
FIELDS = {
    "chrom": rarely(st.just("1"), st.sampled_from(["2", "", "chr1", "é", "1 ", "."])),
    "position": rarely(
        st.none(),
        st.sampled_from(["0", "-1", "1", "2147483647", "2147483648", "9" * 18, "9" * 30, "ten", "",
                         "1e3", "5.0", "4294967296", "9223372036854775807"]),
    ),
    "id": rarely(st.just("."), st.sampled_from(["rs1", "a;b", "", "é", "x" * 300])),
    "ref": rarely(st.sampled_from("ACGT"), st.sampled_from(["N", "a", "AT", "", "R", ".", "*"])),
    "alt": rarely(
        st.sampled_from("ACGT"),
        st.sampled_from(["<DEL>", "*", "N", "A,C", "g", "", ".", ",", "A,", "]1:5]A", "<*>", "AT"]),
    ),
    "info": rarely(st.just("."), st.sampled_from(["END=5", "XX=1;YY", "", ";;", "DP=.", "END=0"])),
    "format": rarely(st.just("GT"), st.sampled_from(["DP", "GT:DP", "DP:GT", "", ".", "GT:GT"])),
}  # fmt: skip


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
    match draw(st.integers(0, 19)):
        case 0:
            del lines[draw(st.integers(0, len(lines) - 1))]
        case 1:
            at = draw(st.integers(0, len(lines) - 1))
            lines[at] = draw(st.text(st.characters(codec="utf-8"), max_size=20))
        case 2:
            at = draw(st.integers(0, len(lines) - 1))
            lines[at] = lines[at].replace("\t", draw(st.sampled_from([" ", "\t\t", ""])), 1)
        case 3:
            at = draw(st.integers(0, len(lines) - 1))
            lines[at] += draw(st.sampled_from(["\t0|1", "\t", "\t\t\t", "\0", " "]))
        case 4:
            at = draw(st.integers(0, len(lines) - 1))
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


@settings(max_examples=150)
@given(text=vcf_text(), container=st.sampled_from(list(CONTAINERS)), options=OPTIONS)
def test_any_text(tmp_path_factory, text, container, options):
    path = tmp_path_factory.mktemp("text") / f"file.{container}"
    path.write_bytes(CONTAINERS[container](text))
    read_in_every_way(path, **options)


# --- damage to whole files ------------------------------------------------------------------------

GOOD_TEXT = ("\n".join([
    *META, "\t".join([*COLUMNS, "a", "b", "c"]),
    *(f"1\t{10 + 3 * i}\t.\tA\t{'CGT'[i % 3]}\t.\tPASS\t.\tGT\t{i % 2}|0\t0|1\t{i % 3 % 2}|1"
      for i in range(40)),
]) + "\n").encode()  # fmt: skip


KINDS = [*CONTAINERS, "bcf", "prepared"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, bytes]:
    """Bytes of one panel in every format that is a file."""
    folder = tmp_path_factory.mktemp("whole")
    plain = folder / "plain.vcf"
    plain.write_bytes(GOOD_TEXT)
    made = {name: pack(GOOD_TEXT) for name, pack in CONTAINERS.items()}
    reader = cyvcf2.VCF(str(plain))
    writer = cyvcf2.Writer(str(folder / "bcf"), reader, "wb")
    for record in reader:
        writer.write_record(record)
    writer.close()
    reader.close()
    panel, _ = read_panel(plain)
    write_prepared(folder / "prepared", panel, ["."] * panel.num_sites)
    for name in ("bcf", "prepared"):
        made[name] = (folder / name).read_bytes()
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
        if kind == "cut":
            return data[:at]
        if kind == "drop":
            return data[:at] + data[at + value :]
        if kind == "append":
            return data + more
        if kind == "swap":
            return data[:at] + more + data[at + len(more) :]
        return data[:at] + bytes([data[at] ^ value]) + data[at + 1 :]

    return spoil


@settings(max_examples=150)
@given(
    kind=st.sampled_from(["vcf", "gz", "bgz", "bcf", "prepared"]), spoil=damage(), options=OPTIONS
)
def test_any_damage(tmp_path_factory, whole, kind, spoil, options):
    path = tmp_path_factory.mktemp("damage") / "file"
    path.write_bytes(spoil(whole[kind]))
    read_in_every_way(path, **options)
