"""Losses, optimizers, state and the training step; no files, no output."""
