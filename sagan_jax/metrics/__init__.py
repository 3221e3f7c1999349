"""Metrics of generated images: features in, numbers out."""
