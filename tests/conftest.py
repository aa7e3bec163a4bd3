"""Fixtures and settings of all tests; functions that tests share are in helpers.py."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray

import helpers
import panel_files
import snvrag
from snvrag import _core

settings.register_profile(
    "snvrag",
    derandomize=True,
    deadline=None,
    max_examples=30,
    # The fixture `simd_level` holds for all examples of a test, and is meant to.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("snvrag")


@pytest.fixture(params=_core.simd_levels())
def simd_level(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test once for every instruction set of this machine."""
    before = _core.simd_level()
    _core.set_simd_level(request.param)
    assert _core.simd_level() == request.param
    yield request.param
    _core.set_simd_level(before)


@pytest.fixture(autouse=True, scope="module")
def _torch_threads() -> Iterator[None]:
    """Restore torch's number of threads, which a training sets, after each module."""
    before = sys.modules["torch"].get_num_threads() if "torch" in sys.modules else None
    yield
    if before is not None:
        sys.modules["torch"].set_num_threads(before)


@pytest.fixture(scope="session")
def known_answers() -> Path:
    """Return the folder of known answers."""
    return Path(__file__).resolve().parent / "kat"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real haplotypes, which is not part of the repository."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SNVRAG_SHARED_DATA") or default)
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}; SNVRAG_SHARED_DATA names another")
    return folder


@pytest.fixture(scope="session")
def mosaic_haplotypes() -> Callable[..., NDArray[np.int8]]:
    """Return the function that makes haplotypes in linkage disequilibrium."""
    return helpers.mosaic_haplotypes


@pytest.fixture(scope="session")
def emulated_cuda_module(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the CUDA extension compiled on the emulator."""
    import emulated_cuda

    return emulated_cuda.build(tmp_path_factory.mktemp("emulated_cuda"))


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    """Return a GPU; where there is none, the CPU, on which CUDA kernels are then emulated."""
    import torch

    import emulated_cuda

    if torch.cuda.is_available() and snvrag.build_info()["cuda"]:
        return torch.device("cuda")
    if os.environ.get("SNVRAG_REQUIRE_GPU") == "1":
        pytest.fail("no CUDA device, or snvrag._cuda was not built")
    module = request.getfixturevalue("emulated_cuda_module")
    return emulated_cuda.install(monkeypatch, module)


# --- Fixtures of the upper half: panels, files and runs -------------------------------------------


@pytest.fixture(scope="session")
def make_panel() -> Callable[..., Any]:
    """Return the function that makes a Panel of (H, S) alleles."""
    return panel_files.make_panel


@pytest.fixture(scope="session")
def write_vcf() -> Callable[..., Path]:
    """Return the function that writes records to a plain VCF."""
    return panel_files.write_vcf


@pytest.fixture(scope="session")
def write_panel_vcf() -> Callable[..., Path]:
    """Return the function that writes a panel to a plain VCF."""
    return panel_files.write_panel_vcf


@pytest.fixture(scope="session")
def tiny_alleles() -> NDArray[np.int8]:
    """(48, 200) alleles of 24 samples, every site polymorphic in those that are not held out."""
    alleles = helpers.mosaic_haplotypes(48, 200, seed=3)
    kept = np.repeat(np.arange(24) % 6 != 0, 2)
    for s in range(200):  # the first allele of samples 1 and 2, where all agree
        alleles[2, s], alleles[4, s] = (
            (0, 1) if np.ptp(alleles[kept, s]) == 0 else alleles[[2, 4], s]
        )
    return alleles


@pytest.fixture(scope="session")
def tiny_vcf(tmp_path_factory: pytest.TempPathFactory, tiny_alleles: NDArray[np.int8]) -> Path:
    """Return the path of a plain VCF of `tiny_alleles`."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.vcf"
    return panel_files.write_panel_vcf(path, panel_files.make_panel(tiny_alleles), tiny_alleles)


@pytest.fixture(scope="session")
def head_arguments(tiny_vcf: Path) -> list[str]:
    """Arguments of `snvrag.train` that train a head within a second; --output is left out."""
    return [
        *("--panel", str(tiny_vcf), "--val-fraction", str(1 / 6), "--window-size", "64"),
        *("--epochs", "3", "--warmup-steps", "4", "--threads", "1", "--plot", "no"),
    ]


@pytest.fixture(scope="session")
def tiny_arguments(head_arguments: list[str]) -> list[str]:
    """Arguments of `snvrag.train` that train a transformer within a second."""
    return [
        *head_arguments,
        *("--network", "transformer", "--k", "4", "--width", "16", "--layers", "2"),
        *("--heads", "2", "--dropout", "0", "--batch-size", "16"),
    ]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, tiny_arguments: list[str]) -> Path:
    """Return the checkpoint of a transformer trained on `tiny_vcf`."""
    from training_runs import run_train

    folder = tmp_path_factory.mktemp("tiny_model")
    run_train([*tiny_arguments, "--output", str(folder)])
    return folder / "rag_bert.model.best"


@pytest.fixture(scope="session")
def head_model(tmp_path_factory: pytest.TempPathFactory, head_arguments: list[str]) -> Path:
    """Return the checkpoint of a head trained on `tiny_vcf`."""
    from training_runs import run_train

    folder = tmp_path_factory.mktemp("head_model")
    run_train([*head_arguments, "--output", str(folder)])
    return folder / "rag_bert.model.best"
