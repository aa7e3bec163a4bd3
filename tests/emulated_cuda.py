"""A device where there is none: the CUDA kernels as C++, with CPU tensors in its memory.

`build` compiles the extension module on the emulator of csrc/tests, and `install` puts it in the
place of ``snvrag._cuda``. All that calls it is then run as on a GPU.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import snvrag.imputation.network_imputer
import snvrag.training.networks
from snvrag.kernels.cuda import arrays

ROOT = Path(__file__).resolve().parent.parent


def build(folder: Path) -> ModuleType:
    """Compile the module and load it; skip where that cannot be done."""
    if shutil.which("cmake") is None or shutil.which("c++") is None:
        pytest.skip("no CMake or no C++ compiler here")
    pybind11 = pytest.importorskip("pybind11")
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    options = {
        "CMAKE_BUILD_TYPE": "Release",
        "SNVRAG_TESTS": "ON",
        "SNVRAG_CUDA": "OFF",
        "pybind11_DIR": pybind11.get_cmake_dir(),
        "Python_EXECUTABLE": sys.executable,
    }
    words = [f"-D{name}={value}" for name, value in options.items()]
    for command in (
        ["-S", ROOT, "-B", folder, *generator, *words],
        ["--build", folder, "--target", "snvrag_cuda_emulated", "--parallel", "2"],
    ):
        ran = subprocess.run(["cmake", *map(str, command)], capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout + ran.stderr
    (path,) = folder.rglob("_cuda.*")
    return load(path)


def load(path: Path) -> ModuleType:
    """Return the compiled module.

    Under the name of the package's own, pybind11 would return that one, if it has been imported.
    """
    spec = importlib.util.spec_from_file_location("emulated._cuda", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def install(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> torch.device:
    """Make the CPU the emulated device, and return it."""
    monkeypatch.setitem(sys.modules, "snvrag._cuda", module)
    monkeypatch.setattr(arrays, "_CUDA", 1)  # DLPack's number of the CPU
    for name, function in {
        "owns": lambda self, x: isinstance(x, torch.Tensor),
        "current": lambda self, like: nullcontext(),
        "stream": lambda self, like: 0,
        "upload": lambda self, array, like: torch.tensor(array),
    }.items():
        monkeypatch.setattr(arrays._Torch, name, function)
    for caller in (snvrag.training.networks, snvrag.imputation.network_imputer):
        monkeypatch.setattr(caller, "holds_panel", lambda device: True)
    return torch.device("cpu")


class DeviceReads(TorchDispatchMode):
    """Counts what waits for a device: a number that is read, a shape that values decide."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        name = function.overloadpacket.__name__
        if name in ("_local_scalar_dense", "nonzero", "equal", "masked_select", "unique"):
            self.seen.append(name)
        return function(*arguments, **(options or {}))
