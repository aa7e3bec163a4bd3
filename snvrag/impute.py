"""Fill in what a target lacks of a panel's sites: ``python -m snvrag.impute``."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import torch
from tqdm import tqdm

import snvrag

from .errors import InputError
from .imputation.imputer import Imputer
from .imputation.matching import MatchedBlock, MatchSummary, match_blocks
from .imputation.trained import load_model
from .io.atomic import atomic_file
from .io.genetic_map import read_genetic_map
from .io.imputed_vcf import ImputedWriter, Provenance, check_output
from .io.reading import HaplotypeReader, open_haplotypes
from .io.records import DroppedSite, Unphased, UnphasedGenotypeError
from .log import close_log, log, open_console
from .network.device import choose_device
from .panel.regions import NoChromosomeError, Region, plain_chrom

# Read on each side of a region, so that its ends are predicted as if there were none: some thousand
# sites, and 1 cM, about the length of the haplotypes that are shared.
_FLANK_BP = 1_000_000
_REPORT_COLUMNS = ("CHROM", "POS", "REF", "ALT", "REASON")


@dataclass(frozen=True)
class Options:
    """What ``python -m snvrag.impute`` is asked for.

    Attributes
    ----------
    panel, target, model, output : str
        Files.
    region : str
        Part of the chromosome that is imputed; "" for all.
    genetic_map : str
        File of genetic positions; "" for 1 cM a Mb.
    report : str
        File for the dropped sites of the target; "" for none.
    allow_unphased : bool
        Hide unphased heterozygotes instead of refusing them.
    overwrite : bool
        Replace the output and the report if they are there.
    threads : int
        0 for all cores.
    device : str
        As in training.
    command : str
        For the header.
    """

    panel: str
    target: str
    model: str
    output: str
    region: str = ""
    genetic_map: str = ""
    report: str = ""
    allow_unphased: bool = False
    overwrite: bool = False
    threads: int = 0
    device: str = "auto"
    command: str = "snvrag.impute"

    @property
    def unphased(self) -> Unphased:
        """As `open_haplotypes` calls it."""
        return "hide" if self.allow_unphased else "refuse"

    @property
    def place(self) -> Region | None:
        """What is imputed; None for all."""
        return Region.parse(self.region) if self.region else None


def impute(options: Options) -> MatchSummary:
    """Impute a file.

    Returns
    -------
    MatchSummary
        What became of the target's sites.

    Raises
    ------
    InputError
        For whatever the user can mend; then no output is there.
    """
    started = time.perf_counter()
    _check_places(options)
    if options.threads:
        torch.set_num_threads(options.threads)
    device = choose_device(options.device)
    model = load_model(options.model, device)
    first = _Files.open(options)
    chrom, other = first.panel.chrom, first.target.chrom
    log.info(
        "panel: %d samples, %d haplotypes, chromosome %s; target: %d samples",
        len(first.panel.samples), int(first.panel.ploidy.sum()), chrom, len(first.target.samples),
    )  # fmt: skip
    if chrom != other:
        log.info("Note: chromosome %s of the target is %s of the panel", other, chrom)
    imputer = Imputer(
        model,
        chrom,
        first.panel.samples,
        first.panel.ploidy,
        first.target.samples,
        device=device,
        genetic_map=(read_genetic_map(options.genetic_map, chrom) if options.genetic_map else None),
        threads=options.threads or None,
    )
    own = int((imputer.panel_sample >= 0).sum())
    if own:
        log.info("Note: %d samples are in the panel by name: they are not copied from", own)
    plan = imputer.plan
    log.info(
        "model: %d parameters on %s; windows of %d sites, read with %d more on each side",
        sum(p.numel() for p in model.network.parameters()), device, plan.size, plan.flank,
    )  # fmt: skip
    region = options.place
    _check_common(first, options)
    with _report(options.report, region) as on_dropped:
        files = _Files.open(options, on_dropped)
        summary = MatchSummary(on_dropped=on_dropped, region=region)
        writer = ImputedWriter(
            options.output,
            files.target.samples,
            files.target.ploidy == 1,
            chrom=chrom,
            contig_length=files.panel.contig_length,
            provenance=Provenance(snvrag.__version__, options.command, model.sha256),
            threads=torch.get_num_threads(),
        )
        bar = tqdm(desc="windows x samples", disable=None, leave=False)
        with writer, bar:
            for sites in imputer.run(files.matched(summary), bar.update, region):
                writer.write(
                    sites.position, sites.ids, sites.alleles, sites.typed, sites.hap_dosage
                )
    log.info("%s", files.panel.report)
    log.info("%s", files.target.report)
    log.info("Sites of the target that were read, and sites of the panel:")
    for line in summary.lines():
        log.info("%s", line)
    log.info(
        "Wrote %s: %d sites, %d samples, %.1f s",
        options.output, summary.num_panel_sites, len(files.target.samples),
        time.perf_counter() - started,
    )  # fmt: skip
    return summary


@dataclass(frozen=True)
class _Files:
    """A panel and a target, open at the same chromosome."""

    panel: HaplotypeReader
    target: HaplotypeReader

    @classmethod
    def open(
        cls, options: Options, on_dropped: Callable[[DroppedSite], None] | None = None
    ) -> _Files:
        def open_target(region: str | None) -> HaplotypeReader:
            try:
                return open_haplotypes(
                    options.target,
                    region=region,
                    missing="keep",
                    unphased=options.unphased,
                    on_drop=on_dropped,
                )
            except InputError as error:
                raise _with_hint(error) from error

        region = None if options.place is None else options.place.with_flanks(_FLANK_BP).text
        panel = open_haplotypes(options.panel, region=region)
        if region is not None:
            target = open_target(region)
        elif any(Path(options.target + end).exists() for end in (".tbi", ".csi")):
            try:
                target = open_target(panel.chrom)
            except NoChromosomeError:
                target = open_target(None)  # to tell what it has
        else:
            target = open_target(None)
        if plain_chrom(panel.chrom) != plain_chrom(target.chrom):
            raise InputError(
                f"--target {options.target}: chromosome {target.chrom}, the panel has {panel.chrom}"
            )
        return cls(panel, target)

    def matched(self, summary: MatchSummary) -> Iterator[MatchedBlock]:
        try:
            yield from match_blocks(
                self.panel.blocks(),
                self.target.blocks(),
                self.target.ploidy,
                self.target.chrom,
                summary,
            )
        except InputError as error:
            raise _with_hint(error) from error


def _check_common(files: _Files, options: Options) -> None:
    """Find out before the work, and not after it, that files have nothing in common."""
    region = options.place
    has_site, has_typed = region is None, False
    for block in files.matched(MatchSummary()):
        position = block.panel.position
        if region is not None:
            has_site |= bool(((position >= region.first) & (position <= region.last)).any())
        has_typed |= bool(block.typed.any())
        if has_site and has_typed:
            return
    if not has_site:
        raise InputError(f"--region {options.region}: {options.panel} has no biallelic SNV there")
    raise InputError(
        f"--target {options.target}: no site in common with the panel {options.panel} on "
        f"chromosome {files.panel.chrom}: are both of the same genome build?"
    )


def _with_hint(error: InputError) -> InputError:
    if not isinstance(error, UnphasedGenotypeError):
        return error
    return InputError(f"{error}, or hide such genotypes by --allow-unphased")


def _check_places(options: Options) -> None:
    """Refuse to write where it cannot be, or must not be, before any work."""
    check_output(options.output, overwrite=options.overwrite)
    report = Path(options.report)
    if options.report:
        if report.exists() and not options.overwrite:
            raise InputError(
                f"--report {report}: is there already: give another name or --overwrite"
            )
        if report.is_dir() or not report.parent.is_dir():
            what = "is a folder" if report.is_dir() else f"there is no folder {report.parent}"
            raise InputError(f"--report {report}: {what}")
    read = {"--" + name: getattr(options, name) for name in ("panel", "target", "model")}
    written = {"--output": options.output, "--report": options.report}
    for name, path in written.items():
        for other, source in {**read, **written}.items():
            if path and source and name != other and Path(path).resolve() == Path(source).resolve():
                raise InputError(f"{name} {path}: is also {other}: give another name")


@contextmanager
def _report(path: str, region: Region | None) -> Iterator[Callable[[DroppedSite], None] | None]:
    """Take dropped sites of a region into a table, which gets its name when all is well."""
    if not path:
        yield None
        return
    with atomic_file(Path(path)) as stream:

        def write(row: Sequence[object]) -> None:
            stream.write(("\t".join(map(str, row)) + "\n").encode())

        def write_site(site: DroppedSite) -> None:
            if region is None or region.holds(site.chrom, site.position):
                write(site)

        write(_REPORT_COLUMNS)
        yield write_site


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see --help)")


def parse_arguments(arguments: Sequence[str]) -> Options:
    """Return the options of a command line."""
    parser = _Parser(
        prog="python -m snvrag.impute",
        description="Fill in the sites of a reference panel that a target lacks, by a model of "
        "snvrag.train, and write them as VCF or BCF.",
        allow_abbrev=False,
    )
    # fmt: off
    add = parser.add_argument
    add("--panel", metavar="FILE", required=True,
        help="reference panel: phased haplotypes of one chromosome (of more: see --region): VCF, "
        "BCF, HDF5, VCF Zarr or a prepared panel")
    add("--target", metavar="FILE", required=True,
        help="samples to impute, phased, in any of these formats; missing genotypes are imputed "
        "too")
    add("--model", metavar="FILE", required=True,
        help="checkpoint of snvrag.train, for example snvrag_output/rag_bert.model.best")
    add("--output", metavar="FILE", required=True,
        help="to be written: .vcf.gz or .bcf with an index, or .vcf")
    add("--region", metavar="REGION", default="",
        help="impute only this region, chrom or chrom:first-last (bp, 1-based); needs indexes; "
        "1 Mb on each side is read too")
    add("--genetic-map", metavar="FILE", default="",
        help="genetic map, plain or gzipped: chrom id cM bp (PLINK) or bp chrom cM; without it, "
        "1 cM a Mb")
    add("--report", metavar="FILE", default="",
        help="write a table of the target's sites that were dropped, and why (tab-separated)")
    add("--allow-unphased", action="store_true",
        help="impute unphased heterozygotes of the target instead of refusing them")
    add("--overwrite", action="store_true",
        help="replace --output and --report if they are there")
    add("--threads", metavar="N", type=int, default=0,
        help="threads of the computation; 0: all cores (default: 0)")
    add("--device", metavar="DEVICE", default="auto",
        help="cpu, cuda, cuda:N, or auto: a GPU where there is one (default: auto)")
    # fmt: on
    given = parser.parse_args(arguments)
    options = Options(**vars(given))
    if not 0 <= options.threads <= 1024:
        raise InputError(f"--threads must be from 0 to 1024, got {options.threads}")
    return replace(options, command=shlex.join(["snvrag.impute", *arguments]))


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Let SIGTERM clean up as Ctrl-C does."""

    def end(number: int, _frame: object) -> NoReturn:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    try:
        options = parse_arguments(sys.argv[1:] if arguments is None else arguments)
        open_console()
        with _ended_in_order():
            impute(options)
    except InputError as error:
        print(f"snvrag.impute: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("snvrag.impute: interrupted: nothing was written", file=sys.stderr)
        return 128 + signal.SIGINT
    finally:
        close_log()
    return 0


if __name__ == "__main__":
    sys.exit(main())
