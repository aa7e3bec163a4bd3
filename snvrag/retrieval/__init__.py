"""The nearest haplotypes of each query, from indexes built just in time."""
