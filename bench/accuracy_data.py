"""Held-out samples, what is observed of them, and the files that imputation programs take."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from snvrag.errors import InputError
from snvrag.kernels import HammingIndex, af_guided_masks, pack_haplotypes, unpack_haplotypes
from snvrag.panel import Panel
from snvrag.sources import held_out
from snvrag.trainer import VALIDATION_SEED
from snvrag.windows import Windows

MASK_WINDOW_SIZE = 1020
_SITES_AT_ONCE = 512


@dataclass(frozen=True)
class Split:
    """The samples of a panel, at the sites polymorphic in those that are not held out.

    Attributes
    ----------
    panel, truth, everyone : Panel
        Those that stay, those that are held out, and both.
    """

    panel: Panel
    truth: Panel
    everyone: Panel


def hold_out(everyone: Panel, fraction: float, count: int) -> Split:
    """Hold out a fraction of the samples, or so many (``count`` above 0), evenly spread."""
    if everyone.ploidy is not None:
        raise InputError("--panel: has haploid samples, expected diploid ones")
    chosen = held_out(everyone.num_samples, count / everyone.num_samples if count else fraction)
    rest = np.setdiff1d(np.arange(everyone.num_samples), chosen)
    if not chosen.size or not rest.size:
        raise InputError(
            f"--hold-out: {chosen.size} of {everyone.num_samples} samples held out, at least one "
            "must be left on each side"
        )
    panel = everyone.select_samples(rest)
    polymorphic = panel.polymorphic_sites()
    everyone = everyone.select_sites(polymorphic)
    return Split(panel.select_sites(polymorphic), everyone.select_samples(chosen), everyone)


def chip_sites(panel: Panel, spacing_kb: float, least_maf: float) -> NDArray[np.bool_]:
    """Return (S,) bool, True at sites of a chip: common ones, each so far from the one before."""
    maf = np.minimum(panel.alt_count, panel.num_haplotypes - panel.alt_count) / panel.num_haplotypes
    observed = np.zeros(panel.num_sites, bool)
    nearest_bp = 0.0
    for s in np.flatnonzero(maf >= least_maf).tolist():
        if panel.position[s] >= nearest_bp:
            observed[s] = True
            nearest_bp = panel.position[s] + 1000 * spacing_kb
    return observed


def mask_sites(panel: Panel, rate: float) -> NDArray[np.bool_]:
    """Return (S,) bool, True at sites that the validation's AF-guided mask leaves."""
    windows = Windows.split(panel.num_sites, min(MASK_WINDOW_SIZE, panel.num_sites))
    masks = af_guided_masks(
        panel.af, windows.starts, windows.stops, seed=VALIDATION_SEED, rate=rate
    )
    return ~masks


def copy_nearest(
    panel: Panel, truth: Panel, observed: NDArray[np.bool_], window_size: int
) -> Panel:
    """Return the targets with each window of so many sites copied from the nearest haplotype."""
    everybody = truth.haplotypes_of(np.arange(truth.num_samples)).ravel()
    rows = []
    for start in range(0, panel.num_sites, window_size):
        stop = min(start + window_size, panel.num_sites)
        index = HammingIndex.from_sites(
            panel.site_bits[start:stop],
            num_haplotypes=panel.num_haplotypes,
            observed=observed[start:stop],
        )
        queries = truth.haplotype_bits(everybody, start, stop)
        nearest = index.search(queries, 1, threads=1).indices[:, 0]
        copied = unpack_haplotypes(panel.haplotype_bits(nearest, start, stop), stop - start)
        rows.append(pack_haplotypes(np.ascontiguousarray(copied.T)))
    return replace(truth, site_bits=np.concatenate(rows))


# --- Files ----------------------------------------------------------------------------------------


def write_panel(path: Path, panel: Panel, observed: NDArray[np.bool_] | None = None) -> None:
    """Write phased genotypes; with ``observed``, tell imputed from typed sites by INFO."""
    _write_vcf(path, panel, observed, "GT", _genotypes(panel))


def write_frequencies(path: Path, panel: Panel, truth: Panel, observed: NDArray[np.bool_]) -> None:
    """Write twice the panel's ALT frequency as everybody's dosage."""
    texts = (f"\t{2 * af:.6g}".encode() * truth.num_samples for af in panel.af.tolist())
    _write_vcf(path, truth, observed, "DS", texts)


def write_plink_map(path: Path, genetic_map: Path, chrom: str) -> None:
    """Write a genetic map of columns pos, chr, cM (or with other order, named) as PLINK has it.

    Beagle and Minimac4 take its columns: chromosome, name, cM, position.
    """
    opener = gzip.open if genetic_map.suffix == ".gz" else open
    with opener(genetic_map, "rt") as stream:
        header = stream.readline().split()
        missing = {"pos", "cM"} - set(header)
        if missing:
            raise InputError(
                f"--map {genetic_map}: no column {missing.pop()} (found: {' '.join(header)})"
            )
        position, distance = header.index("pos"), header.index("cM")
        lines = [
            f"{chrom} . {fields[distance]} {fields[position]}\n"
            for fields in map(str.split, stream)
        ]
    path.write_text("".join(lines), encoding="utf-8")


def _genotypes(panel: Panel) -> Iterator[bytes]:
    """Yield each site's genotypes as a VCF has them."""
    everybody = np.arange(panel.num_samples)
    for start in range(0, panel.num_sites, _SITES_AT_ONCE):
        stop = min(start + _SITES_AT_ONCE, panel.num_sites)
        alleles = panel.sample_alleles(everybody, start, stop)
        text = np.empty((stop - start, panel.num_samples, 4), np.uint8)
        text[:] = np.frombuffer(b"\t0|0", np.uint8)
        text[:, :, 1] += alleles[:, 0].T.astype(np.uint8)
        text[:, :, 3] += alleles[:, 1].T.astype(np.uint8)
        for row in text:
            yield row.tobytes()


def _write_vcf(
    path: Path,
    panel: Panel,
    observed: NDArray[np.bool_] | None,
    layout: str,
    texts: Iterator[bytes],
) -> None:
    """Write a bgzipped and indexed VCF, under its name only when it is whole."""
    columns = ["CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT"]
    header = (
        "##fileformat=VCFv4.2\n"
        f"##contig=<ID={panel.chrom}>\n"
        '##INFO=<ID=TYPED,Number=0,Type=Flag,Description="Typed in the target">\n'
        '##INFO=<ID=IMP,Number=0,Type=Flag,Description="Imputed">\n'
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
        '##FORMAT=<ID=DS,Number=1,Type=Float,Description="ALT dosage">\n'
        "#" + "\t".join([*columns, *panel.samples]) + "\n"
    )
    temporary = path.with_name("partial." + path.name)
    with temporary.open("wb") as out, subprocess.Popen(
        [program("bgzip"), "-c"], stdin=subprocess.PIPE, stdout=out
    ) as compressor:  # fmt: skip
        assert compressor.stdin is not None
        compressor.stdin.write(header.encode())
        sites = zip(panel.position.tolist(), panel.alleles.tolist(), texts, strict=True)
        for s, (position, (ref, alt), text) in enumerate(sites):
            info = "." if observed is None else "TYPED" if observed[s] else "IMP"
            fixed = f"{panel.chrom}\t{position}\t.\t{ref}\t{alt}\t.\tPASS\t{info}\t{layout}"
            compressor.stdin.write(fixed.encode() + text + b"\n")
    if compressor.returncode:
        raise InputError(f"bgzip failed on {path}")
    temporary.replace(path)
    subprocess.run([program("tabix"), "-f", "-p", "vcf", str(path)], check=True)


def program(name: str) -> str:
    """Return the path of a program that must be there."""
    found = shutil.which(name)
    if found is None:
        raise InputError(f"{name} is not installed (Debian: apt-get install tabix)")
    return found
