"""Accuracy of imputed files."""
