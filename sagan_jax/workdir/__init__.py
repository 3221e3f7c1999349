"""A run on disk: its config, checkpoints and logs."""
