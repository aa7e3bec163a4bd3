"""Records of formats that hold genotypes as arrays: what HDF5 and Zarr have in common."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, one_line
from ..panel.regions import Region
from .records import Record

# Sites read at a time where the file has no chunks, and memory for genotypes where it has large
# ones: those are then decompressed more than once.
_RANGE_SITES = 1024
_MOST_BYTES = 64 << 20
_NO_ALLELE = np.int32(-(2**31) + 1)


class Site(NamedTuple):
    """A site as an array format has it; ``alleles`` begins with REF."""

    chrom: str
    position: int
    id: str
    alleles: list[str]


class ArraySource(ABC):
    """Sites and genotypes in arrays along the sites, read a range at a time.

    Genotypes are integers, (sites, samples, ploidy): -1 a missing allele, -2 none (the end of a
    haploid call).

    Parameters
    ----------
    path : str
    region : Region, optional

    Raises
    ------
    InputError
        If an array is missing, of another shape than the others or of no numbers.
    """

    genotypes: str
    """Name of the array of genotypes."""

    def __init__(self, path: str, region: Region | None) -> None:
        self.path = path
        self._region = region
        self._first = self._stop = 0
        with self.quiet():
            try:
                self._arrays = self._open()
                self._check_shapes()
                names = [text(name) for name in self._array(self._samples_name)[:]]
            except InputError:
                raise
            except Exception as error:  # of any kind, by whatever a damaged file meets
                raise InputError(f"{path}: cannot be read ({one_line(error)})") from error
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise InputError(f"{path}: sample {twice[0]} stands twice")
        if not names:
            raise InputError(f"{path}: no samples")
        self.samples = tuple(names)

    _samples_name: str
    _position_name: str

    @abstractmethod
    def _open(self) -> Any:
        """Return the group of arrays."""

    @abstractmethod
    def _read_sites(self, start: int, stop: int) -> Iterator[Site]:
        """Yield the sites of a range."""

    @abstractmethod
    def _read_calls(self, start: int, stop: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the (n, samples, ploidy) alleles of a range, and which (n, samples) are phased."""

    @abstractmethod
    def contig_length(self, chrom: str) -> int | None:
        """Return the length of a chromosome in bp, if the file tells it."""

    def records(self) -> Iterator[Record]:
        """Yield the records in file order."""
        region = self._region
        for start in range(0, self._num_sites, self._range_sites):
            stop = min(start + self._range_sites, self._num_sites)
            try:
                sites = list(self._read_sites(start, stop))
            except Exception as error:
                raise self._damage(start, error) from error
            for row, site in enumerate(sites, start):
                if region is None or region.holds(site.chrom, site.position):
                    ref, *alts = site.alleles
                    yield site.chrom, site.position, site.id, ref, alts, row

    def codes(self, handle: int) -> NDArray[np.int32]:
        """Return the genotypes of a row coded as in BCF."""
        row = handle
        if not self._first <= row < self._stop:
            start = row - row % self._range_sites
            stop = min(start + self._range_sites, self._num_sites)
            try:
                self._calls, self._phased = self._read_calls(start, stop)
                if self._phased.shape != self._calls.shape[:2]:
                    raise ValueError(f"phase of the shape {self._phased.shape}")
            except Exception as error:
                raise self._damage(start, error) from error
            self._first, self._stop = start, stop
        calls = self._calls[row - self._first]
        codes: NDArray[np.int32] = (calls.astype(np.int32) + 1) << 1
        codes |= self._phased[row - self._first][:, None]
        if (calls.min(initial=0)) < -1:
            codes[calls < -1] = _NO_ALLELE
        return codes

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Let the libraries' warnings of formats pass unheard."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield

    def _array(self, name: str) -> Any:
        if name not in self._arrays:
            raise InputError(f"{self.path}: no array {name}")
        return self._arrays[name]

    def _optional(self, name: str, sites: slice) -> NDArray[Any] | None:
        """Return a range of an array that a file may lack."""
        values: NDArray[Any] | None = self._arrays[name][sites] if name in self._arrays else None
        return values

    def _check_shapes(self) -> None:
        calls, position = self._array(self.genotypes), self._array(self._position_name)
        # Before anything is read: a damaged shape may stand for more than any memory.
        shape = (*position.shape, *self._array(self._samples_name).shape)
        if len(calls.shape) != 3 or calls.shape[:2] != shape:
            raise InputError(
                f"{self.path}: {self.genotypes} has the shape {calls.shape}, expected {shape} and "
                "the ploidy"
            )
        for name, array in ((self.genotypes, calls), (self._position_name, position)):
            if getattr(array.dtype, "kind", "") not in "iu":
                raise InputError(f"{self.path}: {name} has no whole numbers but {array.dtype}")
        self._num_sites = int(position.shape[0])
        site_bytes = max(1, calls.shape[1] * calls.shape[2] * calls.dtype.itemsize)
        chunk = calls.chunks[0] if calls.chunks else _RANGE_SITES
        self._range_sites = max(1, min(chunk, _MOST_BYTES // site_bytes))

    def _damage(self, start: int, error: Exception) -> InputError:
        return InputError(f"{self.path}: damaged behind {start} records ({one_line(error)})")


def text(value: Any) -> str:
    """Return a string, whatever the library has for it."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
