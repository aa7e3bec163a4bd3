"""Curves for TensorBoard, if it is installed."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any


class Scalars:
    """Writes numbers by optimizer step to a folder for TensorBoard, once it has been opened.

    What an interrupted run wrote after its last checkpoint is purged when it is resumed.
    """

    def __init__(self) -> None:
        self._writer: Any = None

    def open(self, folder: Path, step: int) -> bool:
        """Begin to write after optimizer step ``step``; return False if there is no TensorBoard."""
        try:
            module = import_module("torch.utils.tensorboard")
        except ImportError:
            return False
        self._writer = module.SummaryWriter(str(folder), purge_step=step + 1)
        return True

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write values by name at a step."""
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        """Flush what was written to the file."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Stop writing."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
