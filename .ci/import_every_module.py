"""Imports every module of the installed packages, and says where they lie."""

import importlib
import pathlib
import pkgutil
import sys

count = 0
for name in ("sagan_jax", "experiments"):
    package = importlib.import_module(name)
    place = pathlib.Path(package.__path__[0])
    if pathlib.Path(sys.prefix) not in place.parents:
        sys.exit(f"{name} was imported from {place}, not from {sys.prefix}")
    if name == "sagan_jax" and not (place / "py.typed").is_file():
        sys.exit("py.typed is not in the wheel")
    for module in pkgutil.walk_packages(package.__path__, f"{name}."):
        importlib.import_module(module.name)
        count += 1
importlib.import_module("launch")
page = importlib.import_module("sagan_jax.pictures.page")
scripts = ("album.js", "curves.js", "explorer.js")  # and the style, from the wheel
page.document("", page.Html(""), scripts=scripts)
print(f"imported {count} modules from {sys.prefix}")
