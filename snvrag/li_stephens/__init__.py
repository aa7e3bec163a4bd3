"""The Li-Stephens model of a haplotype as a mosaic of the panel's."""
