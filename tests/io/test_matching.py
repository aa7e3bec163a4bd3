"""Which sites of a target meet which of a panel, site by site and as streams."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from snvrag.io.matching import (
    MatchedBlock,
    MatchSummary,
    Outcome,
    keep_positions_together,
    match_blocks,
    match_sites,
)
from snvrag.io.records import DroppedSite
from snvrag.kernels import oracle
from snvrag.panel.site_block import SiteBlock

CASES = [  # target, panel, outcome
    ("10 A G", "10 A G", Outcome.MATCHED),
    ("10 G A", "10 A G", Outcome.SWAPPED),
    ("10 A T", "10 A T", Outcome.MATCHED),  # ambiguous, but nothing speaks for a flip
    ("10 T A", "10 A T", Outcome.AMBIGUOUS),
    ("10 G C", "10 C G", Outcome.AMBIGUOUS),
    ("10 T C", "10 A G", Outcome.OTHER_STRAND),
    ("10 C T", "10 A G", Outcome.OTHER_STRAND),  # complementary and swapped
    ("10 A C", "10 A G", Outcome.OTHER_ALLELES),
    ("11 A G", "10 A G", Outcome.NOT_IN_PANEL),
]


def _sites(*texts: str) -> tuple[NDArray[np.int64], NDArray[np.str_]]:
    fields = [text.split() for text in texts]
    return (
        np.array([int(f[0]) for f in fields], np.int64),
        np.array([f[1:] for f in fields], "U1").reshape(len(fields), 2),
    )


def test_one_site_against_one_and_none() -> None:
    for target, panel, expected in CASES:
        index, outcome = match_sites(*_sites(target), *_sites(panel))
        assert Outcome(outcome[0]) == expected, target
        assert index[0] == (0 if expected <= Outcome.SWAPPED else -1)
    index, outcome = match_sites(*_sites(), *_sites("10 A G"))
    assert index.size == outcome.size == 0


def test_duplicates_are_resolved_by_allele() -> None:
    target = _sites("10 G A", "10 A G", "10 A C", "20 C T", "20 C T", "30 T C", "30 T C")
    panel = _sites("10 A C", "10 A G", "20 C T", "30 C T")
    index, outcome = match_sites(*target, *panel)
    matched, swapped, duplicate = Outcome.MATCHED, Outcome.SWAPPED, Outcome.DUPLICATE
    # At 10 the panel's own order of alleles wins, though it comes later.
    expected = [duplicate, matched, matched, matched, duplicate, swapped, duplicate]
    assert outcome.tolist() == expected
    assert index.tolist() == [-1, 1, 0, 2, -1, 3, -1]


def _bits(texts: list[str]) -> NDArray[np.uint64]:
    return oracle.pack_haplotypes(np.array([list(text) for text in texts], np.int8))


def _letters(bits: NDArray[np.uint64], count: int) -> list[str]:
    return ["".join(map(str, row)) for row in oracle.unpack_haplotypes(bits, count).tolist()]


def _block(
    rows: list[tuple[str, str]],
    missing: list[str] | None = None,
    unphased: list[str] | None = None,
) -> SiteBlock:
    """Make a block of ("position REF ALT", "alleles of the haplotypes") rows."""
    return SiteBlock(
        *_sites(*(site for site, _ in rows)),
        [site for site, _ in rows],
        _bits([haplotypes for _, haplotypes in rows]),
        None if missing is None else _bits(missing),
        None if unphased is None else _bits(unphased),
    )


def _pieces(block: SiteBlock, size: int) -> Iterator[SiteBlock]:
    for start in range(0, block.num_sites, size):
        yield block.slice(start, start + size)


PANEL = _block(
    [(f"{site} A {alt}", "0110") for site, alt in ((10, "G"), (20, "G"))]
    + [(f"20 A {alt}", "0010") for alt in "CT"]
    + [(f"{site} C T", "1000") for site in (30, 40, 50)]
)
TARGET = _block(
    [
        ("5 A G", "0000"),
        ("20 A C", "0110"),
        ("20 T A", "0100"),
        ("30 T C", "0001"),
        ("30 T C", "1111"),
        ("40 T C", "1111"),  # swapped, and first, but the next has the panel's order
        ("40 C T", "1011"),
        ("45 C T", "1011"),
        ("60 G T", "1011"),
        ("70 G T", "1011"),
    ],
    missing=["0000"] * 3 + ["0101"] + ["0000"] * 6,
    unphased=["00", "11", "10", "01", "00", "00", "10", "11", "11", "11"],
)


@pytest.mark.parametrize("panel_size", [1, 2, 3, 7])
@pytest.mark.parametrize("target_size", [1, 2, 4, 10])
def test_streams_give_the_same_whatever_the_blocks(panel_size: int, target_size: int) -> None:
    dropped: list[DroppedSite] = []
    summary = MatchSummary(on_dropped=dropped.append)
    blocks = _pieces(PANEL, panel_size), _pieces(TARGET, target_size)
    matched = MatchedBlock.concat([*match_blocks(*blocks, np.array([2, 2]), "20", summary)])
    for name in ("position", "alleles", "site_bits"):
        assert (getattr(matched, name) == getattr(PANEL, name)).all()
    assert matched.ids == PANEL.ids
    assert matched.alt_count.tolist() == [2, 2, 1, 1, 1, 1, 1]
    assert matched.typed.tolist() == [False, False, True, False, True, True, False]
    # At 30 REF and ALT are swapped: known alleles are flipped, missing ones stay missing. Without a
    # phase REF is first.
    alleles = ["0000", "0000", "0101", "0000", "1010", "0111", "0000"]
    assert _letters(matched.target_bits, 4) == alleles
    assert _letters(matched.target_missing_bits, 4) == ["0000"] * 4 + ["0101"] + ["0000"] * 2
    unphased = ["00", "00", "11", "00", "01", "10", "00"]
    assert _letters(matched.target_unphased_bits, 2) == unphased
    assert (summary.num_panel_sites, summary.num_typed_sites, summary.num_missing) == (7, 3, 2)
    counts = [summary.outcomes[outcome] for outcome in Outcome]
    assert counts == [2, 1, 4, 0, 1, 0, 2]
    assert {d.chrom for d in dropped} == {"20"}
    assert [f"{d.position} {d.ref} {d.alt}" for d in dropped] == [
        *("5 A G", "20 T A", "30 T C", "40 T C", "45 C T", "60 G T", "70 G T")
    ]
    text = "\n".join(summary.lines())
    assert "4  position not in the panel" in text
    assert "3  sites of the panel: typed" in text


def test_haploid_samples_are_repeated() -> None:
    target = _block([("10 A G", "101"), ("20 G A", "101")], missing=["000", "001"])
    summary = MatchSummary()
    block, *_ = match_blocks([PANEL], [target], np.array([1, 1, 1]), "20", summary)
    assert _letters(block.target_bits, 6)[:2] == ["110011", "001100"]
    assert _letters(block.target_missing_bits, 6)[:2] == ["000000", "000011"]
    assert summary.num_missing == 1
    assert not block.target_unphased_bits.any()
    target = replace(target, unphased_bits=_bits(["01", "00"]))
    mixed, *_ = match_blocks([PANEL], [target], np.array([1, 2]), "20", MatchSummary())
    assert _letters(mixed.target_bits, 4)[:2] == ["1101", "0010"]
    assert _letters(mixed.target_unphased_bits, 2)[:2] == ["01", "00"]


def test_positions_are_not_parted() -> None:
    for size in range(1, 8):
        blocks = list(keep_positions_together(_pieces(PANEL, size)))
        joined = np.concatenate([block.position for block in blocks])
        assert joined.tolist() == PANEL.position.tolist()
        for before, after in pairwise(blocks):
            assert before.position[-1] < after.position[0]
    assert list(keep_positions_together([])) == []


def test_only_overlapping_blocks_are_held() -> None:
    """The target is read no further than the panel has come."""
    read: list[int] = []

    def blocks(read: list[int]) -> Iterator[SiteBlock]:
        for position in range(1, 1001):
            read.append(position)
            yield _block([(f"{position} A G", "01")])

    matched = match_blocks(blocks([]), blocks(read), np.array([2]), "20", MatchSummary())
    for n, block in enumerate(matched, start=1):
        assert block.typed.all()
        assert len(read) <= n + 2


@pytest.mark.parametrize("is_swapped", [False, True])
def test_order_of_alleles_without_a_phase(is_swapped: bool) -> None:
    """REF, ALT, missing, whatever the file's; where it has a phase its order stays."""
    # 0/1, 1/0, 1|0, ./0, ./1, 0/., 1/., and .|1.
    target = _block(
        [("10 A G", "0110100001001001")],
        missing=["0000001010010110"],
        unphased=["11011110"],
    )
    panel = _block([("10 G A" if is_swapped else "10 A G", "01")])
    (block,) = match_blocks([panel], [target], np.full(8, 2), "20", MatchSummary())
    alleles = "0101011000100000" if is_swapped else "0101100010001001"
    assert _letters(block.target_bits, 16) == [alleles]
    assert _letters(block.target_missing_bits, 16) == ["0000000101010110"]
