"""Retrieval-augmented imputation of SNV genotypes, on compiled kernels.

``snvrag.kernels`` holds the kernels for use in other projects (it loads neither torch nor CUDA);
``snvrag train`` trains a model, ``snvrag impute`` imputes a file.
"""

from ._installation import build_info, compiled_package, get_cmake_dir, get_include, version_of

if (_folder := compiled_package()) is not None:  # the modules to come are taken from there
    __path__ = [str(_folder)]
    __file__ = str(_folder / "__init__.py")


def __getattr__(name: str) -> str:
    if name != "__version__":
        raise AttributeError(f"module 'snvrag' has no attribute {name!r}")
    return version_of("snvrag")  # looked up when asked for, as that takes a while


__all__ = ["__version__", "build_info", "get_cmake_dir", "get_include"]
