"""Make the demo panel that ships with the package: ``python bench/make_demo_panel.py``.

Haplotypes of three populations under the out-of-Africa history of Gutenkunst et al., "Inferring the
joint demographic history of multiple populations from multidimensional SNP frequency data" (PLoS
Genetics 5, 2009), simulated by msprime with a fixed seed. Needs msprime, which snvrag does not.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import msprime
import numpy as np
from vcf_files import convert_vcf

SEED = 2009
SAMPLES = {"YRI": 67, "CEU": 67, "CHB": 66}
LENGTH_BP = 800_000
FIRST_BP = 10_000_000
YEARS_PER_GENERATION = 25


def out_of_africa() -> msprime.Demography:
    """Return three populations, with the paper's maximum-likelihood sizes and rates."""
    growth_ceu, growth_chb = 0.004, 0.0055
    split_eurasia = 21_200 / YEARS_PER_GENERATION
    split_africa = 140_000 / YEARS_PER_GENERATION
    ancient = 220_000 / YEARS_PER_GENERATION
    demography = msprime.Demography()
    demography.add_population(name="YRI", initial_size=12_300)
    demography.add_population(
        name="CEU", initial_size=1_000 * np.exp(growth_ceu * split_eurasia), growth_rate=growth_ceu
    )
    demography.add_population(
        name="CHB", initial_size=510 * np.exp(growth_chb * split_eurasia), growth_rate=growth_chb
    )
    demography.add_population(name="OOA", initial_size=2_100)
    demography.add_population(name="AMH", initial_size=12_300)
    demography.add_population(name="ANC", initial_size=7_300)
    demography.set_symmetric_migration_rate(["CEU", "CHB"], 9.6e-5)
    demography.set_symmetric_migration_rate(["YRI", "CHB"], 1.9e-5)
    demography.set_symmetric_migration_rate(["YRI", "CEU"], 3e-5)
    demography.add_population_split(time=split_eurasia, derived=["CEU", "CHB"], ancestral="OOA")
    demography.add_symmetric_migration_rate_change(
        time=split_eurasia, populations=["YRI", "OOA"], rate=25e-5
    )
    demography.add_population_split(time=split_africa, derived=["YRI", "OOA"], ancestral="AMH")
    demography.add_population_split(time=ancient, derived=["AMH"], ancestral="ANC")
    return demography


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    folder = Path(__file__).resolve().parent.parent / "snvrag" / "demo"
    parser.add_argument("--output", type=Path, default=folder, help="folder (default: %(default)s)")
    arguments = parser.parse_args()

    ancestry = msprime.sim_ancestry(
        samples=SAMPLES,
        demography=out_of_africa(),
        sequence_length=LENGTH_BP,
        recombination_rate=1e-8,
        random_seed=SEED,
    )
    mutated = msprime.sim_mutations(ancestry, rate=1.25e-8, random_seed=SEED)
    names = [f"{name}{i:03}" for name, count in SAMPLES.items() for i in range(1, count + 1)]
    path = arguments.output / "demo.vcf.gz"
    plain = path.with_suffix("")
    with open(plain, "w", encoding="ascii") as stream:
        stream.write("##fileformat=VCFv4.2\n")
        stream.write(f"##source=msprime {msprime.__version__}, bench/make_demo_panel.py\n")
        stream.write(f"##contig=<ID=demo,length={FIRST_BP + LENGTH_BP}>\n")
        stream.write('##FORMAT=<ID=GT,Number=1,Type=String,Description="Phased genotype">\n')
        stream.write(
            "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t" + "\t".join(names) + "\n"
        )
        num_sites = 0
        for variant in mutated.variants():
            if len(set(variant.genotypes)) != 2 or len(variant.alleles) != 2:
                continue
            first, second = variant.genotypes[0::2], variant.genotypes[1::2]
            calls = "\t".join(f"{a}|{b}" for a, b in zip(first, second, strict=True))
            ref, alt = variant.alleles
            position = FIRST_BP + int(variant.site.position)
            stream.write(f"demo\t{position}\t.\t{ref}\t{alt}\t.\tPASS\t.\tGT\t{calls}\n")
            num_sites += 1
    convert_vcf(plain, path, "wz")
    plain.unlink()
    with open(arguments.output / "demo_samples.tsv", "w", encoding="ascii") as stream:
        stream.write("sample\tpopulation\n")
        stream.writelines(f"{name}\t{name[:3]}\n" for name in names)
    print(f"{path}: {2 * len(names)} haplotypes, {num_sites} sites, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
