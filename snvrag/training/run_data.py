"""The data of a run: reference panel, training and validation targets, genetic map."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ..batches.dataset import Targets
from ..demo import DEMO_PANEL, DEMO_POPULATIONS, demo_file
from ..errors import InputError
from ..io.genetic_map import read_genetic_map
from ..io.matching import MatchSummary, match_blocks
from ..io.reading import open_target, read_panel
from ..io.sample_tables import read_names, read_populations
from ..panel.genetic_map import GeneticMap
from ..panel.panel import Panel
from ..panel.site_block import SiteBlock
from .options import Config, DataConfig

_SITES_AT_ONCE = 1024


@dataclass(frozen=True)
class RunData:
    """The data that a run trains on.

    The panel lacks the validation samples, and the sites that are monomorphic then. ``report`` has
    lines about what was read and dropped, ``fingerprints`` the SHA-256 of each input by the name
    that messages give it.
    """

    panel: Panel
    train: Targets
    validation: Targets
    report: tuple[str, ...] = ()
    genetic_map: GeneticMap | None = None
    fingerprints: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Populations:
    """The population of each sample, from a table or "all" without one."""

    table: Mapping[str, str] | None
    path: str = ""

    @classmethod
    def read(cls, config: DataConfig) -> _Populations:
        path = config.populations or ("" if config.panel else demo_file(DEMO_POPULATIONS))
        return cls(read_populations(path, config.population_column) if path else None, path)

    def of(self, samples: tuple[str, ...]) -> list[str]:
        """Return the populations of samples; raise `InputError` for one that the table lacks."""
        if self.table is None:
            return ["all"] * len(samples)
        missing = [name for name in samples if name not in self.table]
        if missing:
            raise InputError(
                f"no line for sample {missing[0]} "
                f"({len(missing)} of {len(samples)} samples have none)",
                argument="populations",
                path=self.path,
            )
        return [self.table[name] for name in samples]


def load_run_data(config: Config) -> RunData:
    """Read all files of a configuration.

    Raises `InputError` for a file that cannot be read, a sample that is not in the panel, and if no
    sample or site is left.
    """
    path = config.data.panel or demo_file(DEMO_PANEL)
    everyone, read = read_panel(path, region=config.data.region, verify=True)
    populations = _Populations.read(config.data)
    everyone = everyone.with_populations(populations.of(everyone.samples))
    chosen = _validation_samples(config.data, everyone, path)
    panel, polymorphic = _reference(everyone, chosen, path)
    # Populations that only validation samples belong to have no frequency.
    panel = panel.with_populations(populations.of(panel.samples))
    if config.retrieval.k > panel.num_haplotypes - 2:
        raise InputError(
            f"must be at most {panel.num_haplotypes - 2}, as the panel has {panel.num_haplotypes} "
            f"haplotypes, 2 of them the query's own, got {config.retrieval.k}",
            argument="k",
        )
    held = everyone.select_samples(chosen).select_sites(polymorphic)
    present = np.ones(panel.num_sites, bool)
    validation = Targets(held, present, np.full(chosen.size, -1), _population_index(held, panel))
    report = [
        str(read),
        f"reference panel: {panel.num_samples} samples, {panel.num_haplotypes} haplotypes, "
        f"{panel.num_sites} sites ({everyone.num_sites - panel.num_sites} monomorphic dropped), "
        f"populations: {', '.join(panel.populations)}",
        f"validation: {held.num_samples} samples",
    ]
    fingerprints = {"panel": _fingerprint(everyone), "validation samples": _digest(held.samples)}
    if config.data.train:
        train, lines = _training_targets(config.data, panel, held, populations)
        report += lines
        parts = (_fingerprint(train.haplotypes), train.present.tobytes().hex())
        fingerprints["training samples"] = _digest(parts)
    else:
        train = Targets(panel, present, np.arange(panel.num_samples), panel.sample_population)
        report.append(f"training: the panel's own {panel.num_samples} samples")
    samples = tuple(sorted({*everyone.samples, *train.haplotypes.samples}))
    fingerprints["populations"] = _digest(populations.of(samples))
    genetic_map = None
    if config.data.genetic_map:
        genetic_map = read_genetic_map(config.data.genetic_map, panel.chrom)
        fingerprints["genetic map"] = genetic_map.fingerprint
    return RunData(panel, train, validation, tuple(report), genetic_map, fingerprints)


def _reference(
    everyone: Panel, held: NDArray[np.int64], path: str
) -> tuple[Panel, NDArray[np.int64]]:
    """Return the panel without some samples, at the sites polymorphic in it, and their indices."""
    panel = everyone.select_samples(np.setdiff1d(np.arange(everyone.num_samples), held))
    polymorphic = panel.polymorphic_sites()
    if polymorphic.size == 0:
        raise InputError(
            f"no site is polymorphic in the {panel.num_samples} reference samples",
            argument="panel",
            path=path,
        )
    return panel.select_sites(polymorphic), polymorphic


def held_out(num_samples: int, fraction: float) -> NDArray[np.int64]:
    """Return the indices of about a fraction of the samples, evenly spread, beginning with 0."""
    steps = np.floor(np.arange(-1, num_samples) * fraction + 1e-9)
    return np.flatnonzero(np.diff(steps))


def _validation_samples(config: DataConfig, everyone: Panel, path: str) -> NDArray[np.int64]:
    """Return the indices of the samples to hold out, named or spread."""
    if config.val_samples:
        names = read_names(config.val_samples)
        chosen = everyone.sample_indices(names, argument="val_samples", path=config.val_samples)
    else:
        chosen = held_out(everyone.num_samples, config.val_fraction)
    if chosen.size in (0, everyone.num_samples):
        raise InputError(
            f"must leave at least one sample for training and one for validation, got {chosen.size}"
            f" of the {everyone.num_samples} samples of {path} for validation",
            argument="val_samples" if config.val_samples else "val_fraction",
        )
    return chosen


def _training_targets(
    config: DataConfig, panel: Panel, held: Panel, populations: _Populations
) -> tuple[Targets, list[str]]:
    """Read the samples of another file at the panel's sites; return them and lines about them."""
    path = str(config.train)
    reader = open_target(path, panel.chrom, region=config.region, argument="train")
    held_names = set(held.samples)
    kept = [i for i, name in enumerate(reader.samples) if name not in held_names]
    if not kept:
        problem = "all its samples are held out for validation"
        raise InputError(problem, argument="train", path=path)
    summary = MatchSummary()
    matched = match_blocks(
        _site_blocks(panel), reader.blocks(), reader.ploidy, reader.chrom, summary
    )
    columns = [(block.typed, block.target_bits) for block in matched]
    present, bits = (np.concatenate(column) for column in zip(*columns, strict=True))
    if not summary.num_typed_sites:
        raise InputError("no site in common with the panel", argument="train", path=path)
    others = Panel(panel.chrom, panel.position, panel.alleles, reader.samples, bits)
    others = others.select_samples(kept)
    others = others.with_populations(populations.of(others.samples))
    own = {name: i for i, name in enumerate(panel.samples)}
    panel_sample = np.array([own.get(name, -1) for name in others.samples], np.int64)
    lines = [str(reader.report)]
    if reader.chrom != panel.chrom:
        lines.append(f"Note: chromosome {reader.chrom} of {path} is {panel.chrom} of the panel")
    num_held = len(reader.samples) - len(kept)
    lines += [
        f"training: {others.num_samples} samples, {num_held} left out that are held for validation",
        "Sites of the training file, and sites of the panel:",
        *summary.lines(),
    ]
    return Targets(others, present, panel_sample, _population_index(others, panel)), lines


def _site_blocks(panel: Panel) -> Iterator[SiteBlock]:
    whole = SiteBlock(panel.position, panel.alleles, ["."] * panel.num_sites, panel.site_bits)
    for start in range(0, panel.num_sites, _SITES_AT_ONCE):
        yield whole.slice(start, start + _SITES_AT_ONCE)


def _population_index(targets: Panel, panel: Panel) -> NDArray[np.int64]:
    """Return the population of each target as the reference panel numbers them."""
    number = {name: i for i, name in enumerate(panel.populations)}
    unknown = [name for name in targets.populations if name not in number]
    if unknown:
        raise InputError(
            f"population {unknown[0]} has no sample in the reference panel: give its samples "
            "another one, or hold out fewer",
            argument="populations",
        )
    renumber = np.array([number[name] for name in targets.populations], np.int64)
    return renumber[targets.sample_population]


def _fingerprint(panel: Panel) -> str:
    """Return the digest of a panel's sites, samples and haplotypes, whatever its populations."""
    return replace(panel, populations=("all",), population_index=None).fingerprint


def _digest(texts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()
