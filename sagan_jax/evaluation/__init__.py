"""The evaluated generator of a run, and its scores."""
