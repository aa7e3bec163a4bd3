"""Score imputed files against the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..io.genotypes import SiteStream
from ..io.sample_tables import read_sites
from .accuracy import MAF_EDGES, Strata, resamples
from .comparison import Comparison


@dataclass(frozen=True)
class Evaluation:
    """What came out, for every imputed file by name.

    Attributes
    ----------
    strata : Strata
        What the rows of the measures are.
    measures : dict of dict
        By file and measure: (T,) float64 over the strata (`Accuracy.compute`).
    intervals : dict of dict
        By file and measure: (2, T) float64, 95% bootstrap intervals over samples; empty without
        resamples.
    calibration : dict of list
        By file (`Accuracy.calibration`).
    num_sites, num_samples : int
        Scored.
    notes : tuple of str
        What was read, and what was left out and why.
    """

    strata: Strata
    measures: dict[str, dict[str, NDArray[np.float64]]]
    intervals: dict[str, dict[str, NDArray[np.float64]]]
    calibration: dict[str, list[dict[str, float]]]
    num_sites: int
    num_samples: int
    notes: tuple[str, ...]


def evaluate_files(
    truth: str | Path,
    imputed: Mapping[str, str | Path],
    *,
    panel: str | Path | None = None,
    sites: str | Path | None = None,
    region: str | None = None,
    exclude_typed: bool | None = None,
    maf_edges: Sequence[float] = MAF_EDGES,
    num_resamples: int = 1000,
    seed: int = 0,
) -> Evaluation:
    """Score imputed files on the genotypes that the truth and all of them have.

    Sites meet by chromosome (with or without ``chr``), position, REF and ALT; samples by name. All
    files are scored on the same genotypes: those at biallelic sites that every file has, and, by
    default, that none of them has as typed (`SiteStream.is_typed`).

    Parameters
    ----------
    truth : str or Path
        VCF or BCF with FORMAT/GT, diploid or haploid.
    imputed : mapping
        VCF or BCF by name, with FORMAT/DS, HDS, GP or GT.
    panel : str or Path, optional
        Take allele frequencies from these genotypes, and leave out sites that it lacks. By default
        they are those of the truth's own samples.
    sites : str or Path, optional
        Score these alone: tab-separated lines of chromosome, position, REF and ALT.
    region : str, optional
        ``chrom`` or ``chrom:first-last``; the files need indexes.
    exclude_typed : bool, optional
        By default True without ``sites``, False with them.
    maf_edges : sequence of float
        See `Strata`.
    num_resamples, seed : int
        Of the bootstrap over samples; 0 for none.

    Returns
    -------
    Evaluation

    Raises
    ------
    InputError
        For a file that cannot be read, and if nothing is left to score.

    Notes
    -----
    Files are read once, side by side: memory holds 256 sites and sums for each sample, however many
    sites there are.
    """
    if not imputed:
        raise InputError("--imputed must be given at least once")
    true = SiteStream("truth", truth, region)
    comparison = Comparison(
        true,
        {name: SiteStream("imputed", path, region) for name, path in imputed.items()},
        SiteStream("panel", panel, region) if panel else None,
        read_sites(sites) if sites else None,
        exclude_typed if exclude_typed is not None else sites is None,
        Strata(maf_edges),
    )
    with true.quiet():
        comparison.run()
    accuracies = comparison.accuracies
    weights = resamples(comparison.num_samples, num_resamples, seed)
    return Evaluation(
        comparison.strata,
        {name: accuracy.compute() for name, accuracy in accuracies.items()},
        {name: accuracy.bootstrap(weights) if num_resamples else {}
         for name, accuracy in accuracies.items()},
        {name: accuracy.calibration() for name, accuracy in accuracies.items()},
        comparison.num_scored,
        comparison.num_samples,
        tuple(comparison.notes()),
    )  # fmt: skip
