"""Simulate a panel with recombination hotspots: ``python bench/simulated.py OUTPUT.vcf.gz``.

One population of constant size under the coalescent (msprime, fixed seed), in 60 stretches whose
recombination rates follow a gamma distribution: most are cold, a few hot, 1 cM/Mb on average. One
allele in 5,000 is an error. `accuracy.py` and `states.py` take it from there. Needs msprime.
"""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path

import msprime
import numpy as np
from numpy.typing import NDArray
from vcf_files import genotype_columns

from snvrag.kernels import pack_haplotypes
from snvrag.panel.panel import Panel

NUM_STRETCHES = 60
ERROR_RATE = 2e-4


def simulate(num_samples: int, length_bp: int, size: int, seed: int) -> Panel:
    """Return the haplotypes of so many diploid samples, over so many base pairs."""
    rng = np.random.default_rng(seed)
    cuts = np.unique(np.r_[0, rng.integers(1, length_bp, NUM_STRETCHES - 1), length_bp])
    rates = 1e-8 * rng.gamma(0.2, 5, cuts.size - 1)
    trees = msprime.sim_ancestry(
        num_samples,
        population_size=size,
        recombination_rate=msprime.RateMap(position=cuts, rate=rates),
        random_seed=seed,
    )
    model = msprime.BinaryMutationModel()
    trees = msprime.sim_mutations(trees, rate=1.25e-8, model=model, random_seed=seed)
    rows: list[NDArray[np.uint64]] = []
    position: list[int] = []
    for variant in trees.variants():
        if not position or int(variant.site.position) + 1 > position[-1]:
            errors = rng.random(2 * num_samples) < ERROR_RATE
            rows.append(pack_haplotypes((variant.genotypes.astype(np.int8) ^ errors)[None]))
            position.append(int(variant.site.position) + 1)
    return Panel(
        chrom="1",
        position=np.array(position, np.int64),
        alleles=np.tile(np.array([["A", "G"]]), (len(position), 1)),
        samples=tuple(f"s{i}" for i in range(num_samples)),
        site_bits=np.concatenate(rows),
    )


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("output", type=Path)
    parser.add_argument("--samples", type=int, default=2604, help="diploid (default: %(default)s)")
    parser.add_argument("--length", type=int, default=2_200_000, help="bp (default: %(default)s)")
    parser.add_argument("--size", type=int, default=20_000, help="of the population")
    parser.add_argument("--seed", type=int, default=11)
    options = parser.parse_args()
    panel = simulate(options.samples, options.length, options.size, options.seed)
    everyone = np.arange(panel.num_samples)
    with gzip.open(options.output, "wt", compresslevel=1) as stream:
        stream.write(f"##fileformat=VCFv4.2\n##contig=<ID=1,length={options.length}>\n")
        stream.write('##FORMAT=<ID=GT,Number=1,Type=String,Description="Phased genotype">\n')
        titles = ["CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT"]
        stream.write("#" + "\t".join([*titles, *panel.samples]) + "\n")
        for start in range(0, panel.num_sites, 512):
            stop = min(start + 512, panel.num_sites)
            alleles = panel.sample_alleles(everyone, start, stop)
            columns = genotype_columns(alleles.reshape(panel.num_haplotypes, -1).T)
            for at, genotypes in zip(panel.position[start:stop].tolist(), columns, strict=True):
                stream.write(f"1\t{at}\t.\tA\tG\t.\tPASS\t.\tGT{genotypes.decode()}\n")


if __name__ == "__main__":
    main()
