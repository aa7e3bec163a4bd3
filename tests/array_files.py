"""Writes the records of one small panel as HDF5 and as VCF Zarr."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

SAMPLES = ["a", "b", "m"]
# Position, ID, alleles, calls of three samples (m is a male: one allele).
RECORDS = [
    (10, "rs1", ["A", "C"], "0|0 0|1 1"),
    (20, ".", ["A", "C", "G"], "0|0 2|1 1"),
    (25, ".", ["AT", "C"], "0|0 0|1 1"),
    (30, ".", ["g", "t"], "1|0 0|. ."),
    (35, "x;y", ["G", "<DEL>"], "1|0 0|1 1"),
    (40, "rs9", ["G", "T"], "1|1 0|0 0"),
    (40, "rs9", ["G", "T"], "1|1 0|0 0"),
    (40, ".", ["G", "A"], ".|. 0|0 1"),
    (45, ".", ["G"], "0|0 0|0 0"),
    (50, ".", ["G", "A"], "1|0 0|1 1"),
]


def calls_of(records, end: int) -> np.ndarray:
    """(records, samples, 2) alleles, -1 missing, ``end`` past the one of a haploid call."""
    codes = {"0": 0, "1": 1, "2": 2, ".": -1}
    rows = [[[codes[a] for a in call.split("|")] for call in r[3].split()] for r in records]
    return np.array([[(*call, end)[:2] for call in row] for row in rows], np.int8)


def padded(records, width: int) -> list[list[str]]:
    return [[*alleles, "", "", ""][:width] for _, _, alleles, _ in records]


def write_hdf5(path: Path, records=RECORDS, *, num_alt=3, **changed) -> Path:
    """Write what scikit-allel would; ``changed`` arrays replace its own, None leaves one out."""
    h5py = pytest.importorskip("h5py")
    text = h5py.string_dtype()
    alts = np.array([row[1 : 1 + num_alt] for row in padded(records, 4)], dtype=object)
    arrays = {
        "calldata/GT": calls_of(records, -1),
        "variants/POS": np.array([r[0] for r in records], np.int32),
        "variants/REF": np.array([r[2][0] for r in records], dtype=object),
        "variants/ALT": alts if num_alt > 1 else alts[:, 0],
        "variants/CHROM": np.array(["X"] * len(records), dtype=object),
        "variants/ID": np.array([r[1] for r in records], dtype=object),
        "variants/numalt": np.array([len(r[2]) - 1 for r in records], np.int32),
        "samples": np.array(SAMPLES, dtype=object),
        **changed,
    }
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            if array is not None:
                dtype = text if array.dtype == object else array.dtype
                chunks = (4, *array.shape[1:]) if array.shape[0] > 4 else None
                file.create_dataset(name, data=array, dtype=dtype, chunks=chunks)
    return path


def write_zarr(path: Path, records=RECORDS, **changed) -> Path:
    """Write what bio2zarr would; ``changed`` arrays replace its own, None leaves one out."""
    zarr = pytest.importorskip("zarr")
    version = {"zarr_format": 2} if zarr.__version__ >= "3" else {}
    calls = calls_of(records, -2)
    arrays = {
        "call_genotype": calls,
        "call_genotype_phased": np.ones(calls.shape[:2], bool),
        "variant_position": np.array([r[0] for r in records], np.int8),
        "variant_contig": np.ones(len(records), np.int8),
        "variant_allele": np.array(padded(records, 4)),
        "variant_id": np.array([r[1] for r in records]),
        "contig_id": np.array(["1", "X"]),
        "contig_length": np.array([1000, 5000]),
        "sample_id": np.array(SAMPLES),
        **changed,
    }
    group = zarr.open_group(str(path), mode="w", **version)
    for name, array in arrays.items():
        if array is not None:
            group[name] = array
    return path
