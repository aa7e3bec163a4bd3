"""Files in and out: haplotypes, genotypes, genetic maps, tables, checkpoints."""
