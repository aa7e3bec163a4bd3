"""Fixtures of the CUDA tests: one for each array library that is installed.

Without a device, or without the extension, these tests skip; with SNVRAG_REQUIRE_GPU=1 they fail
instead (CuPy may be missing in either case).
"""

import importlib
import os

import numpy as np
import pytest

import snvrag


def missing(reason):
    (pytest.fail if os.environ.get("SNVRAG_REQUIRE_GPU") == "1" else pytest.skip)(reason)


class Torch:
    def __init__(self):
        self.torch = importlib.import_module("torch")

    def is_ready(self):
        return self.torch.cuda.is_available()

    def put(self, array):
        return self.torch.tensor(array).cuda()

    def get(self, x):
        assert x.is_cuda
        return x.cpu().numpy()


class CuPy:
    def __init__(self):
        self.cupy = importlib.import_module("cupy")

    def is_ready(self):
        return True

    def put(self, array):
        return self.cupy.asarray(array)

    def get(self, x):
        assert isinstance(x, self.cupy.ndarray)
        return self.cupy.asnumpy(x)


def library(name):
    if not snvrag.build_info()["cuda"]:
        missing("snvrag._cuda was not built")
    if importlib.import_module("snvrag._cuda").device_count() == 0:
        missing("no CUDA device")
    try:
        found = {"torch": Torch, "cupy": CuPy}[name]()
    except ImportError:
        (missing if name == "torch" else pytest.skip)(f"{name} is not installed")
    if not found.is_ready():
        missing(f"{name} finds no CUDA device")
    return found


@pytest.fixture(params=["torch", "cupy"])
def gpu(request):
    return library(request.param)


@pytest.fixture
def torch_gpu():
    return library("torch")


@pytest.fixture
def rng():
    return np.random.default_rng(7)
