"""Records of HDF5 files as scikit-allel writes them (``allel.vcf_to_hdf5``)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..panel.regions import Region
from .arrays import ArraySource, Site, text


class Hdf5Source(ArraySource):
    """Records of ``calldata/GT`` and ``variants/...``.

    The format does not store phase: genotypes are taken as phased. Nor does it distinguish a
    haploid call from one whose second allele is missing: a sample is haploid if it has no second
    allele in the first range of sites that is read.
    """

    _genotypes = "calldata/GT"
    _samples = "samples"
    _position = "variants/POS"

    def __init__(self, path: str, region: Region | None = None) -> None:
        self._is_haploid: NDArray[np.bool_] | None = None
        super().__init__(path, region)

    def contig_length(self, chrom: str) -> None:  # noqa: ARG002
        """Return None: the format does not store it."""
        return

    def _open(self) -> Any:
        return self._library("h5py", "HDF5").File(self.path, "r")

    def _read_sites(self, start: int, stop: int) -> Iterator[Site]:
        sites = slice(start, stop)
        refs, alts = self._array("variants/REF")[sites], self._array("variants/ALT")[sites]
        chroms, positions = self._array("variants/CHROM")[sites], self._array("variants/POS")[sites]
        names = self._optional("variants/ID", sites)
        # Of all ALT alleles; a file may have the first one alone.
        counts = self._optional("variants/numalt", sites)
        for i in range(stop - start):
            found = [text(alt) for alt in np.atleast_1d(alts[i])]
            alleles = [text(refs[i]), *(alt for alt in found if alt not in ("", "."))]
            if counts is not None:
                alleles += ["."] * (int(counts[i]) + 1 - len(alleles))
            name = "." if names is None else text(names[i])
            yield Site(text(chroms[i]), int(positions[i]), name, alleles)

    def _read_calls(self, start: int, stop: int) -> tuple[NDArray[Any], NDArray[Any]]:
        calls: NDArray[Any] = self._array(self._genotypes)[start:stop]
        if calls.shape[2] == 2:
            first, second = calls[:, :, 0], calls[:, :, 1]
            if self._is_haploid is None:
                self._is_haploid = np.asarray((second < 0).all(axis=0) & (first >= 0).any(axis=0))
            second[(second < 0) & self._is_haploid] = -2
        return calls, np.ones(calls.shape[:2], bool)
