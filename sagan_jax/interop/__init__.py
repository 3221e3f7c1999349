"""Trained models in and out: model folders, the hub, and other formats."""
