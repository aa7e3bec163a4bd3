"""Preparing a panel: by the library and by the command line."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from panel_files import make_panel
from snvrag.errors import InputError
from snvrag.io.prepare import prepare
from snvrag.io.prepared import write_prepared
from snvrag.io.reading import open_haplotypes, read_panel
from snvrag.prepare import main


def test_a_prepared_panel_has_all_of_its_source(tmp_path, tiny_vcf):
    source, output = tmp_path / "source.vcf", tmp_path / "panel"
    lines = tiny_vcf.read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    for i in range(first, len(lines), 2):
        fields = lines[i].split("\t")
        lines[i] = "\t".join([*fields[:2], f"rs{i}", *fields[3:]])
    source.write_text("\n".join(lines) + "\n")
    panel, report = prepare(str(source), str(output))
    assert report.num_records == panel.num_sites == 200
    read = open_haplotypes(output)
    assert read.contig_length == 1_000_000
    (block,) = read.blocks()
    ids = [f"rs{i}" if (i - first) % 2 == 0 else "." for i in range(first, len(lines))]
    assert block.ids == ids
    for written in (panel, read_panel(output)[0]):
        assert written.fingerprint == read_panel(source)[0].fingerprint


def test_a_region_of_a_prepared_panel(tmp_path, mosaic_haplotypes):
    panel = make_panel(mosaic_haplotypes(6, 90))
    write_prepared(tmp_path / "whole", panel, [f"rs{i}" for i in range(90)])
    prepare(str(tmp_path / "whole"), str(tmp_path / "part"), region="1:1037-2000")
    wanted = np.flatnonzero((panel.position >= 1037) & (panel.position <= 2000))
    part = read_panel(tmp_path / "part")[0]
    assert part.fingerprint == panel.select_sites(wanted).fingerprint
    assert next(open_haplotypes(tmp_path / "part").blocks()).ids == [f"rs{i}" for i in wanted]


def test_a_failed_write_leaves_the_old_file(tmp_path, tiny_vcf, monkeypatch):
    output = tmp_path / "panel"
    prepare(str(tiny_vcf), str(output))
    before = output.read_bytes()

    def fail(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("snvrag.io.atomic.os.fsync", fail)
    with pytest.raises(InputError, match=r"panel: cannot be written \(No space left on device\)"):
        prepare(str(tiny_vcf), str(output))
    assert output.read_bytes() == before
    assert os.listdir(tmp_path) == ["panel"]


# --- the command line -----------------------------------------------------------------------------


def test_prepare_and_verify(tmp_path, tiny_vcf, capsys):
    output = tmp_path / os.fsdecode(b"odd\xff")  # a name that is not UTF-8
    assert main([str(tiny_vcf), str(output)]) == 0
    printed = capsys.readouterr().out
    assert "200 records, 200 kept; " in printed
    assert "odd\\udcff: 48 haplotypes, 200 sites" in printed
    assert main(["--verify", str(output)]) == 0
    assert capsys.readouterr().out.endswith("odd\\udcff: OK\n")
    data = bytearray(output.read_bytes())
    data[-1] ^= 1
    (tmp_path / "damaged").write_bytes(data)
    assert main([str(tmp_path / "damaged"), "--verify"]) == 2
    assert "damaged: damaged, the checksum of the array ids does not" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.vcf", "out"], "error: none.vcf: no such file"),
        (["bad.vcf", "out"], "error: bad.vcf: no phased biallelic SNV left"),
        ([], "PANEL"),
        (["a.vcf"], "error: OUTPUT must be"),
        (["a.vcf", "out", "--verify"], "error: OUTPUT must be"),
        (["--verify", "{vcf}"], "not a panel prepared by snvrag"),
        (["{vcf}", "{vcf}"], "OUTPUT {vcf}: is the panel itself"),
        (["{vcf}", "no/such/folder/out"], "out: cannot be written"),
    ],
)
def test_by_subprocess(tmp_path, tiny_vcf, arguments, words):
    header = [line for line in tiny_vcf.read_text().splitlines() if line.startswith("#")]
    (tmp_path / "bad.vcf").write_text("\n".join(header) + "\n")
    ran = subprocess.run(
        [sys.executable, "-m", "snvrag.prepare", *(a.format(vcf=tiny_vcf) for a in arguments)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert ran.stderr.startswith("snvrag prepare: error: ")
    assert ran.stderr.count("\n") == 1, ran.stderr
    assert words.format(vcf=tiny_vcf) in ran.stderr
    assert ran.stdout == ""
    assert os.listdir(tmp_path) == ["bad.vcf"]
