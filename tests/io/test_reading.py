"""A reader's attributes, files that cannot be opened, and memory."""

from __future__ import annotations

import tracemalloc
from contextlib import nullcontext

import numpy as np
import pytest

from panel_files import write_vcf
from snvrag.errors import InputError
from snvrag.io.reading import RecordReader, collect_panel, open_haplotypes, read_panel


def test_attributes_of_a_reader(tmp_path):
    path = write_vcf(
        tmp_path / "input.vcf",
        [("1", 10, "a", "c", "0|0 0|1 1|1"), ("1", 30, "G", "T", "1|0 0|0 0|0")],
    )
    reader = open_haplotypes(path)
    assert (reader.samples, reader.chrom) == (("a", "b", "c"), "1")
    assert (reader.ploidy.tolist(), reader.ploidy.dtype) == ([2, 2, 2], np.int64)
    assert reader.contig_length == 1_000_000
    (block,) = reader.blocks()
    assert (block.position.tolist(), block.position.dtype) == ([10, 30], np.int64)
    assert (block.alleles.tolist(), block.alleles.dtype) == ([["A", "C"], ["G", "T"]], "<U1")
    assert block.missing_bits is None
    assert list(reader.blocks()) == []


def test_no_file_and_a_folder(tmp_path):
    for path, words in ((tmp_path / "none.vcf", "no such file"), (tmp_path, "is a folder, not")):
        with pytest.raises(InputError, match=f"{path}: {words}"):
            read_panel(path)


class EndlessSource:
    """A file of so many sites that exists only as one record's genotypes."""

    path = "fake.vcf"
    quiet = nullcontext

    def __init__(self, num_samples: int, num_sites: int) -> None:
        self.samples = tuple(f"s{i}" for i in range(num_samples))
        codes = np.full((num_samples, 2), 5, np.int32)
        self.codes = lambda handle: codes
        self.contig_length = lambda chrom: None
        self.records = lambda: (
            ("1", position, None, "A", ["C"], None) for position in range(1, num_sites + 1)
        )


def test_memory_while_reading():
    """5,008 haplotypes x 337,000 sites are 213 MB of bits, and may take 260 MB: 1.22 of them."""
    source = EndlessSource(2504, 30_000)
    tracemalloc.start()
    try:
        panel = collect_panel(RecordReader(source))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert panel.num_sites == 30_000
    assert int(panel.site_bits[-1, 0]) == 2**64 - 1
    assert peak < 1.2 * panel.site_bits.nbytes
