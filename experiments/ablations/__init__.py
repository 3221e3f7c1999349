"""Sweeps: one question each, answered by variants of an experiment."""
