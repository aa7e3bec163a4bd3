"""Panels of haplotypes as bits, their sites, windows and regions."""

from .panel import Panel

__all__ = ["Panel"]
