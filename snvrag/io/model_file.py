"""Model files: what was learned from a panel for one set of typed sites, as safetensors.

Nothing here loads torch.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from .._installation import version_line
from ..errors import InputError, one_line, unreadable
from ..kernels import EVIDENCE, HeadWeights
from .atomic import atomic_file

FORMAT = "snvrag model 1"
_DAMAGED = "damaged, or not a model file of snvrag"
_HEAD = "head."


@dataclass(frozen=True)
class Adapted:
    """Rates and head, learned from a panel at the typed sites of a target.

    Attributes
    ----------
    chrom : str
        Name of the chromosome in the panel.
    position : (T,) int64
        The typed sites, 1-based positions in bp, ascending.
    alleles : (T, 2) str
        Their REF and ALT, one letter each.
    cumulative_rho : (T,) float64
        Expected number of switches up to each typed site, ascending.
    mismatch : float
        Probability that an allele differs from the copied one's.
    head : HeadWeights or None
        Of `snvrag.kernels.EVIDENCE`; None where the Li-Stephens model alone was better.
    panel : str
        Name of the panel's file.
    num_haplotypes : int
        Haplotypes of the panel.
    """

    chrom: str
    position: NDArray[np.int64]
    alleles: NDArray[np.str_]
    cumulative_rho: NDArray[np.float64]
    mismatch: float
    head: HeadWeights | None
    panel: str
    num_haplotypes: int

    def is_for(self, position: NDArray[np.int64], alleles: NDArray[np.str_]) -> bool:
        """Return whether (T,) positions and (T, 2) alleles are the typed sites learned for."""
        return np.array_equal(self.position, position) and np.array_equal(self.alleles, alleles)


def save_model(path: Path, model: Adapted) -> None:
    """Write a model file, atomically.

    Raises
    ------
    InputError
        If it cannot be written; an old file is left as it was.
    """
    arrays: dict[str, NDArray[Any]] = {
        "position": model.position,
        "alleles": np.array([[ord(letter) for letter in pair] for pair in model.alleles], np.uint8),
        "cumulative_rho": model.cumulative_rho,
        "mismatch": np.array(model.mismatch, np.float64),
    }
    arrays["alleles"] = arrays["alleles"].reshape(-1, 2)
    if model.head is not None:
        for name, value in model.head._asdict().items():
            arrays[_HEAD + name] = np.asarray(value, np.float32)
    about = {
        "format": FORMAT,
        "written_by": version_line(),
        "chrom": model.chrom,
        "panel": model.panel,
        "num_haplotypes": str(model.num_haplotypes),
        "evidence": json.dumps(EVIDENCE),
    }
    content = save({name: np.asarray(a, order="C") for name, a in arrays.items()}, about)
    with atomic_file(path) as stream:
        stream.write(content)


def load_model_file(path: str | Path, argument: str = "model") -> Adapted:
    """Read a model file; errors name ``argument``, by which the file was given.

    Raises
    ------
    InputError
        If it cannot be read, is damaged, of another format, or of a head for other evidence.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            about = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise unreadable(path, error, argument) from error
    except (SafetensorError, UnicodeDecodeError) as error:
        raise InputError(_DAMAGED, argument=argument, path=path) from error
    found = about.get("format")
    if found != FORMAT:
        known = f"of this version of snvrag ({FORMAT}), got {one_line(found or 'another file')}"
        raise InputError(f"must be a model file {known}", argument=argument, path=path)
    if about.get("evidence") != json.dumps(EVIDENCE):
        problem = "is for other evidence than this version's: learn it again"
        raise InputError(problem, argument=argument, path=path)
    try:
        return _model_of(about, arrays)
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"damaged ({one_line(error)})", argument=argument, path=path) from error


def _model_of(about: dict[str, str], arrays: dict[str, NDArray[Any]]) -> Adapted:
    num_typed, num_evidence = arrays["position"].size, len(EVIDENCE)

    def take(name: str, dtype: type[np.generic], *shape: int) -> NDArray[Any]:
        array = arrays[name]
        if array.dtype != dtype or array.shape != shape:
            raise ValueError(f"{name} has dtype {array.dtype} and shape {array.shape}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"{name} has values that are not finite")
        return array

    head = None
    if _HEAD + "mean" in arrays:
        hidden = arrays[_HEAD + "hidden_bias"].size
        shapes: dict[str, tuple[int, ...]] = {
            "mean": (num_evidence,),
            "scale": (num_evidence,),
            "hidden_weight": (num_evidence, hidden),
            "hidden_bias": (hidden,),
            "output_weight": (hidden,),
        }
        head = HeadWeights(
            **{name: take(_HEAD + name, np.float32, *shape) for name, shape in shapes.items()},
            output_bias=float(take(_HEAD + "output_bias", np.float32)),
        )
    letters = take("alleles", np.uint8, num_typed, 2)
    return Adapted(
        chrom=about["chrom"],
        position=take("position", np.int64, num_typed),
        alleles=letters.view("S1").astype("U1"),
        cumulative_rho=take("cumulative_rho", np.float64, num_typed),
        mismatch=float(take("mismatch", np.float64)),
        head=head,
        panel=about["panel"],
        num_haplotypes=int(about["num_haplotypes"]),
    )
