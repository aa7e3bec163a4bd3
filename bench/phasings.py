"""R2 and switch error by the number of states of a sample: ``python bench/phasings.py``.

Simulated panels (`simulated.py`), or one with ``--panel``; 100 samples are held out, and their
genotypes at the sites of a chip have no phase. Rows: the neighbours that states are chosen by, and
how often they are chosen, the first time for genotypes, then for haplotypes drawn with the states
before. Rates are learned for retrieved states, as they are for haplotypes. Probabilities are means
over eight phasings; no head, one thread, no genetic map.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from accuracy_data import Split, chip_sites, hold_out
from markdown_table import markdown_table
from numpy.typing import NDArray
from phase import switch_error
from simulated import simulate
from states import EDGES, r2_by_maf

from snvrag.imputation.phase_sets import Phase
from snvrag.imputation.phasing import DiploidModel, Genotypes
from snvrag.io.reading import read_panel
from snvrag.kernels import li_stephens_evidence, unpack_haplotypes
from snvrag.li_stephens.rates import learn_rates, map_cm, map_rho
from snvrag.li_stephens.states import states_of

SIZES = (250, 2500)
NUM_HELD_OUT, PHASED, IMPUTED = 100, 128, 8
WAYS = ((4, 1), (8, 1), (16, 1), (32, 1), (4, 3), (8, 3), (16, 3), (32, 3), (64, 3))


def log_odds(
    model: DiploidModel,
    split: Split,
    sites: NDArray[np.int64],
    genotypes: Genotypes,
    swapped: NDArray[np.uint64],
) -> NDArray[np.float32]:
    """Return (2 S, N), the log-odds of the minor allele of mean probabilities over phasings."""
    num_samples, draws, _ = swapped.shape
    samples = np.repeat(np.arange(num_samples), draws)
    bits, _ = genotypes.haplotypes(samples, swapped.reshape(samples.size, -1))
    evidence = li_stephens_evidence(
        bits,
        model.haplotype_bits,
        observed=model.observed,
        sites=sites,
        alt_count=split.panel.alt_count[sites],
        cumulative_rho=model.cumulative_rho,
        mismatch=model.mismatch,
        states=states_of(
            bits,
            model.site_bits,
            num_haplotypes=model.num_haplotypes,
            observed=model.observed,
            position_cm=model.position_cm,
            threads=1,
        ),
        threads=1,
    )
    each = 1 / (1 + np.exp(-evidence[..., 0].reshape(num_samples, draws, 2, -1)))
    # Halves of the dosage, since draws have no order of the haplotypes in common.
    half = np.repeat(each.mean(axis=(1, 2)), 2, axis=0).clip(1e-6, 1 - 1e-6)
    odds: NDArray[np.float32] = np.log(half / (1 - half))
    return odds


def rows_of(split: Split, chip_kb: float) -> list[list[str]]:
    """Return a row of the table for each way to choose states."""
    panel, truth = split.panel, split.truth
    observed = chip_sites(panel, chip_kb, 0.05)
    typed, sites = np.flatnonzero(observed), np.flatnonzero(~observed)
    rho, mismatch = learn_rates(panel, observed, map_rho(panel.position, panel.num_haplotypes))
    haplotypes = truth.haplotypes_of(np.arange(truth.num_samples)).ravel()
    bits = truth.haplotype_bits(haplotypes, 0, truth.num_sites)
    differ = bits[0::2] ^ bits[1::2]
    # The order of the truth must tell nothing, not even at ties: the second haplotype has ALT.
    bits_without_phase = np.stack([bits[0::2] & ~differ, bits[1::2] | differ], 1)
    genotypes = Genotypes(bits_without_phase.reshape(bits.shape), None, differ, None)
    alleles = unpack_haplotypes(bits, truth.num_sites)
    hidden = alleles[:, sites]
    count = panel.alt_count[sites]
    minor = np.where(2 * count > panel.num_haplotypes, 1 - hidden, hidden)
    pairs = alleles[:, typed].reshape(truth.num_samples, 2, -1).transpose(2, 0, 1)
    model = DiploidModel(
        site_bits=panel.site_bits,
        haplotype_bits=panel.haplotype_rows,
        num_haplotypes=panel.num_haplotypes,
        observed=observed,
        position_cm=map_cm(panel.position),
        cumulative_rho=rho,
        mismatch=mismatch,
        first_rank=0,
        neighbours=1,
        threads=1,
    )
    table = []
    for neighbours, rounds in WAYS:
        model = replace(model, neighbours=neighbours, rounds=rounds)
        rates = model.fit(genotypes.select, np.arange(truth.num_samples))
        begin = time.process_time()
        keys = np.arange(truth.num_samples, dtype=np.uint64)
        drawn = model.draw(genotypes, rates, keys, PHASED)
        seconds = time.process_time() - begin
        calls = np.ones((typed.size, truth.num_samples, 3), np.int16)
        for s in range(truth.num_samples):
            differ = np.flatnonzero(pairs[:, s, 0] != pairs[:, s, 1])
            draws = unpack_haplotypes(drawn[s], panel.num_sites)[:, typed[differ]] != 0
            phase = Phase.of_draws(differ, panel.position[typed[differ]], draws)
            calls[:, s, :2] = pairs[:, s]
            calls[differ, s, 0], calls[differ, s, 1] = phase.swapped, ~phase.swapped
        odds = log_odds(model, split, sites, genotypes, drawn[:, :IMPUTED])
        table.append(
            [
                f"{panel.num_haplotypes:,} x {panel.num_sites:,}, {typed.size} typed",
                f"{neighbours}",
                f"{rounds}",
                *(f"{r2:.3f}" for r2 in r2_by_maf(split, sites, minor, odds)),
                f"{switch_error(pairs, calls):.4f}",
                f"{rates.rho_scale:g}",
                f"{seconds:.2f}",
            ]
        )
        print(*table[-1], flush=True)
    return table


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--samples", type=int, nargs="*", default=SIZES, help="of the panels")
    parser.add_argument("--panel", type=Path, help="phased VCF or BCF, instead of simulated ones")
    parser.add_argument("--hold-out-count", type=int, default=NUM_HELD_OUT)
    parser.add_argument("--chip-kb", type=float, default=3.0, help="(default: %(default)s)")
    options = parser.parse_args()
    count = options.hold_out_count
    table: list[list[str]] = []
    if options.panel is not None:
        table += rows_of(hold_out(read_panel(options.panel)[0], 0, count), options.chip_kb)
    else:
        for size in options.samples:
            everyone = simulate(size + count, 1_000_000, 12_000, 12)
            table += rows_of(hold_out(everyone, 0, count), options.chip_kb)
    bins = [f"R2 {low:.1%}-{high:.1%}" for low, high in pairwise(EDGES)]
    titles = ["panel", "neighbours", "times", *bins, "switch error", "rho scale", "phasing, s"]
    print("\n" + markdown_table(titles, table, num_text=1))


if __name__ == "__main__":
    main()
