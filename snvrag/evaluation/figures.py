"""Figures of matplotlib, which is optional."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..io.atomic import atomic_file

NO_MATPLOTLIB = "matplotlib is not installed (pip install 'snvrag[plot]')"


def empty_figure(width: float, height: float) -> Any:
    """Return an empty figure of this size in inches, or None where matplotlib is missing.

    It needs no display, and leaves pyplot's settings and open figures as they are.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return None
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def add_legend(figure: Any, axes: Any, num_columns: int) -> None:
    """Name the lines of one of a figure's axes below all of them."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=num_columns, fontsize=9)


def save_figure(path: Path, figure: Any) -> None:
    """Write a figure as PNG; a file of that name is replaced."""
    with atomic_file(path) as stream:
        figure.savefig(stream, dpi=130, format="png")
