"""Writes VCF and BCF files of made-up panels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cyvcf2
import numpy as np
from numpy.typing import NDArray


def genotype_columns(alleles: NDArray[np.int8], *, phased: bool = True) -> Iterator[bytes]:
    """Yield the genotypes of each of (S, H) sites, a tab before each sample's.

    Unphased ones have the smaller allele first, so that nothing tells their order.
    """
    num_sites, num_haplotypes = alleles.shape
    text = np.empty((num_sites, num_haplotypes // 2, 4), np.uint8)
    text[:] = np.frombuffer(b"\t0|0" if phased else b"\t0/0", np.uint8)
    pairs = alleles.reshape(num_sites, -1, 2).astype(np.uint8)
    text[:, :, 1::2] += pairs if phased else np.sort(pairs, axis=2)
    for row in text:
        yield row.tobytes()


def convert_vcf(source: Path, target: Path, mode: str) -> None:
    """Write the records of a VCF as bgzipped VCF (mode "wz") or BCF (mode "wb")."""
    records = cyvcf2.VCF(str(source))
    writer = cyvcf2.Writer(str(target), records, mode=mode)
    for record in records:
        writer.write_record(record)
    writer.close()
    records.close()
