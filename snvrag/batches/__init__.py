"""Keys, masks and batches: what a training step is computed from."""
