"""What a name table says about the weight files of one implementation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple


class Tables(NamedTuple):
    """Where a conditional norm keeps its scales and biases.

    Attributes:
      scale, bias: names below that of the norm.
      linear: whether they are linear layers [C, classes] of one-hot labels. Otherwise
        they are embeddings [classes, C].
    """

    scale: str
    bias: str
    linear: bool = False


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The names of one implementation's tensors, and what its files do not say.

    Names of layers are without the last part, such as `weight`. Each mapping goes from
    our names to theirs.

    Attributes:
      name: the implementation, as a person knows it.
      places: pattern of the names of blocks and attention, in one list; its groups are
        the numbers to sort by.
      generator: `dense`, `norm` and `conv`.
      generator_block: `conv1`, `conv2`, `shortcut`, `norm1` and `norm2`.
      discriminator: `dense` and `embed`, and `block1` if that is not in the list.
      discriminator_block: `conv1`, `conv2` and `shortcut`.
      attention: `query`, `key`, `value`, `output` and `gamma`, the only tensor.
      tables: the forms of the class tables.
      statistics: running mean and variance of a norm, in every form.
      affine: scale and bias of a norm without classes, in every form.
      shared: the class embedding that all norms share, if there is one.
      batch_norm_eps: the constant of published runs; no file says it.
      rectified_shortcut: whether the discriminator's ReLUs work in place.
      blue_first: whether images have their colours in the order blue, green, red.
      halvings: how many blocks of a discriminator halve the side, by resolution, where
        that differs from ours.
    """

    name: str
    places: str
    generator: Mapping[str, str]
    generator_block: Mapping[str, str]
    discriminator: Mapping[str, str]
    discriminator_block: Mapping[str, str]
    attention: Mapping[str, str]
    tables: tuple[Tables, ...]
    statistics: tuple[tuple[str, str], ...]
    affine: tuple[tuple[str, str], ...]
    shared: str = ""
    batch_norm_eps: float = 1e-5
    rectified_shortcut: bool = False
    blue_first: bool = False
    halvings: Mapping[int, int] | None = None
