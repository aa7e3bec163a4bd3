"""What was built and what runs."""

from __future__ import annotations

import importlib.util
from importlib import metadata
from pathlib import Path
from typing import Any

from . import _core


def build_info() -> dict[str, Any]:
    """Tell what was built and which instruction set runs.

    Returns
    -------
    dict
        ``version``, ``compiler`` of the CPU extension, ``simd_levels`` (those that this build holds
        and this machine runs), ``simd_level`` (the one in use; the environment variable
        ``SNVRAG_SIMD`` chooses another) and ``cuda`` (whether the CUDA extension was built; that a
        device is there, it does not say).

    Examples
    --------
    >>> import snvrag
    >>> "scalar" in snvrag.build_info()["simd_levels"]
    True
    """
    return {
        "version": metadata.version("snvrag"),
        "compiler": _core.compiler,
        "simd_levels": _core.simd_levels(),
        "simd_level": _core.simd_level(),
        "cuda": importlib.util.find_spec("snvrag._cuda") is not None,
    }


def get_include() -> str:
    """Return the folder to put on a C++ compiler's include path for ``snvrag/*.hpp``.

    Examples
    --------
    >>> import os, snvrag
    >>> os.path.exists(os.path.join(snvrag.get_include(), "snvrag", "bits.hpp"))
    True
    """
    return str(Path(_core.__file__).resolve().parent / "include")
