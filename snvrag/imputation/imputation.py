"""Imputation of a file: from a panel and a target to an imputed VCF or BCF."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._installation import version_line, version_of
from ..errors import InputError
from ..io.atomic import atomic_file
from ..io.checkpoint import sha256_of
from ..io.genetic_map import read_genetic_map
from ..io.imputed_vcf import ImputedWriter
from ..io.matching import MatchSummary
from ..io.model_file import Adapted, is_model_file, load_model_file, save_model
from ..io.phased_vcf import PhasedWriter
from ..io.records import DroppedSite
from ..io.vcf_writer import Provenance, check_output, check_place
from ..kernels import HeadWeights
from ..log import Phases, Progress, log
from ..panel.panel import Panel
from ..panel.regions import Region, plain_chrom
from .adaptation import AdaptationRegion, adapt
from .chunks import cut_chunks
from .imputed import ImputedBlock, ImputesBlocks, PanelAndTarget
from .imputer import Imputer, plan_of
from .inputs import Inputs, MatchedSites
from .options import ImputeOptions

if TYPE_CHECKING:
    from .network_model import NetworkModel


# Names and units of the phases of learning.
_PHASES = {
    "rates": ("Learning rates", " regions"),
    "evidence": ("Weighing the panel's own haplotypes", " regions"),
    "head": ("Learning the head", " steps"),
}


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
    if options.phase_only and options.save_model is not None:
        problem = "must not be given where genotypes are only phased: no head is learned"
        raise InputError(problem, argument="save_model")
    log.info("%s", version_line())
    region = options.place
    with _report(options.report, region) as on_dropped:
        model = _Model.open(options)
        inputs = Inputs.open(options, on_dropped)
        data = _panel_and_target(inputs)
        summary = MatchSummary(on_dropped=on_dropped, region=region)
        with Phases() as phases:
            on_block = partial(phases.advance, "Reading", " sites of the panel")
            sites = MatchedSites(inputs, summary, on_block)
            imputer, origin = _imputer(options, model, sites, data, phases)
        with (
            _writer(options, inputs, origin, command) as write,
            Progress(
                f" {imputer.unit}", phase="Phasing" if options.phase_only else "Imputing"
            ) as progress,
        ):
            for block in imputer.run(sites.blocks(), progress.advance, region):
                write(block)
    if isinstance(imputer, Imputer) and imputer.switch_error is not None:
        words = (
            "Phase of the target: wrong between two heterozygotes with probability %g (estimated)"
        )
        log.info(words, imputer.switch_error)
    table = "Sites of the target that were read, and sites of the panel:"
    for line in (inputs.panel.report, inputs.target.report, table, *summary.lines()):
        log.info("%s", line)
    log.info(
        "Wrote %s: %d sites, %d samples, %.1f s",
        options.output,
        summary.num_typed_sites if options.phase_only else summary.num_panel_sites,
        len(inputs.target.samples),
        time.perf_counter() - started,
    )
    return summary


@contextmanager
def _writer(
    options: ImputeOptions, inputs: Inputs, origin: dict[str, str], command: str
) -> Iterator[Callable[[ImputedBlock], None]]:
    """Open the output; what is written block by block appears there when the block ends well."""
    target = inputs.target
    settings: dict[str, Any] = {
        "chrom": inputs.panel.chrom,
        "contig_length": inputs.panel.contig_length,
        "provenance": Provenance(version_of("snvrag"), command, **origin),
        "threads": options.threads or _num_cores(),
    }
    place = options.output, target.samples, target.ploidy == 1
    if options.phase_only:
        with PhasedWriter(*place, **settings) as phased:

            def write_phased(block: ImputedBlock) -> None:
                typed = np.flatnonzero(block.typed)
                sites = block.select(typed)
                phase_set = np.zeros((typed.size, target.ploidy.size), np.int32)
                if block.phase_set is not None:
                    phase_set = block.phase_set[typed]
                phased.write(
                    sites.position,
                    sites.ids,
                    sites.alleles,
                    sites.target_bits,
                    sites.target_missing_bits,
                    phase_set,
                )

            yield write_phased
        return
    with ImputedWriter(*place, phase_sets=target.report.num_unphased > 0, **settings) as imputed:
        yield lambda block: imputed.write(
            block.position,
            block.ids,
            block.alleles,
            block.typed,
            block.hap_dosage,
            block.hom_alt,
            block.phase_set,
        )


def _panel_and_target(inputs: Inputs) -> PanelAndTarget:
    """Log the samples and the chromosome of both files, and return what imputers need of them."""
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
    genetic_map = (
        None if options.genetic_map is None else read_genetic_map(options.genetic_map, panel.chrom)
    )
    data = PanelAndTarget(panel.chrom, panel.samples, panel.ploidy, target.samples, genetic_map)
    num_own = int((data.panel_sample >= 0).sum())
    if num_own:
        log.info("Note: %d samples are in the panel by name: they are not copied from", num_own)
    return data


@dataclass(frozen=True)
class _Model:
    """What the user gave: rates and head, a head to start from, a network of windows, or none."""

    adapted: Adapted | None = None
    head: HeadWeights | None = None
    network: NetworkModel | None = None

    @classmethod
    def open(cls, options: ImputeOptions) -> _Model:
        """Return what a model file or a checkpoint holds."""
        if options.model is None:
            return cls()
        if not Path(options.model).is_file():
            raise InputError("no such file", argument="model", path=options.model)
        if is_model_file(options.model):
            return cls(adapted=load_model_file(options.model))
        # torch, which takes seconds to load, is for checkpoints and for learning.
        from .network_model import load_network

        network = load_network(options.model, options.device, options.threads)
        if isinstance(network, HeadWeights):
            return cls(head=network)
        if options.save_model is not None:
            problem = "must not be given with a transformer, as nothing is learned from the panel"
            raise InputError(problem, argument="save_model")
        if options.phase_only:
            problem = "must not be given with a transformer, which does not phase"
            raise InputError(problem, argument="phase_only")
        return cls(network=network)


def _imputer(
    options: ImputeOptions,
    model: _Model,
    sites: MatchedSites,
    data: PanelAndTarget,
    phases: Phases,
) -> tuple[ImputesBlocks, dict[str, str]]:
    """Return what imputes, and the arguments of `Provenance` that tell its origin.

    Rates and head are learned from the panel where there is no model of the target's typed sites.
    """
    if model.network is not None:
        from .network_imputer import NetworkImputer

        sites.read()
        network = NetworkImputer(model.network, data, threads=options.threads)
        log.info("%s", network.description)
        return network, {"model_sha256": model.network.sha256}
    adapted = model.adapted
    if adapted is not None:
        sites.read()
        if not _fits(adapted, sites, data):
            log.info("Note: the model is not of this panel's typed sites: it is learned anew")
            adapted = None
    if adapted is not None:
        origin = {"model_sha256": sha256_of(str(options.model))}
    else:
        adapted = _learn(sites, data, model.head, options, phases)
        origin = {"learned": _in_words(adapted)}
        if model.head is not None:
            origin["learned"] += f", begun as {Path(str(options.model)).name}"
        log.info("Learned from the panel: %s", origin["learned"])
    if options.save_model is not None:
        save_model(Path(options.save_model), adapted)
    imputer = Imputer(adapted, data, phase_only=options.phase_only, threads=options.threads)
    return imputer, origin


def _in_words(adapted: Adapted) -> str:
    head = "without a head" if adapted.head is None else "with a head"
    return (
        f"rates at {adapted.position.size} typed sites of {adapted.num_haplotypes} haplotypes "
        f"of {adapted.panel}, {head}"
    )


def _fits(adapted: Adapted, sites: MatchedSites, data: PanelAndTarget) -> bool:
    """Return whether a model is of the typed sites that are read, and of as many haplotypes."""
    first_bp, last_bp = sites.inputs.range_bp
    chosen = (adapted.position >= first_bp) & (adapted.position <= last_bp)
    within = replace(adapted, position=adapted.position[chosen], alleles=adapted.alleles[chosen])
    return (
        plain_chrom(adapted.chrom) == plain_chrom(data.chrom)
        and adapted.num_haplotypes == data.num_haplotypes
        and within.is_for(sites.typed_position, sites.typed_alleles)
    )


def _learn(
    sites: MatchedSites,
    data: PanelAndTarget,
    start: HeadWeights | None,
    options: ImputeOptions,
    phases: Phases,
) -> Adapted:
    """Learn rates and head, from its start, from the panel at the target's typed sites."""

    def regions() -> Iterator[AdaptationRegion]:
        # Chunks do not depend on the target's samples.
        plan = plan_of(data.num_haplotypes)
        for chunk in cut_chunks(sites.blocks(), data.num_haplotypes, plan, data.genetic_map):
            counts = chunk.num_polymorphic
            block = chunk.sites.select(np.flatnonzero(chunk.polymorphic))
            panel = Panel(
                data.chrom,
                block.position,
                block.alleles,
                tuple(data.panel_samples),
                block.site_bits,
                ploidy=data.ploidy,
            )
            own = int(counts[chunk.start]), int(counts[chunk.stop])
            yield AdaptationRegion(panel, block.typed, *own)

    return adapt(
        regions(),
        genetic_map=data.genetic_map,
        panel_name=Path(sites.inputs.options.panel).name,
        start=start,
        has_head=not options.phase_only,
        threads=options.threads,
        on_phase=lambda name, *done: phases.reach(*_PHASES[name], *done),
    )


def _check_outputs(options: ImputeOptions) -> None:
    """Refuse, before any work, to write where it is not possible or not allowed."""
    check_output(options.output, overwrite=options.overwrite)
    outputs = ("output", "report", "save_model")
    names = ("panel", "target", "model", *outputs)
    paths = {name: Path(path) for name in names if (path := getattr(options, name)) is not None}
    for name in outputs[1:]:
        if name in paths:
            check_place(paths[name], name, overwrite=options.overwrite)
    for name in outputs:
        for other, path in paths.items():
            if name != other and name in paths and paths[name].resolve() == path.resolve():
                problem = f"is also the {other.replace('_', ' ')}: give another name"
                raise InputError(problem, argument=name, path=paths[name])


def _num_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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
