"""Accuracy, time and memory of snvrag beside other ways to impute, on held-out samples of a panel.

``python bench/accuracy.py --panel panel.vcf.gz --output FOLDER`` holds out samples, makes a
chip-like target and, with ``--mask-rate``, AF-guided ones, imputes them by every method that is
there, and writes one table (accuracy.md, .tsv, .json) and a plot for each target. Everything is
kept in the folder, and what is finished is not run again. Needs bgzip and tabix; Minimac4 and
Beagle are run where they are installed (Debian packages ``minimac4`` and ``beagle``).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from accuracy_data import (
    Split,
    chip_sites,
    hold_out,
    mask_sites,
    write_panel,
    write_plink_map,
)
from accuracy_methods import METHODS, Cost, Methods, Target

from snvrag.errors import InputError
from snvrag.evaluate import Evaluation, evaluate_files
from snvrag.evaluation_report import json_text, tsv_text, write_reports
from snvrag.reading import read_panel

MAF_EDGES = (0.0, 0.005, 0.01, 0.05, 0.5)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    add = parser.add_argument
    add("--panel", type=Path, required=True, help="phased VCF or BCF, also of the held-out samples")
    add("--region", default=None, help="chrom or chrom:first-last")
    add("--map", type=Path, default=None, help="genetic map: a header that names pos and cM")
    add(
        "--hold-out", type=float, default=0.2, help="fraction of the samples (default: %(default)s)"
    )
    add("--hold-out-count", type=int, default=0, help="so many samples instead")
    add(
        "--chip-kb",
        type=float,
        default=2.0,
        help="least distance between the chip's sites (default: %(default)s)",
    )
    add("--chip-maf", type=float, default=0.05, help="their least MAF (default: %(default)s)")
    add("--mask-rate", type=float, nargs="*", default=[], help="AF-guided targets of these rates")
    add("--maf-edges", type=float, nargs="+", default=list(MAF_EDGES))
    add(
        "--maf-of",
        choices=("everyone", "panel"),
        default="everyone",
        help="samples whose MAF sorts sites into bins: with or without those held out "
        "(default: %(default)s)",
    )
    add("--model", default="", help="impute with this snvrag model (default: train one)")
    add("--train-options", default="", help="of snvrag.train, in one argument")
    add("--impute-options", default="", help="of snvrag.impute, in one argument")
    add("--threads", type=int, default=1, help="of every method (default: %(default)s)")
    add("--only", nargs="+", choices=METHODS, default=list(METHODS), help="run these methods")
    add("--skip", nargs="+", choices=METHODS, default=[], help="do not run these")
    add("--output", type=Path, required=True, help="folder for everything")
    return parser.parse_args(arguments)  # fmt: skip


def prepare(options: argparse.Namespace) -> tuple[Split, list[Target]]:
    """Read the panel, and write what is not in the folder yet: panel, truth and targets."""
    folder: Path = options.output
    everyone, read = read_panel(options.panel, region=options.region)
    print(read)
    split = hold_out(everyone, options.hold_out, options.hold_out_count)
    observed = {"chip": chip_sites(split.panel, options.chip_kb, options.chip_maf)}
    observed |= {f"mask-{rate:g}": mask_sites(split.panel, rate) for rate in options.mask_rate}
    settings = {
        name: str(getattr(options, name))
        for name in ("panel", "region", "hold_out", "hold_out_count", "chip_kb", "chip_maf", "map")
    }
    known = folder / "settings.json"
    if known.exists() and json.loads(known.read_text(encoding="utf-8")) != settings:
        raise InputError(f"--output {folder}: made with other settings ({known}): take another one")
    folder.mkdir(parents=True, exist_ok=True)
    known.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    for name, panel in vars(split).items():
        path = folder / f"{name}.vcf.gz"
        if not path.exists():
            write_panel(path, panel)
    if options.map is not None:
        write_plink_map(folder / "map.plink", options.map, split.panel.chrom)
    targets = []
    for name, sites in observed.items():
        target = Target(folder / name, sites)
        target.folder.mkdir(exist_ok=True)
        if not target.path.exists():
            write_panel(target.path, split.truth.select_sites(np.flatnonzero(sites)))
        targets.append(target)
    print(
        f"{split.panel.num_haplotypes} haplotypes, {split.truth.num_samples} samples held out, "
        f"{split.panel.num_sites} sites; observed: "
        + ", ".join(f"{name} {sites.sum()}" for name, sites in observed.items())
    )
    return split, targets


def table_rows(
    target: str, evaluation: Evaluation, costs: dict[str, tuple[Cost, Cost | None]]
) -> list[dict[str, Any]]:
    """Return one row for each method."""
    names = evaluation.strata.names
    bins = names[-len(evaluation.strata.bins) :]
    rows = []
    for method, measures in evaluation.measures.items():
        cost, before = costs[method]
        rows.append({
            "target": target,
            "method": method,
            **{f"r2 {name}": float(measures["r2"][names.index(name)]) for name in bins},
            "r2 all": float(measures["r2"][0]),
            "nonref_concordance": float(measures["nonref_concordance"][0]),
            "wall_seconds": cost.wall_seconds,
            "peak_mib": cost.peak_mib,
            "before_seconds": before.wall_seconds if before else None,
            "command": cost.command,
        })  # fmt: skip
    return rows


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as one Markdown table, the commands left out."""
    bins = [name.removeprefix("r2 ") for name in rows[0] if name.startswith("r2 ")]
    titles = ["target", "method", *(f"R2 {name}" for name in bins), "non-ref concordance", "wall s",
              "peak MiB", "once before, s"]  # fmt: skip
    lines = ["| " + " | ".join(titles) + " |", "| --- | --- |" + " --: |" * (len(titles) - 2)]
    for row in rows:
        cells = [row["target"], row["method"]]
        for name, value in list(row.items())[2:-1]:
            if value is None:
                cells.append("")
            elif name in ("wall_seconds", "before_seconds"):
                cells.append(f"{value:.2f}")
            elif name == "peak_mib":
                cells.append(f"{value:.0f}")
            else:
                cells.append("" if math.isnan(value) else f"{value:.3f}".lstrip("0"))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def run(options: argparse.Namespace) -> None:
    """Make the files, run the methods, score them together and write the table."""
    split, targets = prepare(options)
    methods = Methods(
        options.output,
        split,
        threads=options.threads,
        has_map=options.map is not None,
        model=options.model,
        train_options=options.train_options,
        impute_options=options.impute_options,
    )
    rows: list[dict[str, Any]] = []
    for target in targets:
        files: dict[str, Path] = {}
        costs: dict[str, tuple[Cost, Cost | None]] = {}
        for name in (name for name in options.only if name not in options.skip):
            reason = methods.why_not(name)
            if reason is None:
                try:
                    files[name], cost, before = methods.run(name, target)
                    costs[name] = (cost, before)
                    continue
                except RuntimeError as error:
                    reason = str(error)
            print(f"{target.folder.name}, {name}: left out: {reason}", file=sys.stderr)
        if not files:
            continue
        evaluation = evaluate_files(
            options.output / "truth.vcf.gz",
            files,
            panel=options.output / f"{options.maf_of}.vcf.gz",
            maf_edges=options.maf_edges,
        )
        for line in evaluation.notes:
            print(line)
        print(write_reports(target.folder, evaluation))
        rows += table_rows(target.folder.name, evaluation, costs)
    if not rows:
        raise InputError("no method could be run")
    text = markdown(rows)
    (options.output / "accuracy.md").write_text(text, encoding="utf-8")
    (options.output / "accuracy.json").write_text(json_text(rows), encoding="utf-8")
    (options.output / "accuracy.tsv").write_text(tsv_text(rows), encoding="utf-8")
    print(f"\n{text}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    try:
        run(parse(arguments))
    except InputError as error:
        print(f"accuracy.py: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
