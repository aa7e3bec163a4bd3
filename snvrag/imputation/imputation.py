"""Imputation of a file: from a panel, a target and a model to an imputed VCF or BCF."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch

from .._installation import version_line, version_of
from ..errors import InputError
from ..io.atomic import atomic_file
from ..io.imputed_vcf import ImputedWriter, Provenance, check_output, check_place
from ..io.matching import MatchSummary
from ..io.records import DroppedSite
from ..log import Progress, log
from ..network.device import choose_device
from ..panel.regions import Region
from .imputer import Imputer, PanelAndTarget
from .inputs import Inputs
from .options import ImputeOptions
from .trained import Model, load_model


def impute_file(options: ImputeOptions, command: str = "snvrag impute") -> MatchSummary:
    """Impute a file, and log what was read and written.

    ``command`` is written to the header of the output.

    Returns
    -------
    MatchSummary
        Counts of the target's sites by outcome.

    Raises
    ------
    InputError
        For a file or an option that is wrong; the output then does not exist, or is what it was.
    """
    started = time.perf_counter()
    _check_outputs(options)
    log.info("%s", version_line())
    if options.threads:
        torch.set_num_threads(options.threads)
    model = load_model(options.model, choose_device(options.device))
    inputs = Inputs.open(options)
    imputer = _imputer(model, inputs)
    inputs.require_common_sites()
    region = options.place
    with _report(options.report, region) as on_dropped:
        inputs = Inputs.open(options, on_dropped)  # once more, from the start
        summary = MatchSummary(on_dropped=on_dropped, region=region)
        writer = ImputedWriter(
            options.output,
            inputs.target.samples,
            inputs.target.ploidy == 1,
            chrom=inputs.panel.chrom,
            contig_length=inputs.panel.contig_length,
            provenance=Provenance(version_of("snvrag"), command, model.sha256),
            threads=torch.get_num_threads(),
        )
        progress = Progress(" windows x samples")

        def state() -> str:
            sites = f"{summary.num_panel_sites} sites of the panel read"
            return f"Imputing: {sites}, {progress} windows x samples predicted"

        with writer, progress:
            advance = partial(progress.advance, line=state)
            for block in imputer.run(inputs.matched(summary), advance, region):
                writer.write(
                    block.position, block.ids, block.alleles, block.typed, block.hap_dosage
                )
    table = "Sites of the target that were read, and sites of the panel:"
    for line in (inputs.panel.report, inputs.target.report, table, *summary.lines()):
        log.info("%s", line)
    log.info(
        "Wrote %s: %d sites, %d samples, %.1f s",
        options.output,
        summary.num_panel_sites,
        len(inputs.target.samples),
        time.perf_counter() - started,
    )
    return summary


def _imputer(model: Model, inputs: Inputs) -> Imputer:
    """Return the imputer of two files, and log what they and the model are."""
    options, panel, target = inputs.options, inputs.panel, inputs.target
    log.info(
        "panel: %d samples, %d haplotypes, chromosome %s; target: %d samples",
        len(panel.samples),
        int(panel.ploidy.sum()),
        panel.chrom,
        len(target.samples),
    )
    if panel.chrom != target.chrom:
        log.info("Note: chromosome %s of the target is %s of the panel", target.chrom, panel.chrom)
    data = PanelAndTarget(panel.chrom, panel.samples, panel.ploidy, target.samples)
    imputer = Imputer(model, data, threads=options.threads)
    num_own = int((imputer.panel_sample >= 0).sum())
    if num_own:
        log.info("Note: %d samples are in the panel by name: they are not copied from", num_own)
    log.info(
        "model: %d parameters on %s; windows of %d sites, read with %d more on each side",
        sum(p.numel() for p in model.network.parameters()),
        model.device,
        imputer.plan.size,
        imputer.plan.flank,
    )
    return imputer


def _check_outputs(options: ImputeOptions) -> None:
    """Refuse, before any work, to write where it is not possible or not allowed."""
    check_output(options.output, overwrite=options.overwrite)
    if options.report is not None:
        check_place(Path(options.report), "report", overwrite=options.overwrite)
    names = ("panel", "target", "model", "output", "report")
    paths = {name: Path(path) for name in names if (path := getattr(options, name)) is not None}
    for name in ("output", "report"):
        for other, path in paths.items():
            if name != other and name in paths and paths[name].resolve() == path.resolve():
                problem = f"is also the {other}: give another name"
                raise InputError(problem, argument=name, path=paths[name])


@contextmanager
def _report(
    path: str | None, region: Region | None
) -> Iterator[Callable[[DroppedSite], None] | None]:
    """Write dropped sites of a region to a table, which appears when the block ends well."""
    if path is None:
        yield None
        return
    with atomic_file(Path(path)) as stream:

        def write(row: Sequence[object]) -> None:
            stream.write(("\t".join(map(str, row)) + "\n").encode())

        def write_site(site: DroppedSite) -> None:
            if region is None or region.holds(site.chrom, site.position):
                write(site)

        write(("CHROM", "POS", "REF", "ALT", "REASON"))
        yield write_site
