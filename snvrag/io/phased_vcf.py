"""Writing the phased genotypes of a target as VCF and BCF."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .imputed_columns import phased_lines
from .vcf_writer import PHASE_SET_FIELD, VcfWriter

_FIELDS = """\
##FORMAT=<ID=GT,Number=1,Type=String,Description="Phased genotype">
"""


class PhasedWriter(VcfWriter):
    """Writes a VCF or BCF of phased genotypes, with FORMAT GT:PS.

    Parameters
    ----------
    path, samples, haploid, settings
        As of `VcfWriter`.
    """

    def __init__(
        self,
        path: str | Path,
        samples: Sequence[str],
        haploid: NDArray[np.bool_],
        **settings: Any,
    ) -> None:
        super().__init__(path, samples, haploid, fields=_FIELDS + PHASE_SET_FIELD, **settings)

    def write(
        self,
        position: NDArray[np.int64],
        ids: Sequence[str],
        alleles: NDArray[np.str_],
        bits: NDArray[np.uint64],
        missing_bits: NDArray[np.uint64],
        phase_set: NDArray[np.int32],
    ) -> None:
        """Write records of consecutive sites.

        Parameters
        ----------
        position : (n,) int64
            Ascending, also across calls.
        ids : n str
            "." for none.
        alleles : (n, 2) str
        bits, missing_bits : (n, ceil(2 * T / 64)) uint64
            Bits 2 * i and 2 * i + 1 are the alleles of sample i, and 1 where one is missing. Of a
            haploid sample the first is used.
        phase_set : (n, T) int32
            PS, 0 for none.
        """
        sites = list(zip(position.tolist(), ids, alleles.tolist(), strict=True))

        def lines_of(part: slice) -> bytes:
            heads = [
                f"{self._chrom}\t{place}\t{name}\t{ref}\t{alt}\t.\tPASS\t.\tGT:PS"
                for place, name, (ref, alt) in sites[part]
            ]
            return phased_lines(
                heads, bits[part], missing_bits[part], self._haploid, phase_set[part]
            )

        self._write_records(position, lines_of)
