"""From files to the reference panel, the training and the validation targets of a run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..batches.dataset import Targets
from ..demo import DEMO_PANEL, DEMO_POPULATIONS, demo_file
from ..errors import InputError
from ..io.genetic_map import read_genetic_map
from ..io.reading import read_panel
from ..io.sample_tables import read_names, read_populations
from ..kernels import align_sites
from ..panel.genetic_map import GeneticMap
from ..panel.panel import Panel
from .options import Config


@dataclass(frozen=True)
class RunData:
    """What a run trains on.

    Attributes
    ----------
    panel : Panel
        The reference: without the validation samples, and without sites that are monomorphic then.
    train, validation : Targets
    report : tuple of str
        Lines that tell what was read and what was dropped.
    genetic_map : GeneticMap, optional
    """

    panel: Panel
    train: Targets
    validation: Targets
    report: tuple[str, ...]
    genetic_map: GeneticMap | None = None


def fingerprint(sources: RunData) -> str:
    """Return what identifies the data of a run: its haplotypes and its genetic map."""
    parts = [sources.panel.fingerprint, sources.validation.haplotypes.fingerprint]
    if sources.train.haplotypes is not sources.panel:
        present = hashlib.sha256(sources.train.present.tobytes()).hexdigest()
        parts += [sources.train.haplotypes.fingerprint, present]
    if sources.genetic_map is not None:
        parts.append(sources.genetic_map.fingerprint)
    return "-".join(parts)


def held_out(num_samples: int, fraction: float) -> NDArray[np.int64]:
    """Return indices of about that fraction of the samples, evenly spread, the first among them."""
    steps = np.floor(np.arange(-1, num_samples) * fraction + 1e-9)
    return np.flatnonzero(np.diff(steps))


def load_run_data(config: Config) -> RunData:
    """Read all files of a configuration.

    Raises
    ------
    InputError
        For a file that cannot be read, for samples that are not there, and if nothing is left.
    """
    path = config.data.panel or demo_file(DEMO_PANEL)
    everyone, read = read_panel(path, region=config.data.region, verify=True)
    report = [str(read)]
    table_path = config.data.populations or (
        "" if config.data.panel else demo_file(DEMO_POPULATIONS)
    )
    table = read_populations(table_path, config.data.population_column) if table_path else None
    if table is not None:
        everyone = everyone.with_populations(_look_up(table, everyone.samples, table_path))

    if config.data.val_samples:
        names = read_names(config.data.val_samples)
        chosen = everyone.sample_indices(
            names, argument="val_samples", path=config.data.val_samples
        )
    else:
        chosen = held_out(everyone.num_samples, config.data.val_fraction)
    rest = np.setdiff1d(np.arange(everyone.num_samples), chosen)
    if rest.size == 0 or chosen.size == 0:
        raise InputError(
            f"{path}: {everyone.num_samples} samples, {chosen.size} of them for validation: "
            "at least one must be left on each side (--val-samples, --val-fraction)"
        )

    panel = everyone.select_samples(rest)
    polymorphic = panel.polymorphic_sites()
    dropped = panel.num_sites - polymorphic.size
    if polymorphic.size == 0:
        raise InputError(f"{path}: no site is polymorphic in the {rest.size} reference samples")
    panel = panel.select_sites(polymorphic)
    if table is not None:  # populations left by all their samples have no frequency
        panel = panel.with_populations(_look_up(table, panel.samples, table_path))
    report.append(
        f"reference panel: {panel.num_samples} samples, {panel.num_haplotypes} haplotypes, "
        f"{panel.num_sites} sites ({dropped} monomorphic dropped), populations: "
        f"{', '.join(panel.populations)}"
    )
    if config.retrieval.k > panel.num_haplotypes - 2:
        raise InputError(
            f"must be at most {panel.num_haplotypes - 2}, as the panel has {panel.num_haplotypes} "
            f"haplotypes, 2 of them the query's own, got {config.retrieval.k}",
            argument="k",
        )

    present = np.ones(panel.num_sites, bool)
    held = everyone.select_samples(chosen).select_sites(polymorphic)
    validation = Targets(held, present, np.full(chosen.size, -1), _numbers(held, panel))
    report.append(f"validation: {held.num_samples} samples")
    if config.data.train:
        train = _training_targets(
            config.data.train, config.data.region, panel, held, table, table_path, report
        )
    else:
        train = Targets(panel, present, np.arange(panel.num_samples), panel.sample_population)
        report.append(f"training: the panel's own {panel.num_samples} samples")
    map_path = config.data.genetic_map
    genetic_map = read_genetic_map(map_path, panel.chrom) if map_path else None
    return RunData(panel, train, validation, tuple(report), genetic_map)


def _training_targets(
    path: str,
    region: str | None,
    panel: Panel,
    held: Panel,
    table: dict[str, str] | None,
    table_path: str,
    report: list[str],
) -> Targets:
    """Samples of another file, brought to the panel's sites."""
    others, read = read_panel(path, region=region, verify=True)
    report.append(str(read))
    if others.chrom != panel.chrom:
        raise InputError(f"--train {path}: chromosome {others.chrom}, the panel has {panel.chrom}")
    held_names = set(held.samples)
    kept = [i for i, name in enumerate(others.samples) if name not in held_names]
    if not kept:
        raise InputError(f"--train {path}: all its samples are held out for validation")
    if len(kept) < others.num_samples:
        report.append(
            f"training: {others.num_samples - len(kept)} samples left out, held for validation"
        )
        others = others.select_samples(kept)
    if table is not None:
        others = others.with_populations(_look_up(table, others.samples, table_path))
    index = align_sites(panel.position, others.position, panel.alleles, others.alleles)
    present = index >= 0
    if not present.any():
        raise InputError(f"--train {path}: no site in common with the panel")
    bits = np.zeros((panel.num_sites, others.site_bits.shape[1]), np.uint64)
    bits[present] = others.site_bits[index[present]]
    aligned = Panel(
        panel.chrom, panel.position, panel.alleles, others.samples, bits, others.populations,
        others.population_index, others.ploidy,
    )  # fmt: skip
    own = {name: i for i, name in enumerate(panel.samples)}
    report.append(
        f"training: {others.num_samples} samples, {int(present.sum())} of the panel's "
        f"{panel.num_sites} sites, {others.num_sites - int(present.sum())} sites not in the panel "
        "dropped"
    )
    return Targets(
        aligned,
        present,
        np.array([own.get(name, -1) for name in others.samples], np.int64),
        _numbers(aligned, panel),
    )


def _look_up(table: dict[str, str], samples: tuple[str, ...], path: str) -> list[str]:
    missing = [name for name in samples if name not in table]
    if missing:
        raise InputError(
            f"--populations {path}: no line for sample {missing[0]} "
            f"({len(missing)} of {len(samples)} samples have none)"
        )
    return [table[name] for name in samples]


def _numbers(targets: Panel, panel: Panel) -> NDArray[np.int64]:
    """Populations of the targets, as the reference panel numbers them."""
    number = {name: i for i, name in enumerate(panel.populations)}
    strangers = [name for name in targets.populations if name not in number]
    if strangers:
        raise InputError(
            f"population {strangers[0]} has no sample in the reference panel: give its samples "
            "another one in --populations, or hold out fewer"
        )
    renumber = np.array([number[name] for name in targets.populations], np.int64)
    return renumber[targets.sample_population]
