"""Prepared panels: what goes in comes out, at once, and no flipped bit goes unseen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from snvrag.errors import InputError
from snvrag.io import prepared
from snvrag.io.prepared import PART_SITES, write_prepared
from snvrag.io.reading import open_haplotypes, open_prepared, read_panel
from snvrag.panel.panel import Panel
from snvrag.prepare import main


@pytest.fixture(scope="module")
def panel(mosaic_haplotypes, make_panel) -> Panel:
    """2,500 sites in three parts, some samples haploid."""
    alleles = mosaic_haplotypes(70, 2500, seed=5)
    ploidy = np.where(np.arange(40) % 4 == 3, 1, 2)
    made = make_panel(alleles)
    return replace(made, samples=tuple(f"s{i}" for i in range(40)), ploidy=ploidy)


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
    assert got.site_bits.flags.aligned
    assert not got.site_bits.flags.writeable
    assert not got.site_bits.flags.owndata
    # And it serves where a panel of one's own memory does.
    chosen = np.array([3, 0, 39])
    np.testing.assert_array_equal(
        got.sample_alleles(chosen, 100, 300), panel.sample_alleles(chosen, 100, 300)
    )
    same(got.select_samples(chosen), panel.select_samples(chosen))


@pytest.mark.parametrize("num_sites", [1, 700, 1024, 10_000])
def test_blocks(path, panel, ids, num_sites):
    reader = open_haplotypes(path)
    assert reader.samples == panel.samples
    assert reader.ploidy.tolist() == panel.sample_ploidy.tolist()
    assert reader.chrom == "1"
    assert reader.contig_length == 63_025_520
    blocks = list(reader.blocks(num_sites))
    assert {block.num_sites for block in blocks[:-1]} <= {num_sites}
    assert [name for block in blocks for name in block.ids] == ids
    for name in ("position", "alleles", "site_bits"):
        np.testing.assert_array_equal(
            np.concatenate([getattr(block, name) for block in blocks]), getattr(panel, name)
        )
    assert reader.report.num_records == 2500


@pytest.mark.parametrize("region", ["1:1037-1074", "1:40000-", "1:1-50000", "1"])
def test_region(path, panel, ids, region):
    first, _, last = region.partition(":")[2].partition("-")
    wanted = np.flatnonzero(
        (panel.position >= int(first or 1)) & (panel.position <= int(last or 10**9))
    )
    same(read_panel(path, region=region)[0], panel.select_sites(wanted))
    blocks = list(open_haplotypes(path, region=region).blocks(100))
    assert [name for block in blocks for name in block.ids] == [ids[i] for i in wanted]


def test_region_that_holds_nothing(path):
    with pytest.raises(InputError, match=r"no chromosome 2 \(it has 1\)"):
        open_haplotypes(path, region="2")
    with pytest.raises(InputError, match="left in 1:5-6"):
        open_haplotypes(path, region="1:5-6")


@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (64, 1024), (3, 1025)])
def test_tiny(tmp_path, mosaic_haplotypes, make_panel, shape):
    num_haplotypes, num_sites = shape
    alleles = mosaic_haplotypes(num_haplotypes, num_sites)
    names = tuple(f"s{i}" for i in range(num_haplotypes))
    made = replace(make_panel(alleles), samples=names, ploidy=np.ones(num_haplotypes, np.int64))
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


# --- damage ---------------------------------------------------------------------------------------


def refused(path, words=""):
    """The whole file is refused by one line that names it."""
    with pytest.raises(InputError) as error:
        open_prepared(path).verify()
    line = str(error.value)
    assert str(path) in line
    assert "\n" not in line
    assert words in line


@pytest.mark.parametrize("share", [0, 0.0001, 0.01, 0.5, 0.999])
def test_truncated(tmp_path, path, share):
    whole = path.read_bytes()
    cut = tmp_path / "cut"
    cut.write_bytes(whole[: int(len(whole) * share)])
    refused(cut)
    with pytest.raises(InputError):
        open_haplotypes(cut)
    cut.write_bytes(whole + b"x")
    refused(cut, "1 bytes too many")


def test_another_version(tmp_path, path, monkeypatch):
    monkeypatch.setattr(prepared, "VERSION", "2")
    refused(path, "format version 1, this snvrag reads version 2: prepare the panel again")


def test_a_safetensors_file_of_something_else(tmp_path):
    text = b'{"__metadata__":{"format":"pt"},"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
    path = tmp_path / "model"
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
    with pytest.raises(InputError, match="damaged"):
        read_panel(path, verify=True)
    read_panel(path)  # nothing compared, nothing found


# --- the command line -----------------------------------------------------------------------------


def test_prepare_and_verify(tmp_path, tiny_vcf, capsys):
    output = tmp_path / "panel.safetensors"
    assert main([str(tiny_vcf), str(output)]) == 0
    assert "200 records, 200 kept" in capsys.readouterr().out
    assert main(["--verify", str(output)]) == 0
    same(read_panel(output)[0], read_panel(tiny_vcf)[0])
    assert open_haplotypes(output).contig_length == 1_000_000
    assert os.listdir(tmp_path) == ["panel.safetensors"]
    data = bytearray(output.read_bytes())
    data[-1] ^= 1
    output.write_bytes(data)
    capsys.readouterr()
    assert main(["--verify", str(output)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("snvrag.prepare: error: ")
    assert error.count("\n") == 1


def test_a_prepared_panel_is_prepared_again_by_region(tmp_path, path, panel):
    assert main([str(path), str(tmp_path / "part"), "--region", "1:1000-2000"]) == 0
    wanted = np.flatnonzero(panel.position <= 2000)
    same(read_panel(tmp_path / "part")[0], panel.select_sites(wanted))


def test_a_failed_write_leaves_what_was_there(tmp_path, path, tiny_vcf, capsys, monkeypatch):
    before = path.read_bytes()

    def fail(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("snvrag.io.atomic.os.fsync", fail)
    assert main([str(tiny_vcf), str(path)]) == 2
    error = capsys.readouterr().err
    assert f"{path}: cannot be written (No space left on device)" in error
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


def test_a_name_that_is_not_utf_8(tmp_path, path, panel, capsys):
    odd = tmp_path / os.fsdecode(b"odd\xff")
    assert main([str(path), str(odd)]) == 0
    assert r"odd\udcff: " in capsys.readouterr().out
    same(read_panel(odd)[0], panel)


def test_an_interrupted_run(path, capsys, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("snvrag.prepare.prepare", interrupt)
    assert main([str(path), "out"]) == 130
    assert capsys.readouterr().err == "snvrag.prepare: interrupted: nothing was written\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.vcf", "out"], "none.vcf: no such file"),
        ([], "panel"),
        (["a.vcf"], "--verify"),
        (["--verify", "{vcf}"], "not a panel prepared by snvrag"),
        (["{vcf}", "{vcf}"], "the panel itself"),
        (["{vcf}", "no/such/folder/out"], "cannot be written"),
    ],
)
def test_by_subprocess(tmp_path, tiny_vcf, arguments, words):
    ran = subprocess.run(
        [sys.executable, "-m", "snvrag.prepare", *(a.format(vcf=tiny_vcf) for a in arguments)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 2
    assert ran.stderr.count("\n") == 1, ran.stderr
    assert words in ran.stderr
    assert ran.stdout == ""
    assert os.listdir(tmp_path) == []
