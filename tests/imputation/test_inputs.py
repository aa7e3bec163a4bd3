"""Which chromosome and region of two files are read, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from snvrag.errors import InputError


@pytest.mark.parametrize("chrom", ["1", "chr1"])
def test_region(files: Any, chrom: str) -> None:
    """Sites around a region are read too: its records are those of the whole chromosome."""
    samples = [f"s{i}" for i in files.held]
    target = files.write(files.rows(files.held, files.typed, "chr1"), samples, chroms="chr1")
    changes = {"panel": files.compressed(files.panel), "target": files.compressed(target)}
    whole = files.impute(**changes)
    region = f"{chrom}:{1000 + 37 * 50}-{1000 + 37 * 59}"
    summary = files.summary(region=region, **changes)
    assert (summary.num_panel_sites, summary.num_typed_sites) == (10, 3)
    assert sum(summary.outcomes.values()) == 3
    assert files.impute(region=region, **changes) == whole[50:60]
    # To the end of the chromosome, and one site alone, which the target lacks.
    for first in (190, 199):
        assert files.impute(region=f"{chrom}:{1000 + 37 * first}-", **changes) == whole[first:]
    with pytest.raises(InputError, match=r"^region must have a biallelic SNV"):
        files.impute(region=f"{chrom}:1001-1002", **changes)


def test_a_target_of_many_chromosomes_is_read_where_the_panel_is(files: Any) -> None:
    rows = files.rows(files.held, files.typed) + files.rows(files.held, [1, 2, 4], "2")
    target = files.compressed(files.write(rows, [f"s{i}" for i in files.held]))
    assert len(files.impute(target=target)) == 200


def test_errors_are_of_the_chromosome_that_is_read(files: Any) -> None:
    """Neither another chromosome of the target nor its other name is complained of."""
    rows = [("2", 5, "A", "G", "0|1"), ("chr1", 1000, "A", "G", "0/1/1")]
    target = files.compressed(files.write(rows, ["a"], chroms="2 chr1"))
    panel = files.compressed(files.panel)
    for region in (None, "1"):
        with pytest.raises(InputError, match=r"sample a has a genotype of .* at chr1:1000"):
            files.impute(region=region, panel=panel, target=target)
    target = files.compressed(files.write(rows[:1], ["a"], "u.vcf", chroms="2"))
    with pytest.raises(InputError, match=r"^target .*: must have the panel's chromosome 1, got 2"):
        files.impute(panel=panel, target=target)


def test_files_with_nothing_in_common(files: Any) -> None:
    for place, words in ((("2", 1000), "chromosome 1, got 2"), (("1", 1001), "no site in common")):
        target = files.write([(*place, "A", "G", "0|1")], ["a"])
        with pytest.raises(InputError, match=words):
            files.impute(target=target)
        assert list(files.folder.iterdir()) == [target]
