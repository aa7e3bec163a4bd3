"""The command line of ``python -m snvrag.impute``: options, errors, exit codes, signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from snvrag.impute import main
from snvrag.io import imputed_vcf
from training_runs import run_train


@pytest.fixture
def arguments(tmp_path, tiny_vcf):
    """Return the function that makes a command line; the panel is the target too."""

    def make(**changes):
        named = {"panel": tiny_vcf, "target": tiny_vcf, "threads": 1}
        named |= {"output": tmp_path / "out.vcf", "device": "cpu", **changes}
        return [part for key, value in named.items() for part in (f"--{key}", str(value))]

    return make


def test_a_file_is_imputed(arguments, tmp_path, capsys):
    assert main([*arguments(), "--report", str(tmp_path / "r.tsv"), "--overwrite"]) == 0
    text = (tmp_path / "out.vcf").read_text()
    assert f"\n##snvragCommand=snvrag impute {' '.join(arguments())} --report " in text
    assert text.count("\n1\t") == 200
    assert f"Wrote {tmp_path / 'out.vcf'}: 200 sites, 24 samples" in capsys.readouterr().out


def test_a_model_of_v18_imputes(arguments, tmp_path, tiny_arguments, capsys):
    """Although its last window was short: imputation cuts its own."""
    small = ["--width", "16", "--heads", "2", "--epochs", "1", "--output", str(tmp_path / "run")]
    run_train([*tiny_arguments, "--preset", "v18", "--layers", "1", *small])
    model = tmp_path / "run" / "rag_bert.model.best"
    assert "equal_windows = false" in (tmp_path / "run" / "config.toml").read_text()
    assert main(arguments(model=model)) == 0
    assert (tmp_path / "out.vcf").read_text().count("\n1\t") == 200
    assert main([*arguments(model=model, output=tmp_path / "o.bcf"), "--save-model", "m"]) == 2
    assert "--save-model must not be given with a transformer" in capsys.readouterr().err


def test_errors_are_one_line(arguments, tmp_path, capsys, tiny_model):
    for changes, expected in (
        ({"panel": "none.vcf"}, "none.vcf: no such file"),
        ({"model": "none"}, "--model none: no such file"),
        ({"output": "out.txt"}, "--output out.txt: must end in .vcf.gz, .bcf or .vcf"),
        ({"output": "/none/out.vcf"}, "--output /none/out.vcf: there is no folder /none"),
        ({"report": "/none/r.tsv"}, "--report /none/r.tsv: there is no folder /none"),
        ({"save-model": "/none/m"}, "--save-model /none/m: there is no folder /none"),
        ({"threads": "0"}, "--threads must be from 1 to 1024, got 0"),
        (
            {"device": "tpu", "model": tiny_model},
            "--device must be cpu, cuda, cuda:N or auto, got tpu",
        ),
        ({"genetic-map": "none"}, "--genetic-map none: cannot be read"),
    ):
        assert main(arguments(**changes)) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("snvrag impute: error: ")
        assert expected in line
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_leaves_nothing(arguments, tmp_path, monkeypatch, number, code):
    write = imputed_vcf.ImputedWriter.write

    def interrupted(self, *values):
        write(self, *values)
        assert list(tmp_path.iterdir()) != []
        os.kill(os.getpid(), number)

    monkeypatch.setattr(imputed_vcf.ImputedWriter, "write", interrupted)
    # A job in the background of a shell inherits that Ctrl-C is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        ended = main(arguments(output=tmp_path / "out.bcf", report=tmp_path / "r.tsv"))
    except SystemExit as stopped:
        ended = stopped.code
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended == code
    assert list(tmp_path.iterdir()) == []


def loaded_by(given, slow):
    """Run the command line in a process of its own; return its end and which modules it loaded."""
    script = (
        "import atexit, runpy, sys\n"
        f"sys.argv[1:] = {[str(word) for word in given]}\n"
        f"atexit.register(lambda: print('loaded:', sorted({slow} & sys.modules.keys())))\n"
        "runpy.run_module('snvrag.impute', run_name='__main__')\n"
    )
    command = [sys.executable, "-c", script]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    return run, run.stdout.splitlines()[-1]


@pytest.mark.parametrize(("given", "code"), [(["--help"], 0), (["--panel", "x"], 2)])
def test_help_and_wrong_arguments_do_not_wait_for_torch(given, code):
    """Nor for Numba, nor for the readers of files."""
    run, loaded = loaded_by(given, {"torch", "numba", "cyvcf2", "safetensors"})
    assert run.returncode == code, run.stderr
    assert loaded == "loaded: []"
    assert "--genetic-map" in run.stdout + run.stderr or code == 2


def test_a_saved_model_needs_no_torch(arguments, tmp_path):
    """Nor Numba, which takes half a second to load."""
    model = tmp_path / "m.safetensors"
    for given in (["--save-model", model], ["--model", model, "--overwrite"]):
        run, loaded = loaded_by([*arguments(), *given], {"torch", "numba"})
        assert run.returncode == 0, run.stderr
        assert loaded == "loaded: []"
        assert (tmp_path / "out.vcf").read_text().count("\n1\t") == 200
