"""Files to evaluate, and their evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from snvrag.evaluation.evaluation import Evaluation, evaluate_files
from snvrag.evaluation.options import EvaluateOptions

_FORMATS = ("GT,1,String", "DS,1,Float", "HDS,.,Float", "GP,G,Float", "PS,1,Integer")


class Row(NamedTuple):
    """A record: genotypes are texts in the order of the file's samples."""

    position: int
    cells: Sequence[str]
    ref: str = "A"
    alt: str = "G"
    info: str = "."
    layout: str = "GT"
    chrom: str = "20"


def write_rows(
    path: Path, rows: Sequence[Row], samples: Sequence[str], flags: Sequence[str] = ()
) -> Path:
    """Write a plain VCF whose header declares the INFO flags."""
    lines = ["##fileformat=VCFv4.2"]
    for name, number, kind in (text.split(",") for text in _FORMATS):
        lines.append(f'##FORMAT=<ID={name},Number={number},Type={kind},Description="Genotypes">')
    lines += [f'##INFO=<ID={flag},Number=0,Type=Flag,Description="A flag">' for flag in flags]
    lines += [f"##contig=<ID={chrom}>" for chrom in dict.fromkeys(row.chrom for row in rows)]
    columns = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT"]
    lines.append("\t".join([*columns, *samples]))
    for row in rows:
        fixed = [row.chrom, str(row.position), ".", row.ref, row.alt, ".", ".", row.info]
        lines.append("\t".join([*fixed, row.layout, *row.cells]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def evaluated(truth: Path, imputed: Mapping[str, Path], **options: Any) -> Evaluation:
    """Evaluate files; without intervals, unless they are asked for."""
    files = tuple(f"{name}={path}" for name, path in imputed.items())
    given = {"bootstrap": 0, **options}
    return evaluate_files(EvaluateOptions(truth=str(truth), imputed=files, **given))


EVALUATED_SAMPLES = [f"s{i}" for i in range(9)]


def random_files(folder: Path, seed: int, num_sites: int) -> tuple[Path, dict[str, Path], Path]:
    """Write truth, two imputed files and a panel, with sites of all frequencies.

    Among them are missing and haploid genotypes, dosages that are constant at a site, and sites
    whose frequency in the panel is 0.5.
    """
    random = np.random.default_rng(seed)
    rows: dict[str, list[Row]] = {name: [] for name in ("truth", "one", "two", "panel")}
    for s in range(num_sites):
        frequency = 0.5 if s % 9 == 0 else random.beta(0.3, 0.5)
        position = 100 + 7 * (s // 2)
        alt = "GC"[s % 2]  # two sites at every position
        haplotypes = [
            (random.random(1 if sample == "s4" else 2) < frequency).astype(int).tolist()
            for sample in EVALUATED_SAMPLES
        ]
        truth = ["|".join(map(str, pair)) for pair in haplotypes]
        if s % 5 == 0:
            truth[int(random.integers(9))] = ".|."
        rows["truth"].append(Row(position, truth, alt=alt))
        constant = random.random() < 0.1
        for name in ("one", "two"):
            cells = []
            for pair in haplotypes:
                noisy = [abs(allele - 0.45 * random.random() ** 2) for allele in pair]
                called = [int(random.random() < dosage) for dosage in noisy]
                dosage = frequency * len(pair) if constant else sum(noisy)
                cells.append(f"{'|'.join(map(str, called))}:{dosage:.3f}")
            if s % 7 == 0:
                cells[int(random.integers(9))] = ".|.:."
            rows[name].append(Row(position, cells, alt=alt, layout="GT:DS"))
        chosen = (random.random((200, 2)) < frequency).astype(int)
        if frequency == 0.5:
            chosen[:] = [0, 1]
        rows["panel"].append(Row(position, [f"{a}|{b}" for a, b in chosen.tolist()], alt=alt))
    samples = dict.fromkeys(rows, EVALUATED_SAMPLES) | {"panel": [f"p{i}" for i in range(200)]}
    truth, one, two, panel = (
        write_rows(folder / f"{name}.vcf", kept, samples[name]) for name, kept in rows.items()
    )
    return truth, {"one": one, "two": two}, panel
