"""The configuration of a training run, composed of the options of its parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ..batches.masks import MaskConfig
from ..config.options import Options, entries, option, section, to_tables
from ..config.toml import format_tables
from ..errors import InputError
from ..network.options import NetworkConfig
from ..panel.windows import WindowConfig
from ..retrieval.options import RetrievalConfig


@dataclass(frozen=True, kw_only=True)
class DataConfig(Options):
    """The files of a run and the samples held out for validation."""

    title = "Data"

    panel: str | None = option(
        None,
        "reference panel: phased VCF or BCF, HDF5 of scikit-allel, VCF Zarr, or a panel prepared "
        "by snvrag prepare (default: the demo panel that ships with the package)",
        metavar="FILE",
        resume="noted",
    )
    region: str | None = option(
        None,
        "read only this region, chrom or chrom:first-last (bp, 1-based); needs an index",
        metavar="REGION",
    )
    train: str | None = option(
        None,
        "train on the samples of this file, in any format of a panel (default: on the panel's own)",
        metavar="FILE",
        resume="noted",
    )
    populations: str | None = option(
        None,
        "tab-separated table of the samples, with a header that names the column 'sample' and a "
        "column of populations",
        metavar="FILE",
        resume="noted",
    )
    population_column: str = option(
        "population", "column of the table of samples that names populations", metavar="COLUMN"
    )
    val_samples: str | None = option(
        None,
        "file of the samples held out for validation, one name a line",
        metavar="FILE",
        resume="noted",
    )
    val_fraction: float = option(
        0.1,
        "fraction of the panel's samples held out for validation, unless they are named, evenly "
        "spread in file order (0.2: the first, the sixth, ...)",
        above=0,
        below=1,
    )
    genetic_map: str | None = option(
        None,
        "genetic map, plain or gzipped: chrom id cM bp (PLINK) or bp chrom cM (default: 1 cM per "
        "Mb)",
        metavar="FILE",
        resume="noted",
    )


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(Options):
    """How a network is trained."""

    title = "Training"

    epochs: int = option(6, "passes over all samples and windows", least=1, resume="noted", v18=20)
    batch_size: int = option(
        4,
        "samples (two haplotypes each) in a batch, over all processes of torchrun together: over "
        "all windows for the head, over one window each for the transformer",
        least=1,
        v18=8,
    )
    accumulation: int = option(
        1, "batches whose gradients are added up before an optimizer step", least=1, v18=2
    )
    learning_rate: float = option(1e-2, "learning rate of Adam after warm-up", above=0, v18=7.5e-5)
    warmup_steps: int = option(
        30, "optimizer steps over which the learning rate rises", least=0, v18=15_000
    )
    final_rate: float = option(
        0.1,
        "share of the learning rate left at the last step of the last epoch, reached along a "
        "cosine; 1: constant after warm-up",
        least=0,
        most=1,
        v18=1.0,
    )
    clip: float = option(1.0, "largest norm of the gradient", above=0)
    focal_gamma: float = option(
        0.0, "exponent of the focal loss; 0: cross-entropy", least=0, v18=2.0
    )
    patience: int = option(
        5, "epochs without a better F1 after which training stops; 0: never", least=0
    )
    min_gain: float = option(0.001, "gain in F1 that counts as better", least=0)
    seed: int = option(
        0, "seed of the initial weights, the order of examples and dropout", least=0, below=2**63
    )


@dataclass(frozen=True, kw_only=True)
class RunConfig(Options):
    """Where and how a run is carried out, which does not change its result."""

    title = "Running and resuming"

    output: str = option(
        "snvrag_output",
        "folder for checkpoints, log, metrics.csv and plot",
        metavar="FOLDER",
        resume="free",
    )
    overwrite: bool = option(
        False,
        "replace the checkpoints of an earlier run in the output folder",
        resume="free",
        saved=False,
    )
    resume: str | None = option(
        None,
        "checkpoint to continue from; auto: the newest intact one in the output folder, or a fresh "
        "start where there is none",
        metavar="FILE",
        resume="free",
        saved=False,
    )
    resume_epoch: int | None = option(
        None,
        "when resuming: index of the epoch expected to come next (default: not checked)",
        least=0,
        resume="free",
        saved=False,
    )
    save_every_minutes: float = option(
        15.0,
        "minutes between checkpoints within an epoch; 0: only on SIGTERM, SIGINT and SIGUSR1",
        least=0,
        resume="noted",
    )
    keep: int = option(
        0, "newest epoch checkpoints to keep beside the best; 0: all", least=0, resume="noted"
    )
    workers: int = option(
        0, "processes that make batches; 0: the training process itself", least=0, resume="noted"
    )
    start_method: Literal["fork", "spawn", "forkserver"] = option(
        "fork", "how worker processes are started", resume="noted"
    )
    threads: int | None = option(
        None, "threads of each process (default: all cores)", least=1, most=1024, resume="noted"
    )
    device: str = option(
        "auto",
        "cpu, cuda, cuda:N, or auto: a GPU where there is one",
        metavar="DEVICE",
        resume="noted",
    )
    rank_timeout: float = option(
        10.0, "minutes that the processes of torchrun wait for each other", above=0, resume="noted"
    )
    compile: bool = option(
        False,
        "compile the transformer's layers, which takes minutes at the start of a run; needs a C++ "
        "compiler, or Triton on a GPU",
        resume="noted",
    )
    amp: bool = option(True, "bfloat16 autocast on a GPU", resume="noted")
    log_every: int = option(
        10, "optimizer steps between updates of the loss and recall shown", least=1, resume="noted"
    )
    dry_run: bool = option(
        False,
        "print what the run would do; train nothing and write nothing",
        resume="free",
        saved=False,
    )
    plot: bool = option(
        True, "write metrics.png at the end, if matplotlib is installed", resume="noted"
    )

    def check(self) -> None:
        """Refuse an expected epoch without a checkpoint."""
        if self.resume_epoch is not None and self.resume is None:
            raise InputError("must be given with a checkpoint to resume", argument="resume_epoch")


@dataclass(frozen=True, kw_only=True)
class Config(Options):
    """Everything that a training run depends on."""

    data: DataConfig = section(DataConfig)
    windows: WindowConfig = section(WindowConfig)
    masks: MaskConfig = section(MaskConfig)
    retrieval: RetrievalConfig = section(RetrievalConfig)
    network: NetworkConfig = section(NetworkConfig)
    training: TrainingConfig = section(TrainingConfig)
    run: RunConfig = section(RunConfig)

    def check(self) -> None:
        """Refuse what only a transformer has where there is none."""
        if self.network.network == "transformer":
            return
        if self.retrieval.retrieval == "dense":
            raise InputError("must be hamming for the head", argument="retrieval")
        if self.run.compile:
            raise InputError("must be no for the head", argument="compile")

    def to_toml(self) -> str:
        """Return the text of a TOML file of the options, without what belongs to one start only."""
        tables = to_tables(self)
        for entry in entries(type(self)):
            if not entry.item.metadata["saved"]:
                tables[entry.table].pop(entry.item.name, None)
        return format_tables(tables)

    def changes(self, then: dict[str, Any]) -> dict[str, tuple[str, Any, Any]]:
        """Return each option, by name, that differs from the tables of a checkpoint.

        With it come whether it may differ (the ``resume`` of `option`), its value then and now.
        """
        now, changed = to_tables(self), {}
        for entry in entries(type(self)):
            old, new = (tables.get(entry.table, {}).get(entry.name) for tables in (then, now))
            if old != new:
                changed[entry.name] = (entry.item.metadata["resume"], old, new)
        return changed
