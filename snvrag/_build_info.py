"""What was built and what runs."""

from __future__ import annotations

import importlib.util
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
    from importlib import metadata  # slow to load, and importing the kernels passes here

    return {
        "version": metadata.version("snvrag"),
        "compiler": _core.compiler,
        "simd_levels": _core.simd_levels(),
        "simd_level": _core.simd_level(),
        "cuda": importlib.util.find_spec("snvrag._cuda") is not None,
    }


def get_include() -> str:
    """Return the folder to put on a C++ compiler's include path for ``snvrag/*.hpp``.

    ``bits.hpp`` (layout of packed alleles) and ``philox.hpp`` (the generator of the masks; in CUDA
    code too) are complete by themselves. The other headers declare functions of the library that
    `get_cmake_dir` leads to.

    Returns
    -------
    str
        Path of a folder with the folder ``snvrag`` in it.

    Examples
    --------
    >>> import os, snvrag
    >>> os.path.exists(os.path.join(snvrag.get_include(), "snvrag", "bits.hpp"))
    True
    """
    return str(Path(_core.__file__).resolve().parent / "include")


def get_cmake_dir() -> str:
    """Return the folder where CMake's ``find_package(snvrag CONFIG)`` finds the C++ library.

    The target ``snvrag::cpu`` brings the headers of `get_include` and the static library of this
    build, which needs the C++ standard library of `build_info`'s compiler or a compatible one. With
    another, make it from source: ``add_subdirectory`` of a checkout gives the same target.

    Returns
    -------
    str
        Path of the folder with ``snvragConfig.cmake``, for ``-Dsnvrag_DIR=``.

    Examples
    --------
    >>> import os, snvrag
    >>> os.path.exists(os.path.join(snvrag.get_cmake_dir(), "snvragConfig.cmake"))
    True
    """
    return str(Path(_core.__file__).resolve().parent / "lib" / "cmake" / "snvrag")
