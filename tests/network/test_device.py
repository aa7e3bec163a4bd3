"""Names of devices, and what is refused before a run begins."""

from __future__ import annotations

import pytest
import torch

from snvrag.errors import InputError
from snvrag.network import device as module
from snvrag.network.device import choose_device, require_compiler


@pytest.mark.parametrize(
    ("name", "gpus", "rank", "expected"),
    [
        *(("cpu", 2, None, "cpu"), ("cpu", 2, 1, "cpu"), ("auto", 0, None, "cpu")),
        *(("auto", 2, None, "cuda"), ("auto", 2, 1, "cuda:1")),
        *(("cuda", 2, None, "cuda"), ("cuda:1", 2, None, "cuda:1")),
        *(("gpu", 2, None, ""), ("", 2, None, ""), ("meta", 2, None, ""), ("cuda:2", 2, None, "")),
        *(("cuda", 0, None, ""), ("cuda:0", 2, 1, ""), ("auto", 2, 2, "")),
    ],
)
def test_choose_device(monkeypatch, name, gpus, rank, expected):
    """Refused where nothing is expected."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    if expected:
        assert choose_device(name, rank) == torch.device(expected)
    else:
        with pytest.raises(InputError, match=rf"^device must be .*, got {name}$"):
            choose_device(name, rank)


def test_a_compiler_is_asked_for_before_the_first_step(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(InputError, match=r"^compile needs a C\+\+ compiler.*no-such-compiler"):
        require_compiler(torch.device("cpu"))
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"^compile needs Triton"):
        require_compiler(torch.device("cuda"))
