"""Regions and the names of chromosomes."""

from __future__ import annotations

import pytest

from snvrag.panel.regions import NoChromosomeError, Region, plain_chrom


def test_parts() -> None:
    for text, chrom, first, last in (
        ("20", "20", 1, 2**62),
        ("chr20:5", "chr20", 5, 2**62),
        ("20:5-", "20", 5, 2**62),
        ("20:1,000-2,000", "20", 1000, 2000),
        ("HLA-A*01:01", "HLA-A*01", 1, 2**62),
        ("20:bad", "20:bad", 1, 2**62),
    ):
        assert Region.parse(text) == Region(text, chrom, first, last)


def test_as_the_file_names_it() -> None:
    for text, chroms, expected in (
        ("20:5-9", ["1", "20"], "20:5-9"),
        ("chr20:5-9", ["1", "20"], "20:5-9"),
        ("20:5-9", ["chr1", "chr20"], "chr20:5-9"),
        ("20", ["chr20", "20"], "20"),
        ("chr1", ["chr10", "1"], "1"),
    ):
        assert Region.parse(text).within("file", chroms) == Region.parse(expected)
    with pytest.raises(NoChromosomeError, match=r"region must .* of file \(1, 20\), got 2"):
        Region.parse("2").within("file", ["1", "20"])


def test_with_flanks() -> None:
    for text, expected in (
        ("20:500-900", "20:400-1000"),
        ("20:50-90", "20:1-190"),
        ("20:500-", "20:400-"),
        ("20", "20"),
    ):
        assert Region.parse(text).with_flanks(100) == Region.parse(expected)


def test_positions_and_names_that_it_holds() -> None:
    region = Region.parse("chr20:5-9")
    inside = [("20", 5), ("chr20", 9), ("20", 4), ("20", 10), ("2", 5), ("chr2", 5)]
    assert [region.holds(*place) for place in inside] == [True, True, False, False, False, False]
    assert plain_chrom("chr") == "chr"
