"""The command line of ``python -m snvrag.impute``: options, errors, exit codes, signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from snvrag.impute import main
from snvrag.io import imputed_vcf


@pytest.fixture
def arguments(tmp_path: Path, tiny_vcf: Path, tiny_model: Path) -> Callable[..., list[str]]:
    """Return the function that makes a command line; the panel is the target too."""

    def make(**changes: Any) -> list[str]:
        named = {
            "panel": tiny_vcf,
            "target": tiny_vcf,
            "model": tiny_model,
            "output": tmp_path / "out.vcf",
            "threads": 1,
            "device": "cpu",
            **changes,
        }
        return [part for key, value in named.items() for part in (f"--{key}", str(value))]

    return make


def test_a_file_is_imputed(
    arguments: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments(), "--report", str(tmp_path / "r.tsv"), "--overwrite"]) == 0
    text = (tmp_path / "out.vcf").read_text()
    assert f"\n##snvragCommand=snvrag impute {' '.join(arguments())} --report " in text
    assert text.count("\n1\t") == 200
    assert f"Wrote {tmp_path / 'out.vcf'}: 200 sites, 24 samples" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"panel": "none.vcf"}, "none.vcf: no such file"),
        ({"model": "none"}, "--model none: no such file"),
        ({"output": "out.txt"}, "--output out.txt: must end in .vcf.gz, .bcf or .vcf"),
        ({"output": "/none/out.vcf"}, "--output /none/out.vcf: there is no folder /none"),
        ({"report": "/none/r.tsv"}, "--report /none/r.tsv: there is no folder /none"),
        ({"threads": "0"}, "--threads must be from 1 to 1024, got 0"),
        ({"device": "tpu"}, "--device must be cpu, cuda, cuda:N or auto, got tpu"),
        ({"genetic-map": "none"}, "--genetic-map none: cannot be read"),
    ],
)
def test_errors_are_one_line(
    arguments: Callable[..., list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, str],
    expected: str,
) -> None:
    assert main(arguments(**changes)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("snvrag impute: error: ")
    assert expected in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", [KeyboardInterrupt, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing(
    arguments: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: Any
) -> None:
    write = imputed_vcf.ImputedWriter.write

    def interrupted(self: Any, *values: Any) -> None:
        write(self, *values)
        assert list(tmp_path.iterdir()) != []
        if how is KeyboardInterrupt:
            raise KeyboardInterrupt
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(imputed_vcf.ImputedWriter, "write", interrupted)
    given = arguments(output=tmp_path / "out.bcf", report=tmp_path / "r.tsv")
    if how is KeyboardInterrupt:
        assert main(given) == 130
    else:
        with pytest.raises(SystemExit) as ended:
            main(given)
        assert ended.value.code == 143
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("given", "code"), [(["--help"], 0), (["--panel", "x"], 2)])
def test_help_and_wrong_arguments_do_not_wait_for_torch(given: list[str], code: int) -> None:
    """Nor for Numba, nor for the reader of VCF files."""
    script = (
        "import atexit, runpy, sys\n"
        f"sys.argv[1:] = {given}\n"
        "slow = {'torch', 'numba', 'cyvcf2'}\n"
        "atexit.register(lambda: print('loaded:', sorted(slow & sys.modules.keys())))\n"
        "runpy.run_module('snvrag.impute', run_name='__main__')\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert run.returncode == code, run.stderr
    assert run.stdout.endswith("loaded: []\n")
    assert "--allow-unphased" in run.stdout + run.stderr or code == 2
