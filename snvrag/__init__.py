"""Retrieval-augmented imputation of SNV genotypes, on compiled kernels.

``snvrag.kernels`` holds the kernels for use in other projects (it loads neither torch nor CUDA);
``python -m snvrag.train`` trains a model.
"""

from importlib import machinery as _machinery
from importlib import util as _util
from pathlib import Path as _Path


def _point_at_installed_package() -> None:
    """Make the installed, compiled package the one that runs.

    ``python -m`` puts the current folder first on the path, so at the root of a checkout this file
    is found before the installed one, and beside it there is no compiled module.
    """
    global __path__, __file__
    if _util.find_spec("snvrag._core") is not None:
        return
    from importlib import metadata

    here = _Path(__file__).resolve().parent
    for distribution in metadata.distributions(name="snvrag"):
        installed = _Path(str(distribution.locate_file("snvrag")))
        names = (f"_core{suffix}" for suffix in _machinery.EXTENSION_SUFFIXES)
        if any((installed / name).exists() for name in names) and installed.resolve() != here:
            __path__ = [str(installed)]
            __file__ = str(installed / "__init__.py")
            return
    raise ImportError(
        "snvrag's compiled module is missing: run 'pip install .' at the root of the checkout"
    )


_point_at_installed_package()

from ._build_info import build_info, get_cmake_dir, get_include  # noqa: E402


def __getattr__(name: str) -> str:
    if name != "__version__":
        raise AttributeError(f"module 'snvrag' has no attribute {name!r}")
    # Looked up when asked for: importlib.metadata takes longer to load than all the rest of this
    # package.
    from importlib import metadata

    try:
        return metadata.version("snvrag")
    except metadata.PackageNotFoundError:
        return "unknown"


__all__ = ["__version__", "build_info", "get_cmake_dir", "get_include"]
