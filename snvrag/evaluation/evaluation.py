"""Evaluation of imputed files against the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..io.genotypes import SiteStream
from ..io.sample_tables import read_sites
from .accuracy import resamples
from .comparison import Comparison
from .options import EvaluateOptions
from .strata import Strata


@dataclass(frozen=True)
class Evaluation:
    """Accuracy of every imputed file, by the file's name.

    Attributes
    ----------
    strata : Strata
        What the rows of the measures are.
    measures : dict of dict
        By file and measure: (strata,) float64 (`Accuracy.compute`).
    intervals : dict of dict
        By file and measure: (2, strata) float64, 95% bootstrap intervals over samples; empty
        without resamples.
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


def evaluate_files(options: EvaluateOptions) -> Evaluation:
    """Score imputed files on the genotypes that the truth and all of them have.

    Sites match by chromosome (with or without ``chr``), position, REF and ALT; samples by name. All
    files are scored on the same genotypes: those at biallelic sites that every file has, and, by
    default, that none of them has as typed (`SiteStream.is_typed`).

    Raises
    ------
    InputError
        For a file that cannot be read, and if nothing is left to score.

    Notes
    -----
    Files are read once, side by side: memory holds 256 sites and sums for each sample, however many
    sites there are.
    """
    strata = Strata(options.maf_edges)
    region, imputed = options.region, options.imputed_by_name()
    truth = SiteStream("truth", options.truth, region)
    comparison = Comparison(
        truth,
        {name: SiteStream("imputed", path, region) for name, path in imputed.items()},
        SiteStream("panel", options.panel, region) if options.panel else None,
        read_sites(options.sites) if options.sites else None,
        options.sites is None if options.exclude_typed is None else options.exclude_typed,
        strata,
    )
    with truth.quiet():
        comparison.run()
    accuracies = comparison.accuracies
    weights = resamples(comparison.num_samples, options.bootstrap, options.seed)
    return Evaluation(
        strata,
        {name: accuracy.compute() for name, accuracy in accuracies.items()},
        {name: a.bootstrap(weights) if options.bootstrap else {} for name, a in accuracies.items()},
        {name: accuracy.calibration() for name, accuracy in accuracies.items()},
        comparison.num_scored,
        comparison.num_samples,
        tuple(comparison.notes()),
    )
