"""Retrieval-augmented imputation of SNV genotypes, on compiled kernels.

``snvrag.kernels`` holds the kernels for use in other projects (it loads neither torch nor CUDA);
``snvrag train`` trains a model, ``snvrag impute`` imputes a file.
"""

from ._installation import build_info, compiled_package, get_cmake_dir, get_include

if (_folder := compiled_package()) is not None:  # the modules to come are taken from there
    __path__ = [str(_folder)]
    __file__ = str(_folder / "__init__.py")


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
