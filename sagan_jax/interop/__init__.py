"""Weights of other implementations in, and artifacts for other programs out."""
