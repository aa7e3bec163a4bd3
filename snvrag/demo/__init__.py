"""A small simulated panel that ships with the package."""

from __future__ import annotations

from pathlib import Path

DEMO_PANEL = "demo.vcf.gz"
DEMO_POPULATIONS = "demo_samples.tsv"


def demo_file(name: str) -> str:
    """Return the path of a file of the demo."""
    return str(Path(__file__).parent / name)
