"""Held-out samples, their typed sites, and the files that imputation programs read."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from vcf_files import genotype_columns

from snvrag.batches.keys import VALIDATION_SEED
from snvrag.errors import InputError
from snvrag.kernels import HammingIndex, af_guided_masks, pack_haplotypes, unpack_haplotypes
from snvrag.panel.panel import Panel
from snvrag.panel.windows import Windows
from snvrag.training.run_data import held_out

MASK_WINDOW_SIZE = 1020
EAGLE_TITLES = "chr position COMBINED_rate(cM/Mb) Genetic_Map(cM)\n"
_SITES_AT_ONCE = 512


@dataclass(frozen=True)
class Split:
    """Reference samples, held-out ones and both, at the sites polymorphic in the former."""

    panel: Panel
    truth: Panel
    everyone: Panel


def hold_out(everyone: Panel, fraction: float, count: int) -> Split:
    """Hold out evenly spread samples: ``count`` of them, or where it is 0 a fraction of all."""
    if everyone.ploidy is not None:
        raise InputError("--panel must have diploid samples only, got haploid ones")
    chosen = held_out(everyone.num_samples, count / everyone.num_samples if count else fraction)
    rest = np.setdiff1d(np.arange(everyone.num_samples), chosen)
    if not chosen.size or not rest.size:
        raise InputError(
            "--hold-out must leave at least one sample on each side, got "
            f"{chosen.size} of {everyone.num_samples} samples held out"
        )
    panel = everyone.select_samples(rest)
    polymorphic = panel.polymorphic_sites()
    everyone = everyone.select_sites(polymorphic)
    return Split(panel.select_sites(polymorphic), everyone.select_samples(chosen), everyone)


def chip_sites(panel: Panel, spacing_kb: float, least_maf: float) -> NDArray[np.bool_]:
    """Return (S,) bool, True at a chip's sites: common ones at least ``spacing_kb`` apart."""
    maf = np.minimum(panel.alt_count, panel.num_haplotypes - panel.alt_count) / panel.num_haplotypes
    observed = np.zeros(panel.num_sites, bool)
    next_bp = 0.0
    for s in np.flatnonzero(maf >= least_maf).tolist():
        if panel.position[s] >= next_bp:
            observed[s] = True
            next_bp = panel.position[s] + 1000 * spacing_kb
    return observed


def mask_sites(panel: Panel, rate: float) -> NDArray[np.bool_]:
    """Return (S,) bool, True at the sites that the AF-guided mask of validation does not hide."""
    windows = Windows.split(panel.num_sites, min(MASK_WINDOW_SIZE, panel.num_sites))
    masks = af_guided_masks(
        panel.af, windows.starts, windows.stops, seed=VALIDATION_SEED, rate=rate
    )
    return ~masks


def copy_nearest(
    panel: Panel, truth: Panel, observed: NDArray[np.bool_], window_size: int
) -> Panel:
    """Return the truth with each haplotype replaced, window by window, by its nearest neighbour."""
    haplotypes = truth.haplotypes_of(np.arange(truth.num_samples)).ravel()
    rows = []
    for start in range(0, panel.num_sites, window_size):
        stop = min(start + window_size, panel.num_sites)
        index = HammingIndex.from_sites(
            panel.site_bits[start:stop],
            num_haplotypes=panel.num_haplotypes,
            observed=observed[start:stop],
        )
        queries = truth.haplotype_bits(haplotypes, start, stop)
        nearest = index.search(queries, 1, threads=1).indices[:, 0]
        alleles = unpack_haplotypes(panel.haplotype_bits(nearest, start, stop), stop - start)
        rows.append(pack_haplotypes(np.ascontiguousarray(alleles.T)))
    return replace(truth, site_bits=np.concatenate(rows))


# --- Files ----------------------------------------------------------------------------------------


def write_panel(
    path: Path, panel: Panel, observed: NDArray[np.bool_] | None = None, *, phased: bool = True
) -> None:
    """Write the genotypes; with ``observed``, INFO says which sites are typed or imputed."""
    _write_vcf(path, panel, observed, "GT", _genotypes(panel, phased))


def write_frequencies(path: Path, panel: Panel, truth: Panel, observed: NDArray[np.bool_]) -> None:
    """Write twice the panel's ALT frequency as the dosage of every sample."""
    dosages = (f"\t{2 * af:.6g}".encode() * truth.num_samples for af in panel.af.tolist())
    _write_vcf(path, truth, observed, "DS", dosages)


def read_map(genetic_map: Path) -> list[tuple[str, str]]:
    """Return position and cM of each line of a genetic map whose header names pos and cM."""
    opener = gzip.open if genetic_map.suffix == ".gz" else open
    with opener(genetic_map, "rt") as stream:
        header = stream.readline().split()
        missing = {"pos", "cM"} - set(header)
        if missing:
            raise InputError(
                f"--map {genetic_map}: expected a column {missing.pop()}, got {' '.join(header)}"
            )
        position, distance = header.index("pos"), header.index("cM")
        return [(fields[position], fields[distance]) for fields in map(str.split, stream)]


def write_maps(folder: Path, points: Sequence[tuple[str, str]], chrom: str) -> None:
    """Write positions and cM as map.plink (Beagle, Minimac4), map.shapeit4 and map.eagle.

    Eagle takes rates from its last column and ignores the one before.
    """
    formats = {
        "plink": ("", "{chrom} . {cm} {position}"),
        "shapeit4": ("pos chr cM\n", "{position} {chrom} {cm}"),
        "eagle": (EAGLE_TITLES, "{chrom} {position} 0 {cm}"),
    }
    for name, (titles, line) in formats.items():
        lines = (line.format(chrom=chrom, position=at, cm=cm) + "\n" for at, cm in points)
        (folder / f"map.{name}").write_text(titles + "".join(lines), encoding="utf-8")


def write_uniform_map(path: Path, chrom: str) -> None:
    """Write 1 cM/Mb in the format of Eagle, which does not run without a map."""
    lines = f"{chrom} 0 1 0\n{chrom} 1000000000 1 1000\n"
    path.write_text(EAGLE_TITLES + lines, encoding="utf-8")


def _genotypes(panel: Panel, phased: bool) -> Iterator[bytes]:
    """Yield the genotypes of each site as VCF columns."""
    samples = np.arange(panel.num_samples)
    for start in range(0, panel.num_sites, _SITES_AT_ONCE):
        stop = min(start + _SITES_AT_ONCE, panel.num_sites)
        alleles = panel.sample_alleles(samples, start, stop)
        yield from genotype_columns(alleles.reshape(panel.num_haplotypes, -1).T, phased=phased)


def _write_vcf(
    path: Path,
    panel: Panel,
    observed: NDArray[np.bool_] | None,
    data_format: str,
    columns: Iterator[bytes],
) -> None:
    """Write a bgzipped VCF under a temporary name, rename and index it.

    ``columns`` yields the samples' columns of each site, in the FORMAT ``data_format``.
    """
    titles = ["CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT"]
    header = (
        "##fileformat=VCFv4.2\n"
        f"##contig=<ID={panel.chrom}>\n"
        '##INFO=<ID=TYPED,Number=0,Type=Flag,Description="Typed in the target">\n'
        '##INFO=<ID=IMP,Number=0,Type=Flag,Description="Imputed">\n'
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
        '##FORMAT=<ID=DS,Number=1,Type=Float,Description="ALT dosage">\n'
        "#" + "\t".join([*titles, *panel.samples]) + "\n"
    )
    temporary = path.with_name("partial." + path.name)
    compress = [program("bgzip"), "-c"]
    with (
        temporary.open("wb") as out,
        subprocess.Popen(compress, stdin=subprocess.PIPE, stdout=out) as compressor,
    ):
        assert compressor.stdin is not None
        compressor.stdin.write(header.encode())
        sites = zip(panel.position.tolist(), panel.alleles.tolist(), columns, strict=True)
        for s, (position, (ref, alt), calls) in enumerate(sites):
            info = "." if observed is None else "TYPED" if observed[s] else "IMP"
            fixed = f"{panel.chrom}\t{position}\t.\t{ref}\t{alt}\t.\tPASS\t{info}\t{data_format}"
            compressor.stdin.write(fixed.encode() + calls + b"\n")
    if compressor.returncode:
        raise InputError(f"bgzip failed on {path}")
    temporary.replace(path)
    index(path)


def index(path: Path) -> None:
    """Index a bgzipped VCF."""
    subprocess.run([program("tabix"), "-f", "-p", "vcf", str(path)], check=True)


def program(name: str) -> str:
    """Return the path of a program; raise InputError where it is not installed."""
    found = shutil.which(name)
    if found is None:
        raise InputError(f"{name} is not installed (Debian: apt-get install tabix)")
    return found
