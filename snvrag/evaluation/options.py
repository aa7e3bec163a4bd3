"""Options of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..config.options import Options, option
from ..errors import InputError
from .strata import MAF_EDGES


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(Options):
    """Which files are compared, on which sites, and what is reported."""

    truth: str = option(metavar="FILE", help="true genotypes: VCF or BCF with FORMAT/GT")
    imputed: tuple[str, ...] = option(
        metavar="[NAME=]FILE",
        repeat=True,
        help="imputed VCF or BCF (FORMAT/DS, else HDS, GP, GT); may be given several times",
    )
    panel: str | None = option(
        None,
        "take allele frequencies from this file, and leave out sites that it lacks "
        "(default: frequencies of the truth)",
        metavar="FILE",
    )
    sites: str | None = option(
        None,
        "score only these: tab-separated lines of chromosome, position, REF, ALT (default: all)",
        metavar="FILE",
    )
    exclude_typed: bool | None = option(
        None,
        "leave out sites that an imputed file has as typed: INFO TYPED, or no IMP or IMPUTED "
        "where the header declares it (default: yes, or no where a list of sites is given)",
    )
    region: str | None = option(
        None,
        "read only this region, chrom or chrom:first-last (bp, 1-based); needs indexes "
        "(default: all)",
        metavar="REGION",
    )
    maf_edges: tuple[float, ...] = option(
        MAF_EDGES, "ascending edges of the MAF bins", least=0, most=0.5
    )
    bootstrap: int = option(
        1000, "number of resamples of the samples for 95% intervals, 0 for no intervals", least=0
    )
    seed: int = option(0, "seed of the resamples", least=0)
    output: str | None = option(
        None,
        "folder for metrics.tsv, calibration.tsv, metrics.json and accuracy.png (default: none)",
        metavar="FOLDER",
    )

    def check(self) -> None:
        """Check that every imputed file has a name of its own."""
        self.imputed_by_name()

    def imputed_by_name(self) -> dict[str, str]:
        """Return the imputed files by name: a file's own up to the first dot, if none is given."""
        files: dict[str, str] = {}
        for text in self.imputed:
            name, equals, path = text.partition("=")
            if not equals or "/" in name:
                name, path = Path(text).name.split(".")[0], text
            if not name or not path:
                raise InputError(f"must be FILE or NAME=FILE, got {text}", argument="imputed")
            if name in files:
                problem = f"two files called {name}, give NAME=FILE"
                raise InputError(problem, argument="imputed", path=text)
            files[name] = path
        if not files:
            raise InputError("must be one or more files, got none", argument="imputed")
        return files
