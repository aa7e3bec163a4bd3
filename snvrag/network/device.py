"""Devices that a network runs on."""

from __future__ import annotations

import importlib.util
import os
import shutil

import torch

from ..errors import InputError


def choose_device(name: str, local_rank: int | None = None) -> torch.device:
    """Return the device that ``cpu``, ``cuda``, ``cuda:N`` or ``auto`` (a GPU if any) means.

    ``local_rank`` is that of one of several processes on this machine, each of which has a GPU of
    its own. Raises `InputError` for another name, and for a GPU that this machine does not have.
    """

    def wrong(expected: str) -> InputError:
        return InputError(f"must be {expected}, got {name}", argument="device")

    chosen = name
    if chosen == "auto":
        chosen = "cuda" if torch.cuda.is_available() else "cpu"
    if local_rank is not None and chosen.startswith("cuda"):
        if chosen != "cuda":
            raise wrong("cpu, cuda or auto for several ranks")
        chosen = f"cuda:{local_rank}"
    try:
        device = torch.device(chosen)
    except RuntimeError:
        raise wrong("cpu, cuda, cuda:N or auto") from None
    if device.type not in ("cpu", "cuda"):
        raise wrong("cpu, cuda, cuda:N or auto")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise wrong(f"one of this machine's {torch.cuda.device_count()} CUDA devices")
    return device


def require_compiler(device: torch.device) -> None:
    """Raise `InputError` where compiled layers would fail for want of a compiler."""
    if device.type == "cpu":
        name = os.environ.get("CXX") or "g++"
        if shutil.which(name) is None:
            raise InputError(
                f"needs a C++ compiler, and there is no {name} here; CXX names another",
                argument="compile",
            )
    elif importlib.util.find_spec("triton") is None:
        raise InputError("needs Triton on a GPU, which is not installed", argument="compile")


def holds_panel(device: torch.device) -> bool:
    """Return whether retrieval runs on a device: on a GPU, if this build has the CUDA kernels."""
    return device.type == "cuda" and importlib.util.find_spec("snvrag._cuda") is not None
