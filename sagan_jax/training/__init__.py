"""Losses, optimisers, state and the training step: no disk, no printing."""
