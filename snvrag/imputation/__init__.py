"""Imputation of a target from a panel, chunk by chunk."""
