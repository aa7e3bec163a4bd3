"""The configuration: one dataclass is the truth for command line, checkpoint and defaults."""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, get_args, get_origin, get_type_hints

from ..config.command_line import Formatter, Parser, parse_bool
from ..config.toml import format_settings, read_settings
from ..errors import InputError

_METAVARS = {
    "panel": "FILE", "train": "FILE", "populations": "FILE", "val_samples": "FILE",
    "resume": "FILE", "genetic_map": "FILE", "output": "FOLDER", "region": "REGION", "device": "DEVICE",
    "population_column": "COLUMN",
}  # fmt: skip

_GROUPS = {
    "data": "Data",
    "windows": "Windows and masks",
    "retrieval": "Retrieval",
    "network": "Network",
    "training": "Training",
    "run": "Running and resuming",
}


def _option(
    default: Any, group: str, text: str, *, choices: Sequence[str] = (), flag: bool = False
) -> Any:
    """One field that is also an option; its help text names the unit.

    A ``flag`` means yes without a value.
    """
    metadata = {"group": group, "help": text, "choices": tuple(choices), "flag": flag}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Config:
    """Everything that a run depends on. Defaults are those of ``--preset small``."""

    # fmt: off
    panel: str = _option(
        "", "data", "reference panel: phased VCF or BCF, HDF5 of scikit-allel, VCF Zarr, or a panel "
        "prepared by snvrag.prepare; without it, the demo panel that ships with the package")
    region: str = _option("", "data", "read only this region, chrom or chrom:first-last (bp, 1-based); needs an index")
    train: str = _option(
        "", "data", "train on the samples of this file (as --panel) instead of on the panel's own")
    populations: str = _option(
        "", "data", "tab-separated table of the samples with a header that names the column 'sample' "
        "and a column of populations")
    population_column: str = _option("population", "data", "column of --populations to take")
    val_samples: str = _option(
        "", "data", "hold out these samples for validation: a file with one name a line")
    val_fraction: float = _option(
        0.1, "data", "without --val-samples, hold out this fraction of the panel's samples, evenly "
        "spread in file order (0.2: the first, the sixth, ...)")
    genetic_map: str = _option(
        "", "data", "genetic map, plain or gzipped: chrom id cM bp (PLINK) or bp chrom cM; without it, 1 cM a Mb")

    window_size: int = _option(1020, "windows", "most sites in a window; windows are of equal length")
    flank: int = _option(0, "windows", "sites read on each side of a window, but not predicted there")
    mask_rates: tuple[float, ...] = _option(
        (0.3, 0.4, 0.5, 0.6, 0.7, 0.8), "windows",
        "probabilities of hiding a site: the curriculum, each for --epochs-per-rate epochs")
    epochs_per_rate: int = _option(2, "windows", "epochs that each of --mask-rates holds for")
    val_rate: float = _option(0.5, "windows", "probability of hiding a site in validation")
    rare_rate: float = _option(0.7, "windows", "probability of hiding a rare site, always")
    rare_threshold: float = _option(0.05, "windows", "ALT frequency below which a site is rare")
    mask_generator: str = _option(
        "philox", "windows", "random numbers of the masks; mt19937 gives V18's own",
        choices=("philox", "mt19937"))

    k: int = _option(16, "retrieval", "haplotypes retrieved for each query and segment")
    segment_size: int = _option(255, "retrieval", "sites that share one list of neighbours; 0: the whole window")
    segment_flank: int = _option(255, "retrieval", "sites beyond a segment that count in its search")
    decay_sites: float = _option(8.0, "retrieval", "scale of the decayed mismatch counts, in observed sites")
    li_stephens: bool = _option(
        True, "retrieval", "give the network the probabilities of Li-Stephens models over the whole panel too")
    ne: tuple[float, ...] = _option(
        (100_000.0,), "retrieval", "effective population sizes of those models, one each")
    mismatch: float = _option(
        0.0, "retrieval", "their probability that a copied allele differs; 0: 2 / haplotypes of the panel")
    li_stephens_flank: int = _option(
        1020, "retrieval", "sites on each side of a window that count in them; -1: the whole panel")
    cache_mb: float = _option(1024.0, "retrieval", "budget of the just-in-time indexes, in MB")

    width: int = _option(48, "network", "width of the transformer")
    layers: int = _option(2, "network", "its layers")
    heads: int = _option(2, "network", "its attention heads")
    span: int = _option(256, "network", "sites that attend to each other, every other layer shifted by half; 0: all")
    dropout: float = _option(0.0, "network", "share of activations dropped in training")
    weighting: str = _option(
        "local", "network", "neighbours weighed at every site by how far they match around it (local), "
        "or by their rank alone (rank, as V18)", choices=("local", "rank"))
    neighbour_prior: bool = _option(True, "network", "start the prediction from the neighbours' weighed alleles")

    epochs: int = _option(6, "training", "passes over all samples and windows")
    batch_size: int = _option(16, "training", "samples (two haplotypes each) in a batch, cut over the processes of torchrun")
    accumulation: int = _option(1, "training", "batches whose gradients are added up before a step")
    learning_rate: float = _option(3e-3, "training", "of Adam, after warm-up")
    warmup_steps: int = _option(30, "training", "steps over which the learning rate rises")
    final_rate: float = _option(
        0.1, "training", "share of the learning rate that is left at the last step of --epochs, reached "
        "along a cosine; 1: constant after warm-up")
    clip: float = _option(1.0, "training", "largest norm of the gradient")
    focal_gamma: float = _option(0.0, "training", "focus of the loss on hard sites; 0: cross-entropy")
    patience: int = _option(5, "training", "epochs without a better F1 after which training stops; 0: never")
    min_gain: float = _option(0.001, "training", "gain in F1 that counts as better")
    shuffle: str = _option(
        "full", "training", "order of the examples: any windows in one batch (full), or one window a batch",
        choices=("full", "window"))
    seed: int = _option(0, "training", "of the initial weights, the order and dropout")

    output: str = _option("snvrag_output", "run", "folder for checkpoints, log, metrics.csv and plot")
    overwrite: bool = _option(False, "run", "replace the checkpoints of an earlier run in --output")
    resume: str = _option(
        "", "run", "continue from this checkpoint; auto: from the newest whole one in --output, or afresh "
        "where there is none")
    resume_epoch: int = _option(-1, "run", "with --resume: the epoch index expected next; -1: not checked")
    save_every_minutes: float = _option(
        15.0, "run", "minutes after which a checkpoint is saved in the middle of an epoch; 0: only on "
        "SIGTERM, SIGINT and SIGUSR1")
    keep: int = _option(0, "run", "newest epoch checkpoints to keep, beside the best; 0: all")
    workers: int = _option(0, "run", "processes that make batches; 0: this one")
    start_method: str = _option(
        "fork", "run", "how --workers are started", choices=("fork", "spawn", "forkserver"))
    threads: int = _option(0, "run", "threads of the computation, of each process; 0: all cores")
    device: str = _option("auto", "run", "cpu, cuda, cuda:N, or auto: a GPU where there is one")
    rank_timeout: float = _option(10.0, "run", "minutes that the processes of torchrun wait for each other")
    compile: bool = _option(False, "run", "compile the network's layers (minutes, once a run; needs a C++ compiler, or Triton on a GPU)")
    amp: bool = _option(True, "run", "bfloat16 autocast on a GPU")
    log_every: int = _option(10, "run", "steps between updates of the progress bar's loss and recall")
    dry_run: bool = _option(False, "run", "tell what the run would do, train nothing and write nothing", flag=True)
    plot: bool = _option(True, "run", "write metrics.png at the end, if matplotlib is installed")
    # fmt: on

    def __post_init__(self) -> None:
        def check(name: str, valid: bool, expected: str) -> None:
            if not valid:
                option = "--" + name.replace("_", "-")
                raise InputError(f"{option} must be {expected}, got {getattr(self, name)}")

        for option in fields(self):
            choices = option.metadata["choices"]
            check(option.name, not choices or getattr(self, option.name) in choices,
                  f"one of {', '.join(choices)}")  # fmt: skip
        for name in ("window_size", "epochs_per_rate", "k", "width", "layers", "heads", "epochs",
                     "batch_size", "accumulation", "log_every"):  # fmt: skip
            check(name, getattr(self, name) >= 1, "at least 1")
        for name in ("flank", "segment_size", "segment_flank", "span", "warmup_steps", "patience",
                     "workers", "threads", "seed", "focal_gamma", "keep",
                     "save_every_minutes"):  # fmt: skip
            check(name, getattr(self, name) >= 0, "at least 0")
        for name in ("val_rate", "rare_rate", "rare_threshold", "final_rate"):
            check(name, 0 <= getattr(self, name) <= 1, "from 0 to 1")
        check("mask_rates", bool(self.mask_rates) and all(0 <= r <= 1 for r in self.mask_rates),
              "one or more numbers from 0 to 1")  # fmt: skip
        check("ne", bool(self.ne) and all(0 < n < math.inf for n in self.ne), "numbers above 0")
        check("mismatch", 0 <= self.mismatch <= 0.5, "from 0 to 0.5")
        check("li_stephens_flank", self.li_stephens_flank >= -1, "at least -1")
        check("seed", self.seed < 2**63, "below 2**63")
        check("threads", self.threads <= 1024, "at most 1024")
        check("min_gain", self.min_gain >= 0, "at least 0")
        for name in ("learning_rate", "clip", "cache_mb", "decay_sites", "focal_gamma", "min_gain",
                     "save_every_minutes", "rank_timeout"):  # fmt: skip
            check(name, math.isfinite(getattr(self, name)), "finite")
        check("val_fraction", 0 < self.val_fraction < 1, "between 0 and 1")
        check("dropout", 0 <= self.dropout < 1, "from 0 to below 1")
        for name in ("learning_rate", "clip", "cache_mb", "decay_sites", "rank_timeout"):
            check(name, getattr(self, name) > 0, "above 0")
        check("heads", self.width % self.heads == 0, f"a divisor of --width {self.width}")
        check(
            "resume_epoch", self.resume_epoch < 0 or bool(self.resume), "given with --resume only"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        plain = dataclasses.asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in plain.items()}

    def to_toml(self) -> str:
        """Return the text of a file for ``--config``, without what belongs to one start only."""
        groups = {option.name: option.metadata["group"] for option in fields(self)}
        once = ("resume", "resume_epoch", "overwrite", "dry_run")
        lasting = {name: value for name, value in self.to_dict().items() if name not in once}
        return format_settings(lasting, groups)


# What may differ between a checkpoint and the run that resumes it: nothing of it changes what the
# remaining epochs compute, except that there may be more of them.
FREE_FIELDS = frozenset(
    {"panel", "train", "populations", "val_samples", "genetic_map", "output", "resume", "resume_epoch", "workers",
     "start_method", "threads", "device", "amp", "log_every", "plot", "cache_mb", "epochs", "overwrite",
     "save_every_minutes", "keep", "dry_run", "rank_timeout", "compile"}
)  # fmt: skip

# Of these, what a log should tell when it differs.
NOTED_FIELDS = FREE_FIELDS - {"output", "resume", "resume_epoch", "overwrite", "dry_run"}

PRESETS: dict[str, dict[str, Any]] = {
    "small": {},
    "v18": {
        "window_size": 1020,
        "k": 1,
        "segment_size": 0,
        "segment_flank": 0,
        "li_stephens": False,
        "width": 384,
        "layers": 12,
        "heads": 12,
        "span": 0,
        "dropout": 0.1,
        "weighting": "rank",
        "neighbour_prior": False,
        "epochs": 20,
        "batch_size": 8,
        "accumulation": 2,
        "learning_rate": 7.5e-5,
        "warmup_steps": 15_000,
        "final_rate": 1.0,
        "focal_gamma": 2.0,
        "shuffle": "window",
    },
}

_PRESET_HELP = (
    "defaults to start from: small trains in minutes on two cores; v18 has the sizes of V18 Embedding "
    "RAG (width 384, 12 layers, 12 heads, one neighbour for a whole window)"
)

_CONFIG_HELP = (
    "a TOML file of options, by their names without dashes in front; those on the command line come on "
    "top. Every run writes its own as config.toml to --output (default: none)"
)


def _describe_default(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return " ".join(str(item) for item in value)
    return str(value) if value != "" else "none"


def build_parser() -> argparse.ArgumentParser:
    """Return the command line of ``python -m snvrag.train``, made from the dataclass."""
    parser = Parser(
        prog="python -m snvrag.train",
        description="Train a retrieval-augmented imputation model. Without arguments, on a small "
        "simulated panel that ships with the package.",
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    parser.add_argument("--preset", choices=sorted(PRESETS), default=None,
                        help=f"{_PRESET_HELP} (default: small)")  # fmt: skip
    parser.add_argument("--config", metavar="FILE", default=None, help=_CONFIG_HELP)
    groups = {name: parser.add_argument_group(title) for name, title in _GROUPS.items()}
    types = get_type_hints(Config)
    for option in fields(Config):
        kind = types[option.name]
        many = get_origin(kind) is tuple
        convert: Any = parse_bool if kind is bool else get_args(kind)[0] if many else kind
        assert option.default is not MISSING
        settings: dict[str, Any] = {
            "dest": option.name,
            "type": convert,
            "default": argparse.SUPPRESS,
            "help": f"{option.metadata['help']} (default: {_describe_default(option.default)})",
        }
        if option.metadata["choices"]:
            settings["choices"] = option.metadata["choices"]
        else:
            settings["metavar"] = _METAVARS.get(option.name) or {
                int: "N", float: "X", bool: "yes|no"
            }.get(kind, "TEXT")  # fmt: skip
        if option.metadata["flag"]:
            settings["nargs"], settings["const"] = "?", True
        if many:
            settings["nargs"] = "+"
            settings["metavar"] = "X"
        groups[option.metadata["group"]].add_argument(
            "--" + option.name.replace("_", "-"), **settings
        )
    return parser


def parse_arguments(arguments: Sequence[str] | None = None) -> Config:
    """Return the configuration: a preset's defaults, a file's settings, then the options given."""
    given = vars(build_parser().parse_args(sys.argv[1:] if arguments is None else arguments))
    path, preset = given.pop("config"), given.pop("preset")
    settings = read_settings(path, Config, also=["preset"]) if path is not None else {}
    of_file = settings.pop("preset", "small")
    if of_file not in PRESETS:
        raise InputError(
            f"--config {path}: preset must be one of {', '.join(PRESETS)}, got {of_file}"
        )
    settings = {**PRESETS[preset or of_file], **settings, **given}
    for name, value in settings.items():
        settings[name] = tuple(value) if isinstance(value, list) else value
    return Config(**settings)
