"""Accuracy, time and memory of snvrag beside other methods, on held-out samples of a panel.

``python bench/accuracy.py --panel panel.vcf.gz --output FOLDER`` holds out samples, makes a target
with the sites of a chip and, with ``--mask-rate``, AF-guided ones, imputes them by every method
that is installed, and writes one table (accuracy.md, .tsv, .json) and a plot for each target. With
``--unphased`` the targets have no phase: Beagle and snvrag impute them as they are, Minimac4 once
SHAPEIT4 or Eagle has phased them. Finished work in the folder is not repeated. Needs bgzip and
tabix; Minimac4, Beagle, SHAPEIT4 and Eagle (Debian packages ``minimac4``, ``beagle``, ``shapeit4``
and ``bio-eagle``) are left out, with a line, where they are not installed.
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
    read_map,
    write_maps,
    write_panel,
    write_uniform_map,
)
from accuracy_methods import METHODS, Methods, Result, Target
from markdown_table import markdown_table
from phase import switch_error_of, switch_phase

from snvrag.errors import InputError
from snvrag.evaluation.evaluation import Evaluation, evaluate_files
from snvrag.evaluation.options import EvaluateOptions
from snvrag.evaluation.report import json_text, tsv_text, write_reports
from snvrag.io.reading import read_panel
from snvrag.panel.panel import Panel

MAF_EDGES = (0.0, 0.005, 0.01, 0.05, 0.5)
SETTINGS = (
    *("panel", "region", "hold_out", "hold_out_count", "chip_kb", "chip_maf", "map"),
    *("unphased", "switch_error"),
)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    add = parser.add_argument

    def number(name: str, default: float, text: str) -> None:
        add(name, type=type(default), default=default, help=f"{text} (default: {default})")

    def methods(name: str, default: Sequence[str], text: str) -> None:
        add(name, nargs="+", choices=METHODS, default=default, metavar="METHOD", help=text)

    add("--panel", type=Path, required=True, help="phased VCF or BCF with all samples")
    add("--region", help="chrom or chrom:first-last")
    add("--map", type=Path, help="genetic map with a header that names pos and cM")
    number("--hold-out", 0.2, "fraction of the samples to hold out")
    number("--hold-out-count", 0, "number of samples to hold out, 0 for the fraction")
    number("--chip-kb", 2.0, "least distance between sites of the chip")
    number("--chip-maf", 0.05, "least MAF of a site of the chip")
    add("--mask-rate", type=float, nargs="*", default=[], help="mask rates of AF-guided targets")
    add("--maf-edges", type=float, nargs="+", default=MAF_EDGES, help="edges of the MAF bins")
    add("--unphased", action="store_true", help="write the targets without phase")
    number("--switch-error", 0.0, "rate at which to switch the targets' phase at heterozygotes")
    maf_help = "samples whose MAF sorts sites into bins: all (default), or those not held out"
    add("--maf-of", choices=("everyone", "panel"), default="everyone", help=maf_help)
    add("--impute-options", default="", help="options of snvrag.impute, in one argument")
    number("--threads", 1, "threads of each method")
    methods("--only", METHODS, f"methods to run (default: {' '.join(METHODS)})")
    methods("--skip", (), "methods not to run")
    add("--output", type=Path, required=True, help="folder for all files")
    return parser.parse_args(arguments)


def prepare(options: argparse.Namespace) -> tuple[Split, list[Target]]:
    """Read the panel; write its parts and the targets that are not in the folder yet."""
    folder: Path = options.output
    everyone, read = read_panel(options.panel, region=options.region)
    print(read)
    split = hold_out(everyone, options.hold_out, options.hold_out_count)
    observed = {"chip": chip_sites(split.panel, options.chip_kb, options.chip_maf)}
    observed |= {f"mask-{rate:g}": mask_sites(split.panel, rate) for rate in options.mask_rate}
    settings = {name: str(getattr(options, name)) for name in SETTINGS}
    known = folder / "settings.json"
    if known.exists() and json.loads(known.read_text(encoding="utf-8")) != settings:
        raise InputError(f"--output {folder}: made with other settings (see {known}); name another")
    folder.mkdir(parents=True, exist_ok=True)
    known.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    for name, panel in vars(split).items():
        path = folder / f"{name}.vcf.gz"
        if not path.exists():
            write_panel(path, panel)
    if options.map is not None:
        write_maps(folder, read_map(options.map), split.panel.chrom)
    write_uniform_map(folder / "uniform.eagle", split.panel.chrom)
    targets = []
    for name, sites in observed.items():
        samples = switch_phase(split.truth, sites, options.switch_error)
        target = Target(folder / name, sites, None if options.unphased else samples)
        target.folder.mkdir(exist_ok=True)
        if not target.path.exists():
            typed = samples.select_sites(np.flatnonzero(sites))
            write_panel(target.path, typed, phased=not options.unphased)
        targets.append(target)
    print(
        f"{split.panel.num_haplotypes} haplotypes, {split.truth.num_samples} samples held out, "
        f"{split.panel.num_sites} sites; observed: "
        + ", ".join(f"{name} {sites.sum()}" for name, sites in observed.items())
    )
    return split, targets


def table_rows(
    target: str, evaluation: Evaluation, results: dict[str, Result], typed: Panel
) -> list[dict[str, Any]]:
    """Return one row for each method; ``typed`` has the truth of the typed sites."""
    names = evaluation.strata.names
    bins = names[-len(evaluation.strata.bins) :]
    rows = []
    for method, measures in evaluation.measures.items():
        _, phased, cost, before = results[method]
        row = {
            "target": target,
            "method": method,
            **{f"r2 {name}": float(measures["r2"][names.index(name)]) for name in bins},
            "r2 all": float(measures["r2"][0]),
            "nonref_concordance": float(measures["nonref_concordance"][0]),
            "switch_error": switch_error_of(phased, typed),
            "wall_seconds": cost.wall_seconds,
            "cpu_seconds": cost.cpu_seconds,
            "peak_mib": cost.peak_mib,
            "before_seconds": before.wall_seconds if before else None,
            "command": cost.command,
        }
        rows.append(row)
    return rows


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table, without the commands."""
    bins = [name.removeprefix("r2 ") for name in rows[0] if name.startswith("r2 ")]
    titles = ["target", "method", *(f"R2 {name}" for name in bins), "non-ref concordance"]
    titles += ["switch error", "wall s", "CPU s", "peak MiB", "panel prepared, s"]
    table = []
    for row in rows:
        cells = [row["target"], row["method"]]
        for name, value in list(row.items())[2:-1]:
            if value is None or math.isnan(value):
                cells.append("")
            elif name.endswith("_seconds"):
                cells.append(f"{value:.2f}")
            elif name == "peak_mib":
                cells.append(f"{value:.0f}")
            else:
                digits = 4 if name == "switch_error" else 3
                cells.append(f"{value:.{digits}f}".lstrip("0"))
        table.append(cells)
    return markdown_table(titles, table, num_text=2) + "\n"


def run(options: argparse.Namespace) -> None:
    """Write the files, run the methods, evaluate them together and write the table."""
    split, targets = prepare(options)
    methods = Methods(
        options.output,
        split,
        threads=options.threads,
        has_map=options.map is not None,
        unphased=options.unphased,
        impute_options=options.impute_options,
    )
    rows: list[dict[str, Any]] = []
    for target in targets:
        results: dict[str, Result] = {}
        for name in (name for name in options.only if name not in options.skip):
            reason = methods.why_not(name)
            if reason is None:
                try:
                    results[name] = methods.run(name, target)
                    continue
                except RuntimeError as error:
                    reason = str(error)
            print(f"{target.folder.name}, {name}: left out: {reason}", file=sys.stderr)
        if not results:
            continue
        evaluation = evaluate_files(
            EvaluateOptions(
                truth=str(options.output / "truth.vcf.gz"),
                imputed=tuple(f"{name}={result.imputed}" for name, result in results.items()),
                panel=str(options.output / f"{options.maf_of}.vcf.gz"),
                maf_edges=tuple(options.maf_edges),
            )
        )
        for line in evaluation.notes:
            print(line)
        print(write_reports(target.folder, evaluation))
        typed = split.truth.select_sites(np.flatnonzero(target.observed))
        rows += table_rows(target.folder.name, evaluation, results, typed)
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
