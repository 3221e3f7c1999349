"""Data sets for tensorflow-datasets that need neither a network nor TensorFlow.

A package, because it looks beside a builder's file for descriptions.
"""
