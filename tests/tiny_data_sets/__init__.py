"""Data sets for tensorflow-datasets that need neither a network nor TensorFlow.

This is a package because tensorflow-datasets looks for descriptions next to the file of
a builder.
"""
