"""What is installed: the compiled package, how it was built, and where its C++ library lies."""

from __future__ import annotations

import platform
from importlib import machinery, util
from pathlib import Path
from typing import Any


def compiled_package() -> Path | None:
    """Return the folder of the installed, compiled package; None where it is this one.

    ``python -m`` puts the current folder first on the path, so at the root of a checkout the source
    folder is found before the installed package, and beside it there is no compiled module. Raises
    ImportError if nothing compiled is installed.
    """
    if util.find_spec("snvrag._core") is not None:
        return None
    from importlib import metadata

    here = Path(__file__).resolve().parent
    for distribution in metadata.distributions(name="snvrag"):
        installed = Path(str(distribution.locate_file("snvrag")))
        names = (f"_core{suffix}" for suffix in machinery.EXTENSION_SUFFIXES)
        if any((installed / name).exists() for name in names) and installed.resolve() != here:
            return installed
    raise ImportError(
        "snvrag's compiled module is missing: run 'pip install .' at the root of the checkout"
    )


def build_info() -> dict[str, Any]:
    """Return what was built and which instruction set runs.

    The keys are ``version``, ``commit`` of the checkout that was built (with ``-dirty`` after
    changes, "unknown" outside of a Git repository), ``compiler`` of the CPU extension,
    ``simd_levels`` (those that this build holds and this machine runs), ``simd_level`` (the one in
    use; the environment variable ``SNVRAG_SIMD`` chooses another) and ``cuda`` (whether the CUDA
    extension was built; that a device is there, it does not say).

    Examples
    --------
    >>> import snvrag
    >>> "scalar" in snvrag.build_info()["simd_levels"]
    True
    """
    from . import _core

    return {
        "version": version_of("snvrag"),
        "commit": _core.commit,
        "compiler": _core.compiler,
        "simd_levels": _core.simd_levels(),
        "simd_level": _core.simd_level(),
        "cuda": util.find_spec("snvrag._cuda") is not None,
    }


def version_of(distribution: str) -> str:
    """Return the version of an installed distribution, which is not imported; or "unknown"."""
    from importlib import metadata  # slow to load, and importing the kernels passes here

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "unknown"


def version_line() -> str:
    """Return one line of the versions, the commit and the instruction set that run.

    Examples
    --------
    >>> from snvrag._installation import version_line
    >>> version_line().startswith("snvrag ")
    True
    """
    info = build_info()
    return (
        f"snvrag {info['version']} (commit {info['commit']}, {info['simd_level']}), "
        f"Python {platform.python_version()}, torch {version_of('torch')}"
    )


def get_include() -> str:
    """Return the folder to put on a C++ compiler's include path for ``snvrag/*.hpp``.

    ``bits.hpp`` (layout of packed alleles) and ``philox.hpp`` (the generator of the masks; in CUDA
    code too) are complete by themselves. The other headers declare functions of the library that
    `get_cmake_dir` leads to.

    Examples
    --------
    >>> import os, snvrag
    >>> os.path.exists(os.path.join(snvrag.get_include(), "snvrag", "bits.hpp"))
    True
    """
    return str(_folder() / "include")


def get_cmake_dir() -> str:
    """Return the folder (``-Dsnvrag_DIR=``) where CMake's ``find_package(snvrag CONFIG)`` looks.

    The target ``snvrag::cpu`` brings the headers of `get_include` and the static library of this
    build, which needs the C++ standard library of `build_info`'s compiler or a compatible one. With
    another, make it from source: ``add_subdirectory`` of a checkout gives the same target.

    Examples
    --------
    >>> import os, snvrag
    >>> os.path.exists(os.path.join(snvrag.get_cmake_dir(), "snvragConfig.cmake"))
    True
    """
    return str(_folder() / "lib" / "cmake" / "snvrag")


def _folder() -> Path:
    from . import _core

    return Path(_core.__file__).resolve().parent
