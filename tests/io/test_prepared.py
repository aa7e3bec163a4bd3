"""A prepared panel is what was written, opens without reading its arrays, and shows damage."""

from __future__ import annotations

import json
import os
import time

import numpy as np
import pytest

from panel_files import make_panel
from snvrag.errors import InputError
from snvrag.io import prepared
from snvrag.io.prepared import PART_SITES, write_prepared
from snvrag.io.reading import open_haplotypes, open_prepared, read_panel
from snvrag.panel.panel import Panel
from snvrag.panel.site_block import SiteBlock


@pytest.fixture(scope="module")
def panel(mosaic_haplotypes) -> Panel:
    """2,500 sites in three parts, some samples haploid."""
    ploidy = np.where(np.arange(40) % 4 == 3, 1, 2)
    return make_panel(mosaic_haplotypes(70, 2500, seed=5), ploidy=ploidy)


@pytest.fixture(scope="module")
def ids() -> list[str]:
    return ["." if i % 3 else f"rs{i}é" for i in range(2500)]


@pytest.fixture
def path(tmp_path, panel, ids):
    path = tmp_path / "panel.safetensors"
    write_prepared(path, panel, ids, 63_025_520)
    return path


def same(a: Panel, b: Panel) -> None:
    assert a.fingerprint == b.fingerprint
    assert a.samples == b.samples
    np.testing.assert_array_equal(a.sample_ploidy, b.sample_ploidy)


def test_what_was_written_is_read(path, panel):
    got, report = read_panel(path, verify=True)
    same(got, panel)
    assert got.alleles.dtype == "<U1"
    assert str(report) == f"{path}: 2500 records, 2500 kept"
    flags = got.site_bits.flags
    assert (flags.aligned, flags.writeable, flags.owndata) == (True, False, False)
    chosen = np.array([3, 0, 39])
    same(got.select_samples(chosen), panel.select_samples(chosen))  # as of a panel in memory


def test_blocks(path, panel, ids):
    for num_sites in (1, 700, 1024, 10_000):
        reader = open_haplotypes(path)
        assert reader.samples == panel.samples
        assert reader.ploidy.tolist() == panel.sample_ploidy.tolist()
        assert (reader.chrom, reader.contig_length) == ("1", 63_025_520)
        blocks = list(reader.blocks(num_sites))
        assert {block.num_sites for block in blocks[:-1]} <= {num_sites}
        joined = SiteBlock.concat(blocks)
        assert joined.ids == ids
        for name in ("position", "alleles", "site_bits"):
            np.testing.assert_array_equal(getattr(joined, name), getattr(panel, name))
        assert reader.report.num_records == 2500


def test_region(path, panel, ids):
    for region, first, last in (
        ("1:1037-1074", 1037, 1074),
        ("1:40000-", 40_000, 10**9),
        ("1:1-50000", 1, 50_000),
        ("1", 1, 10**9),
    ):
        wanted = np.flatnonzero((panel.position >= first) & (panel.position <= last))
        same(read_panel(path, region=region)[0], panel.select_sites(wanted))
        blocks = open_haplotypes(path, region=region).blocks(100)
        assert [name for block in blocks for name in block.ids] == [ids[i] for i in wanted]
    for region, words in (("2", r"region must be .* \(1\), got 2"), ("1:5-6", "left in 1:5-6")):
        with pytest.raises(InputError, match=words):
            open_haplotypes(path, region=region)


@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (64, 1024), (3, 1025)])
def test_tiny(tmp_path, mosaic_haplotypes, shape):
    num_haplotypes, num_sites = shape
    made = make_panel(mosaic_haplotypes(*shape), ploidy=np.ones(num_haplotypes, np.int64))
    write_prepared(tmp_path / "p", made, ["."] * num_sites)
    same(read_panel(tmp_path / "p", verify=True)[0], made)
    assert open_haplotypes(tmp_path / "p").contig_length is None


def test_the_formats_own_library_reads_it(path, panel):
    safetensors = pytest.importorskip("safetensors")
    with safetensors.safe_open(path, framework="np") as opened:
        assert opened.metadata()["format"] == "snvrag panel"
        np.testing.assert_array_equal(opened.get_tensor("site_bits"), panel.site_bits)
        np.testing.assert_array_equal(opened.get_tensor("position"), panel.position)


def test_opening_does_not_read_the_arrays(tmp_path, path, monkeypatch):
    """A panel of 20 GB, all holes, opens as fast as a small one: within 50 ms."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    words, num_sites = header["site_bits"]["shape"][1], 20_000_000
    old_end, size = header["site_bits"]["data_offsets"][1], 8 * 125 * num_sites
    assert words == 2
    header["site_bits"].update(shape=[num_sites, 125], data_offsets=[0, size])
    for name, entry in header.items():
        if name not in ("__metadata__", "site_bits"):
            entry["data_offsets"] = [at + size - old_end for at in entry["data_offsets"]]
    header["__metadata__"]["header_crc32"] = str(prepared._header_crc32(header))
    text = json.dumps(header).encode()
    text += b" " * (-(len(text) + 8) % 64)
    big = tmp_path / "big"
    with open(big, "wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        stream.seek(size, os.SEEK_CUR)
        stream.write(data[8 + length + old_end :])
    assert big.stat().st_size > 20e9
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        open_haplotypes(big)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.05


def refused(path, words=""):
    """The file is refused by one line that names it."""
    with pytest.raises(InputError) as error:
        open_prepared(path).verify()
    assert str(error.value).startswith(f"{path}: {words}")
    assert "\n" not in str(error.value)


def test_truncated(tmp_path, path):
    whole = path.read_bytes()
    cut = tmp_path / "cut"
    for share in (0, 0.0001, 0.01, 0.5, 0.999):
        cut.write_bytes(whole[: int(len(whole) * share)])
        refused(cut)
        with pytest.raises(InputError):
            open_haplotypes(cut)
    cut.write_bytes(whole + b"x")
    refused(cut, "damaged, 1 bytes too many")


def test_another_version_and_another_format(tmp_path, path, monkeypatch):
    monkeypatch.setattr(prepared, "VERSION", "2")
    refused(path, "format version 1, this snvrag reads version 2: prepare the panel again")
    text = b'{"__metadata__":{"format":"pt"},"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"w")
    refused(path, "not a panel prepared by snvrag")


def test_any_flipped_bit_is_found(tmp_path, path):
    whole = path.read_bytes()
    header_end = 8 + int.from_bytes(whole[:8], "little")
    random = np.random.default_rng(1)
    padding = len(whole[:header_end]) - len(whole[:header_end].rstrip())
    places = [*range(0, header_end - padding, 7), *random.integers(header_end, len(whole), 200)]
    other = tmp_path / "flipped"
    for place in places:
        data = bytearray(whole)
        data[place] ^= 1 << int(random.integers(8))
        other.write_bytes(data)
        refused(other)


def test_a_stream_finds_the_damage_in_what_it_reads(tmp_path, path):
    data = bytearray(path.read_bytes())
    begin = 8 + int.from_bytes(data[:8], "little")
    data[begin + 16 * (PART_SITES + 3)] ^= 1  # two words a site, so in the second part
    path.write_bytes(data)
    blocks = open_haplotypes(path).blocks()
    assert next(blocks).num_sites == PART_SITES
    with pytest.raises(InputError, match="the haplotypes at sites 1024 to 2047"):
        next(blocks)
    read_panel(path)  # nothing compared, nothing found
