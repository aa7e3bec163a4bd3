"""Model files give back what was saved, and refuse what they cannot be."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from snvrag.errors import InputError
from snvrag.io import model_file
from snvrag.io.model_file import Adapted, load_model_file, save_model
from snvrag.kernels import EVIDENCE, HeadWeights


def model(num_typed: int = 3, *, with_head: bool = True) -> Adapted:
    """Return a model whose numbers are all different."""
    count = len(EVIDENCE)
    draw = np.random.default_rng(1).random
    head = HeadWeights(
        mean=draw(count, np.float32),
        scale=draw(count, np.float32),
        hidden_weight=draw((count, 5), np.float32),
        hidden_bias=draw(5, np.float32),
        output_weight=draw(5, np.float32),
        output_bias=0.5,
    )
    return Adapted(
        chrom="chr20",
        position=1000 + np.arange(num_typed),
        alleles=np.array([["A", "G"], ["T", "C"], ["C", "A"]])[:num_typed],
        cumulative_rho=np.cumsum(draw(num_typed)),
        mismatch=1e-4 / 3,
        head=head if with_head else None,
        panel="größe.vcf.gz",
        num_haplotypes=480,
    )


def assert_equal(got: Adapted, want: Adapted) -> None:
    for name, value in vars(want).items():
        found = getattr(got, name)
        if isinstance(value, HeadWeights):
            for one, other in zip(found, value, strict=True):
                assert np.array_equal(one, other)
        else:
            assert np.array_equal(found, value), name
            assert np.asarray(found).dtype == np.asarray(value).dtype, name


@pytest.mark.parametrize("num_typed", [0, 1, 3])
@pytest.mark.parametrize("with_head", [True, False])
def test_what_is_saved_is_loaded(tmp_path, num_typed, with_head):
    path, saved = tmp_path / "model.safetensors", model(num_typed, with_head=with_head)
    save_model(path, saved)
    assert_equal(load_model_file(path), saved)
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


def test_typed_sites_are_told_apart_by_position_and_alleles():
    one = model()
    assert one.is_for(one.position, one.alleles)
    assert not one.is_for(one.position + 1, one.alleles)
    assert not one.is_for(one.position, one.alleles[:, ::-1])
    assert not one.is_for(one.position[:2], one.alleles[:2])


def refused(path: Path, text: str) -> None:
    with pytest.raises(InputError) as error:
        load_model_file(path)
    assert str(error.value).startswith(f"model {path}: ")
    assert text in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_no_model_file_is_refused_in_one_line(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    refused(path, "cannot be read (No such file")
    refused(tmp_path, "cannot be read")
    path.write_bytes(b"PK\x03\x04 and so on")
    refused(path, "damaged, or not a model file")
    save_model(path, model())
    path.write_bytes(path.read_bytes()[:-1])
    refused(path, "damaged, or not a model file")
    save_file({"position": np.arange(3)}, path)
    refused(path, "got another file")
    monkeypatch.setattr(model_file, "FORMAT", "snvrag model 0")
    save_model(path, model())
    monkeypatch.undo()
    refused(path, "got snvrag model 0")
    monkeypatch.setattr(model_file, "EVIDENCE", (*EVIDENCE, "one_more"))
    save_model(path, model(with_head=False))
    monkeypatch.undo()
    refused(path, "other evidence")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cumulative_rho", np.zeros(2)),
        ("cumulative_rho", np.array([0, np.nan, 1])),
        ("position", np.arange(3.0)),
    ],
)
def test_wrong_arrays_are_refused(tmp_path, name, value):
    save_model(tmp_path / "m", replace(model(), **{name: value}))
    refused(tmp_path / "m", f"damaged ({name} has ")


def test_no_torch_is_loaded(tmp_path):
    save_model(tmp_path / "m", model())
    code = (
        "import sys; from snvrag.io.model_file import load_model_file\n"
        "load_model_file(sys.argv[1]); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "m")], check=True, timeout=300)
