"""Preparing a panel: by the library and by the command line."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np

from snvrag.io.prepare import prepare
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
    # A region of a prepared panel.
    prepare(str(output), str(tmp_path / "part"), region="1:1037-2000")
    wanted = np.flatnonzero((panel.position >= 1037) & (panel.position <= 2000))
    part = read_panel(tmp_path / "part")[0]
    assert part.fingerprint == panel.select_sites(wanted).fingerprint
    (block,) = open_haplotypes(tmp_path / "part").blocks()
    assert block.ids == [ids[i] for i in wanted]


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


def test_help_by_python():
    subprocess.run([sys.executable, "-m", "snvrag.prepare", "--help"], check=True)


def test_errors_are_one_line(tmp_path, tiny_vcf, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    header = [line for line in tiny_vcf.read_text().splitlines() if line.startswith("#")]
    (tmp_path / "bad.vcf").write_text("\n".join(header) + "\n")
    for arguments, words in (
        (["none.vcf", "out"], "error: none.vcf: no such file"),
        (["bad.vcf", "out"], "error: bad.vcf: no biallelic SNV left"),
        (["a.vcf"], "error: OUTPUT must be"),
        (["a.vcf", "out", "--verify"], "error: OUTPUT must be"),
        (["--verify", "{vcf}"], "not a panel prepared by snvrag"),
        (["{vcf}", "{vcf}"], "OUTPUT {vcf}: is the panel itself"),
        (["{vcf}", "no/such/folder/out"], "out: cannot be written"),
    ):
        assert main([text.format(vcf=tiny_vcf) for text in arguments]) == 2
        printed, error = capsys.readouterr()
        assert error.startswith("snvrag prepare: error: ")
        assert error.count("\n") == 1, error
        assert words.format(vcf=tiny_vcf) in error
        assert printed == ""
        assert os.listdir(tmp_path) == ["bad.vcf"]
