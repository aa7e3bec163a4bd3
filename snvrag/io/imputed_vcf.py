"""Writing imputed VCF and BCF files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .imputed_columns import record_lines, site_statistics
from .vcf_writer import PHASE_SET_FIELD, VcfWriter

_FIELDS = """\
##INFO=<ID=AF,Number=A,Type=Float,Description="ALT frequency in the samples, the mean of HDS">
##INFO=<ID=DR2,Number=A,Type=Float,Description="Estimated squared correlation of imputed and true \
alleles: variance of HDS over AF * (1 - AF), 0 where AF is 0 or 1">
##INFO=<ID=IMP,Number=0,Type=Flag,Description="Imputed: the target has no such site">
##INFO=<ID=TYPED,Number=0,Type=Flag,Description="Typed: the target has the site; its missing \
alleles are imputed">
##FORMAT=<ID=GT,Number=1,Type=String,Description="Phased genotype, the most probable of GP">
##FORMAT=<ID=DS,Number=A,Type=Float,Description="Expected number of ALT alleles, the sum of HDS">
##FORMAT=<ID=HDS,Number=.,Type=Float,Description="Probability of ALT on each haplotype">
##FORMAT=<ID=GP,Number=G,Type=Float,Description="Probabilities of the genotypes, {gp}">
"""
_PHASED_GP = "the haplotypes' multiplied"
_UNPHASED_GP = "over all phasings; of samples phased in the target the haplotypes' multiplied"


class ImputedWriter(VcfWriter):
    """Writes an imputed VCF or BCF.

    Parameters
    ----------
    path, samples, haploid, settings
        As of `VcfWriter`.
    phase_sets : bool
        Whether the file has FORMAT/PS, as it should if the target has unphased samples.
    """

    def __init__(
        self,
        path: str | Path,
        samples: Sequence[str],
        haploid: NDArray[np.bool_],
        *,
        phase_sets: bool = False,
        **settings: Any,
    ) -> None:
        fields = _FIELDS.format(gp=_UNPHASED_GP if phase_sets else _PHASED_GP)
        if phase_sets:
            fields += PHASE_SET_FIELD
        super().__init__(path, samples, haploid, fields=fields, **settings)
        self._phase_sets = phase_sets

    def write(
        self,
        position: NDArray[np.int64],
        ids: Sequence[str],
        alleles: NDArray[np.str_],
        typed: NDArray[np.bool_],
        hap_dosage: NDArray[np.uint16],
        hom_alt: NDArray[np.uint16] | None = None,
        phase_set: NDArray[np.int32] | None = None,
    ) -> None:
        """Write records of consecutive sites.

        Parameters
        ----------
        position : (n,) int64
            Ascending, also across calls.
        ids : n str
            "." for none.
        alleles : (n, 2) str
        typed : (n,) bool
        hap_dosage : (n, T, 2) uint16
            Probability of ALT of each haplotype, in thousandths. Of a haploid sample the first is
            used.
        hom_alt : (n, T) uint16, optional
            Probability of two ALT alleles, in thousandths: see `record_lines`.
        phase_set : (n, T) int32, optional
            PS, 0 for none, as all are by default; only written to a file with ``phase_sets``.
        """
        sites = list(zip(position.tolist(), ids, alleles.tolist(), typed.tolist(), strict=True))
        layout = "GT:DS:HDS:GP:PS" if self._phase_sets else "GT:DS:HDS:GP"
        if not self._phase_sets:
            phase_set = None
        elif phase_set is None:
            phase_set = np.zeros(hap_dosage.shape[:2], np.int32)

        def lines_of(part: slice) -> bytes:
            af, dr2 = site_statistics(hap_dosage[part], self._haploid)
            heads = [
                f"{self._chrom}\t{place}\t{name}\t{ref}\t{alt}\t.\tPASS\tAF={frequency:.6g};"
                f"DR2={r2:.4g};{'TYPED' if is_typed else 'IMP'}\t{layout}"
                for (place, name, (ref, alt), is_typed), frequency, r2 in zip(
                    sites[part], af.tolist(), dr2.tolist(), strict=True
                )
            ]
            return record_lines(
                heads,
                hap_dosage[part],
                self._haploid,
                None if hom_alt is None else hom_alt[part],
                None if phase_set is None else phase_set[part],
            )

        self._write_records(position, lines_of)
