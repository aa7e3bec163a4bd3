"""Options of imputing a file."""

from __future__ import annotations

from dataclasses import dataclass

from ..config.options import Options, option
from ..panel.regions import Region


@dataclass(frozen=True, kw_only=True)
class ImputeOptions(Options):
    """The files to read and write, and how."""

    panel: str = option(
        help="reference panel: phased haplotypes of one chromosome (or of more, with --region): "
        "VCF, BCF, HDF5 of scikit-allel, VCF Zarr, or a panel prepared by snvrag prepare",
        metavar="FILE",
    )
    target: str = option(
        help="samples to impute, phased or not, in a format of --panel; missing genotypes are "
        "imputed too",
        metavar="FILE",
    )
    output: str = option(
        help="file to write: .vcf.gz or .bcf, with an index, or .vcf", metavar="FILE"
    )
    model: str | None = option(
        None,
        "what --save-model has kept, or a checkpoint of snvrag train (default: learn rates and "
        "head from the panel at the target's sites)",
        metavar="FILE",
    )
    save_model: str | None = option(
        None, "keep what was learned from the panel, for --model", metavar="FILE"
    )
    region: str | None = option(
        None,
        "impute only this region, chrom or chrom:first-last (bp, 1-based); needs indexes; 1 Mb on "
        "each side is read too",
        metavar="REGION",
    )
    genetic_map: str | None = option(
        None,
        "genetic map, plain or gzipped: chrom id cM bp (PLINK) or bp chrom cM (default: 1 cM per "
        "Mb)",
        metavar="FILE",
    )
    phase_only: bool = option(
        False,
        "write the target's genotypes, phased, at the sites that the panel has too, and impute "
        "nothing",
    )
    report: str | None = option(
        None,
        "write a tab-separated table of the target's sites that were dropped, and why",
        metavar="FILE",
    )
    overwrite: bool = option(False, "replace --output, --report and --save-model if they exist")
    threads: int | None = option(
        None, "threads of the computation (default: all cores)", least=1, most=1024
    )
    device: str = option(
        "auto",
        "of a checkpoint that has a transformer: cpu, cuda, cuda:N, or auto: a GPU where there is "
        "one",
        metavar="DEVICE",
    )

    @property
    def place(self) -> Region | None:
        """The region to impute; None for all of the chromosome."""
        return None if self.region is None else Region.parse(self.region)
