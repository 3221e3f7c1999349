"""One file for each mode of launch.py."""
