"""Records of VCF Zarr as bio2zarr writes it (https://github.com/sgkit-dev/vcf-zarr-spec)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..panel.regions import Region
from .arrays import ArraySource, Site, text


def is_zarr(path: str) -> bool:
    """Return whether a folder is a Zarr group, of format version 2 or 3."""
    return any(Path(path, name).is_file() for name in (".zgroup", "zarr.json"))


class VcfZarrSource(ArraySource):
    """Records of ``call_genotype`` and ``variant_...``.

    Without ``call_genotype_phased`` all calls are unphased.
    """

    _genotypes = "call_genotype"
    _samples = "sample_id"
    _position = "variant_position"

    def __init__(self, path: str, region: Region | None = None) -> None:
        super().__init__(path, region)
        with self.quiet(), self._reading("damaged after 0 records"):
            self._contigs = self._texts("contig_id")
        if region is not None:
            self._region = region.within(path, self._contigs)

    def contig_length(self, chrom: str) -> int | None:
        """Return the length in bp from ``contig_length``."""
        with self._reading("damaged after 0 records"):
            lengths = self._optional("contig_length", slice(None))
            length = 0 if lengths is None else int(lengths[self._contigs.index(chrom)])
        return length if length > 0 else None

    def _open(self) -> Any:
        return self._library("zarr", "VCF Zarr").open_group(self.path, mode="r")

    def _read_sites(self, start: int, stop: int) -> Iterator[Site]:
        sites = slice(start, stop)
        alleles = self._array("variant_allele")[sites].tolist()
        contigs = self._array("variant_contig")[sites].tolist()
        positions = self._array("variant_position")[sites].tolist()
        names = self._optional("variant_id", sites)
        for i in range(stop - start):
            found = [text(allele) for allele in alleles[i]]
            kept = [found[0], *(allele for allele in found[1:] if allele not in ("", "."))]
            name = "." if names is None else text(names[i])
            yield Site(self._contigs[contigs[i]], positions[i], name, kept)

    def _read_calls(self, start: int, stop: int) -> tuple[NDArray[Any], NDArray[Any]]:
        calls = np.asarray(self._array(self._genotypes)[start:stop])
        phased = self._optional("call_genotype_phased", slice(start, stop))
        if phased is None:
            return calls, np.zeros(calls.shape[:2], bool)
        return calls, np.asarray(phased, bool)
