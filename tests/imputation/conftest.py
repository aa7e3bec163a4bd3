"""Files to impute, shared by the tests of this folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from panel_files import convert_vcf, write_vcf
from snvrag.imputation import adaptation, imputer
from snvrag.imputation.imputation import impute_file
from snvrag.imputation.options import ImputeOptions
from snvrag.imputation.phasing import PhasingRates
from snvrag.io import htslib
from snvrag.io.matching import MatchSummary
from snvrag.log import close_log, open_console

FILES = ("panel", "target", "output")


def header(*chroms: str) -> str:
    contigs = "".join(f"##contig=<ID={chrom}>\n" for chrom in chroms)
    gt = '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
    return f"##fileformat=VCFv4.2\n{contigs}{gt}"


class Files:
    """A panel of 20 samples, and a target of the other 4 with every third site."""

    held = range(0, 24, 6)
    typed = range(0, 200, 3)

    def __init__(self, folder: Path, alleles: NDArray[np.int8]) -> None:
        self.folder, self.alleles = folder / "work", alleles
        self.model = folder / "learned.model"
        self.panel, self.target = folder / "panel.vcf", folder / "target.vcf"
        self.output = self.folder / "out.vcf"
        self.folder.mkdir()
        for path, samples, sites in (
            (self.panel, [i for i in range(24) if i not in self.held], range(200)),
            (self.target, self.held, self.typed),
        ):
            write_vcf(path, self.rows(samples, sites), [f"s{i}" for i in samples])

    def options(self, **changes: Any) -> ImputeOptions:
        given: dict[str, Any] = {name: getattr(self, name) for name in FILES}
        given |= {"overwrite": True, "threads": 1, "device": "cpu", **changes}
        as_text = {k: str(v) if isinstance(v, Path) else v for k, v in given.items()}
        return ImputeOptions(**as_text)

    def summary(self, **changes: Any) -> MatchSummary:
        open_console()
        try:
            return impute_file(self.options(**changes), "the command")
        finally:
            close_log()

    def impute(self, **changes: Any) -> list[list[str]]:
        """Impute and return the fields of the records written."""
        self.summary(**changes)
        lines = Path(changes.get("output", self.output)).read_text().splitlines()
        return [line.split("\t") for line in lines if not line.startswith("#")]

    def rows(self, samples: Any, sites: Any, chrom: str = "1") -> list[tuple[Any, ...]]:
        rows = []
        for s in sites:
            pairs = (f"{self.alleles[2 * i, s]}|{self.alleles[2 * i + 1, s]}" for i in samples)
            rows.append((chrom, 1000 + 37 * s, "A", "G", " ".join(pairs)))
        return rows

    def write(
        self, rows: list[tuple[Any, ...]], samples: Any, name: str = "t.vcf", chroms: str = ""
    ) -> Path:
        """Write a file beside the output; ``chroms`` are those of its header."""
        more = {"header": header(*chroms.split())} if chroms else {}
        return write_vcf(self.folder / name, rows, samples, **more)

    def compressed(self, path: Path, suffix: str = ".vcf.gz") -> Path:
        """Write a file once more, bgzipped or as BCF, and index it."""
        mode, min_shift = ("wz", 0) if suffix == ".vcf.gz" else ("wb", 14)
        out = convert_vcf(path, path.with_suffix(suffix), mode)
        htslib.build_index(out, min_shift)
        return out


@pytest.fixture(autouse=True)
def _no_head(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Learn rates alone, which takes a moment, unless a test is marked by the name of a head."""
    if "head" not in request.node.name:
        monkeypatch.setattr(adaptation, "_LEAST_ROWS", 10**9)


@pytest.fixture
def haploid_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no phasings: every sample is imputed in the phase of the file."""
    monkeypatch.setattr(imputer, "fit_rates", lambda _: None)


@pytest.fixture
def fixed_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the diploid model rates that do not depend on the samples."""
    monkeypatch.setattr(imputer, "fit_rates", lambda _: PhasingRates(0.5, 0.01))


@pytest.fixture
def files(tmp_path: Path, tiny_alleles: NDArray[np.int8]) -> Files:
    return Files(tmp_path, tiny_alleles)
