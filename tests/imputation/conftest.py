"""Files to impute, shared by the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from snvrag.imputation.imputation import impute_file
from snvrag.imputation.matching import MatchSummary
from snvrag.imputation.options import ImputeOptions
from snvrag.io import htslib
from snvrag.log import close_log, open_console


def header(*chroms: str) -> str:
    contigs = "".join(f"##contig=<ID={chrom}>\n" for chrom in chroms)
    gt = '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
    return f"##fileformat=VCFv4.2\n{contigs}{gt}"


def read_records(path: Path) -> list[list[str]]:
    lines = path.read_text().splitlines()
    return [line.split("\t") for line in lines if not line.startswith("#")]


@dataclass
class Files:
    """A panel of 20 samples, a target of the other 4 with every third site, and a model."""

    held = range(0, 24, 6)
    typed = range(0, 200, 3)
    folder: Path
    panel: Path
    target: Path
    model: Path
    alleles: NDArray[np.int8]
    write_vcf: Callable[..., Path]

    @property
    def output(self) -> Path:
        return self.folder / "out.vcf"

    def options(self, **changes: Any) -> ImputeOptions:
        given = {
            "panel": self.panel,
            "target": self.target,
            "model": self.model,
            "output": self.output,
            "overwrite": True,
            "threads": 1,
            "device": "cpu",
            **changes,
        }
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
        return read_records(Path(changes.get("output", self.output)))

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
        return self.write_vcf(self.folder / name, rows, samples, **more)

    def compressed(self, path: Path, suffix: str = ".vcf.gz") -> Path:
        """Write a file once more, bgzipped or as BCF, and index it."""
        import cyvcf2

        out = path.with_suffix(suffix)
        reader = cyvcf2.VCF(str(path))
        writer = cyvcf2.Writer(str(out), reader, "wz" if suffix == ".vcf.gz" else "wb")
        for record in reader:
            writer.write_record(record)
        writer.close()
        htslib.build_index(out, 0 if suffix == ".vcf.gz" else 14)
        return out


@pytest.fixture
def files(
    tmp_path: Path,
    tiny_alleles: NDArray[np.int8],
    tiny_model: Path,
    write_vcf: Callable[..., Path],
) -> Files:
    (tmp_path / "work").mkdir()
    made = Files(
        tmp_path / "work",
        tmp_path / "panel.vcf",
        tmp_path / "target.vcf",
        tiny_model,
        tiny_alleles,
        write_vcf,
    )
    kept = [i for i in range(24) if i not in made.held]
    write_vcf(made.panel, made.rows(kept, range(200)), [f"s{i}" for i in kept])
    write_vcf(made.target, made.rows(made.held, made.typed), [f"s{i}" for i in made.held])
    return made
