"""Strata by frequency."""

from __future__ import annotations

import numpy as np
import pytest

from snvrag.errors import InputError
from snvrag.evaluation.strata import Strata


def test_strata_are_unions_of_cells():
    strata = Strata((0.01, 0.2, 0.4))
    assert strata.names == ("overall", "rare", "common", "rare_alt", "1-20%", "20-40%")
    assert strata.names[strata.first_bin :] == ("1-20%", "20-40%")
    maf = np.array([0, 0.01, 0.0499, 0.05, 0.2, 0.4, 0.5, 0.02])
    alt_is_major = np.array([0, 0, 0, 0, 0, 0, 0, 1], bool)
    member = strata.members[:, strata.cells(maf, alt_is_major)]
    assert member.astype(int).tolist() == [
        [1, 1, 1, 1, 1, 1, 1, 1],
        [1, 1, 1, 0, 0, 0, 0, 1],
        [0, 0, 0, 1, 1, 1, 1, 0],
        [1, 1, 1, 0, 0, 0, 0, 0],
        [0, 1, 1, 1, 0, 0, 0, 1],
        [0, 0, 0, 0, 1, 0, 0, 0],
    ]
    assert Strata().members[-1, Strata().cells(np.array([0.5]), np.array([False]))].all()
    for edges in [(), (0.1,), (0.1, 0.1), (0.2, 0.1), (-0.1, 0.5), (0, 0.6)]:
        with pytest.raises(InputError, match="maf_edges must be two or more ascending numbers"):
            Strata(edges)
