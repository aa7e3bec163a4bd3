"""R2 and time by the states that queries copy from: ``python bench/states.py``.

Simulated panels (`simulated.py`) of several sizes; 100 samples are held out, and a chip has one
common site in 5 kb. Rows: all haplotypes (the model of the whole panel), the nearest by Hamming
distance over overlapping segments of typed sites, and retrieved states by number of neighbours.
Rates are learned for what each row copies from. No head; one thread; no genetic map.
"""

from __future__ import annotations

import argparse
import time
from itertools import pairwise

import numpy as np
from accuracy_data import Split, chip_sites, hold_out
from markdown_table import markdown_table
from numpy.typing import NDArray
from simulated import simulate

from snvrag.kernels import (
    HammingIndex,
    States,
    estimate_rates,
    li_stephens_evidence,
    retrieve_states,
    unpack_haplotypes,
)
from snvrag.li_stephens.rates import OwnHaplotypes, map_cm, map_rho, rho_between
from snvrag.panel.panel import Panel

EDGES = (0.0, 0.001, 0.005, 0.05, 0.51)
SIZES = (250, 2500, 25_000)
NUM_HELD_OUT, NUM_LEARNED_FROM = 100, 100
SEGMENTS = (64, 138)


def nearest_by_segment(
    panel: Panel, bits: NDArray[np.uint64], observed: NDArray[np.bool_], exclude: NDArray[np.int64]
) -> States:
    """Return, for the whole region, the nearest 500 over segments of typed sites of two lengths."""
    typed = np.flatnonzero(observed)
    found: list[list[NDArray[np.int64]]] = [[] for _ in bits]
    for length in SEGMENTS:
        for start in range(0, max(1, typed.size - length // 2), length // 2):
            within = np.zeros(panel.num_sites, bool)
            within[typed[start : start + length]] = True
            index = HammingIndex.from_sites(
                panel.site_bits, num_haplotypes=panel.num_haplotypes, observed=within
            )
            k = min(500, panel.num_haplotypes - exclude.shape[1])
            for query, row in enumerate(index.search(bits, k, exclude=exclude, threads=1).indices):
                found[query].append(row)
    each = [np.unique(np.concatenate(rows)).astype(np.int32) for rows in found]
    ends = np.cumsum([0, *(one.size for one in each)])
    return States(np.zeros(1, np.int64), np.stack([ends[:-1], ends[1:]], 1), np.concatenate(each))


def r2_by_maf(
    split: Split, sites: NDArray[np.int64], truth: NDArray[np.int8], log_odds: NDArray[np.float32]
) -> list[float]:
    """Return R2 of the dosage of the minor allele, pooled, in bins of the MAF of everyone."""
    af = split.everyone.af[sites]
    maf = np.minimum(af, 1 - af)
    dosage = 1 / (1 + np.exp(-log_odds.astype(np.float64)))
    pairs = [values[0::2] + values[1::2] for values in (truth.astype(np.float64), dosage)]
    bins = [(maf >= low) & (maf < high) for low, high in pairwise(EDGES)]
    return [
        float(np.corrcoef([values[:, chosen].ravel() for values in pairs])[0, 1] ** 2)
        for chosen in bins
    ]


def rows_of(split: Split) -> list[list[str]]:
    """Return a row of the table for each way to choose states."""
    panel, truth = split.panel, split.truth
    observed = chip_sites(panel, 5.0, 0.05)
    typed, sites = np.flatnonzero(observed), np.flatnonzero(~observed)
    prior, cm = map_rho(panel.position, panel.num_haplotypes), map_cm(panel.position)
    learned_from = OwnHaplotypes.spread(panel, np.arange(panel.num_samples), NUM_LEARNED_FROM)
    haplotypes = truth.haplotypes_of(np.arange(truth.num_samples)).ravel()
    queries = truth.haplotype_bits(haplotypes, 0, truth.num_sites)
    count = panel.alt_count[sites]
    alleles = unpack_haplotypes(queries, truth.num_sites)[:, sites]
    minor = np.where(2 * count > panel.num_haplotypes, 1 - alleles, alleles)
    nobody = np.full((len(queries), 1), -1)

    def states(name: str, bits: NDArray[np.uint64], exclude: NDArray[np.int64]) -> States | None:
        if name == "all haplotypes":
            return None
        if name == "nearest over segments":
            return nearest_by_segment(panel, bits, observed, exclude)
        return retrieve_states(
            bits,
            panel.site_bits,
            num_haplotypes=panel.num_haplotypes,
            observed=observed,
            position_cm=cm,
            neighbours=int(name.split()[0]),
            within_cm=0.3,
            exclude=exclude,
            threads=1,
        )

    names = ["16 neighbours", "32 neighbours", "64 neighbours", "128 neighbours"]
    table = []
    for name in ("all haplotypes", "nearest over segments", *names):
        rates = estimate_rates(
            learned_from.bits,
            panel.haplotype_rows,
            observed=observed,
            cumulative_rho=prior,
            mismatch=min(0.5, 2 / panel.num_haplotypes),
            states=states(name, learned_from.bits, learned_from.exclude),
            exclude=learned_from.exclude,
        )
        begin = time.process_time()
        chosen = states(name, queries, nobody)
        middle = time.process_time()
        evidence = li_stephens_evidence(
            queries,
            panel.haplotype_rows,
            observed=observed,
            sites=sites,
            alt_count=count,
            cumulative_rho=rho_between(prior, typed, rates.cumulative_rho[typed]),
            mismatch=rates.mismatch,
            states=chosen,
            threads=1,
        )
        end = time.process_time()
        most = panel.num_haplotypes
        mean = most if chosen is None else float(np.diff(chosen.offsets, axis=1).mean())
        table.append(
            [
                f"{most:,} x {panel.num_sites:,}, {typed.size} typed",
                name,
                *(f"{r2:.3f}" for r2 in r2_by_maf(split, sites, minor, evidence[..., 0])),
                f"{mean:.0f}",
                f"{middle - begin:.2f}",
                f"{end - middle:.2f}",
            ]
        )
        print(*table[-1], flush=True)
    return table


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--samples", type=int, nargs="+", default=SIZES, help="of the panels")
    parser.add_argument("--length", type=int, default=1_000_000, help="bp (default: %(default)s)")
    options = parser.parse_args()
    table: list[list[str]] = []
    for size in options.samples:
        everyone = simulate(size + NUM_HELD_OUT, options.length, 12_000, 12)
        table += rows_of(hold_out(everyone, 0, NUM_HELD_OUT))
    bins = [f"R2 {low:.1%}-{high:.1%}" for low, high in pairwise(EDGES)]
    titles = ["panel", "states", *bins, "mean states", "retrieval, s", "evidence, s"]
    print("\n" + markdown_table(titles, table, num_text=2))


if __name__ == "__main__":
    main()
