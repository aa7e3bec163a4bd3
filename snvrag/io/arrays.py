"""Records of formats that hold genotypes as arrays: the common part of HDF5 and Zarr."""

from __future__ import annotations

import importlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, one_line
from ..panel.regions import Region
from .records import NO_ALLELE, Record, checked_samples

# Sites read at once from a file without chunks.
_RANGE_SITES = 1024
# Bytes of genotypes read at once. Chunks that are larger are decompressed more than once.
_MAX_BYTES = 64 << 20


class Site(NamedTuple):
    """A site of an array format; ``alleles`` are REF and all ALT."""

    chrom: str
    position: int
    id: str
    alleles: list[str]


class ArraySource(ABC):
    """Sites and genotypes in arrays whose first axis is the sites, read a range at a time.

    Genotypes are integers, (sites, samples, ploidy): -1 for a missing allele, -2 past the last
    allele of a haploid call.

    Raises
    ------
    InputError
        If an array is missing, has another shape than the others or does not hold integers.
    """

    # Names of arrays, set by each format.
    _genotypes: str
    _samples: str
    _position: str

    def __init__(self, path: str, region: Region | None) -> None:
        self.path = path
        self._region = region
        self._start = self._stop = 0
        with self.quiet(), self._reading("cannot be read"):
            self._arrays = self._open()
            self._check_shapes()
            names = self._texts(self._samples)
        self.samples = checked_samples(names, path)

    @abstractmethod
    def _open(self) -> Any:
        """Return the group of arrays."""

    @abstractmethod
    def _read_sites(self, start: int, stop: int) -> Iterator[Site]:
        """Yield the sites of a range."""

    @abstractmethod
    def _read_calls(self, start: int, stop: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the alleles of a range, (n, samples, ploidy), and which calls are phased."""

    @abstractmethod
    def contig_length(self, chrom: str) -> int | None:
        """Return the length of a chromosome in bp, if the file has it."""

    def records(self) -> Iterator[Record]:
        """Yield the records in file order."""
        region = self._region
        for start in range(0, self._num_sites, self._range_sites):
            stop = min(start + self._range_sites, self._num_sites)
            with self._reading(f"damaged after {start} records"):
                sites = list(self._read_sites(start, stop))
            for row, site in enumerate(sites, start):
                if region is None or region.holds(site.chrom, site.position):
                    ref, *alts = site.alleles
                    yield site.chrom, site.position, site.id, ref, alts, row

    def codes(self, handle: int) -> NDArray[np.int32]:
        """See `RecordSource.codes`; the handle is the index of the site in the file."""
        row = handle
        if not self._start <= row < self._stop:
            start = row - row % self._range_sites
            stop = min(start + self._range_sites, self._num_sites)
            with self._reading(f"damaged after {start} records"):
                self._calls, self._phased = self._read_calls(start, stop)
                if self._phased.shape != self._calls.shape[:2]:
                    raise ValueError(f"phase of shape {self._phased.shape}")
            self._start, self._stop = start, stop
        calls = self._calls[row - self._start]
        codes: NDArray[np.int32] = (calls.astype(np.int32) + 1) << 1
        codes |= self._phased[row - self._start][:, None]
        if calls.min(initial=0) < -1:
            codes[calls < -1] = NO_ALLELE
        return codes

    def phase_sets(self, handle: int) -> None:  # noqa: ARG002
        """Return None: they are not read."""
        return

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Ignore the warnings of the libraries about formats."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield

    @contextmanager
    def _reading(self, failure: str) -> Iterator[None]:
        """Turn what the libraries raise for a damaged file, which is of any kind, into one line."""
        try:
            yield
        except InputError:
            raise
        except Exception as error:
            raise self._error(f"{failure} ({one_line(error)})") from error

    def _library(self, name: str, form: str) -> Any:
        """Import the library of a format, which is an extra."""
        try:
            return importlib.import_module(name)
        except ImportError as error:
            extra = f"pip install 'snvrag[{form.lower().split()[-1]}]'"
            raise self._error(f"{form} is read by {name}: {extra}") from error

    def _array(self, name: str) -> Any:
        if name not in self._arrays:
            raise self._error(f"no array {name}")
        return self._arrays[name]

    def _texts(self, name: str) -> list[str]:
        return [text(value) for value in self._array(name)[:]]

    def _optional(self, name: str, sites: slice) -> NDArray[Any] | None:
        """Return a range of an array; None if the file does not have it."""
        values: NDArray[Any] | None = self._arrays[name][sites] if name in self._arrays else None
        return values

    def _check_shapes(self) -> None:
        calls, position = self._array(self._genotypes), self._array(self._position)
        # Before anything is read: an array of a damaged shape may not fit any memory.
        shape = (*position.shape, *self._array(self._samples).shape)
        if len(calls.shape) != 3 or calls.shape[:2] != shape:
            raise self._error(
                f"{self._genotypes} has shape {calls.shape}, expected {shape} and the ploidy"
            )
        for name, array in ((self._genotypes, calls), (self._position, position)):
            if getattr(array.dtype, "kind", "") not in "iu":
                raise self._error(f"{name} has dtype {array.dtype}, expected integers")
        self._num_sites = int(position.shape[0])
        site_bytes = max(1, calls.shape[1] * calls.shape[2] * calls.dtype.itemsize)
        chunk = calls.chunks[0] if calls.chunks else _RANGE_SITES
        self._range_sites = max(1, min(chunk, _MAX_BYTES // site_bytes))

    def _error(self, message: str) -> InputError:
        return InputError(message, path=self.path)


def text(value: Any) -> str:
    """Return a string of a library that has it as bytes, str or another type."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
