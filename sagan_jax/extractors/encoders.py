"""The encoders by name: networks whose features the distances compare.

`inception` defines FID. The others give numbers on other scales, with other names. A
user's own function is an encoder too, named `module:function`.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sagan_jax.errors import UserError
from sagan_jax.extractors import (
    dinov2_features,
    dinov2_layers,
    dinov2_weights,
    features,
    imagenet_inputs,
    inception_layers,
    inception_weights,
    user_encoder,
)
from sagan_jax.extractors.preprocessing import Batch

INCEPTION = "inception"
"""The default encoder."""


class Weights(Protocol):
    """What every encoder's weights know of themselves."""

    @property
    def digest(self) -> str:
        """SHA-256 of their contents."""

    @property
    def origin(self) -> str:
        """SHA-256 of the file that they were converted from, or ''."""

    @property
    def taps(self) -> tuple[str, ...]:
        """The features that they cover."""

    @property
    def is_public(self) -> bool:
        """Whether they are complete and published."""


class Extractor(Protocol):
    """What every encoder's extractor has; see features.extract."""

    taps: tuple[str, ...]
    batch_size: int
    provenance: dict[str, Any]

    def __call__(self, images: Batch) -> Mapping[str, NDArray[np.float32]]:
        """Returns {tap: [n, d]} for uint8 images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder:
    """An encoder: its weights, its inputs, its features, and its name in results.

    Attributes:
      name: the name in configs and on the command line.
      label: the name in those of distances, such as 'DINOv2-L'; '' for Inception, whose
        distances are named by tap.
      load: returns the weights of a file, or those of the cache if it is ''; raises
        UserError if there are none.
      are_here: whether `load` of a file has something to read without a download.
      pipelines: names of the ways from images to inputs, the default first; () means
        that the protocol of a comparison decides.
      taps: number of features by name; None if only the function knows.
      make: returns the extractor of weights, taps, and the keywords `pipeline` and
        `batch_size`.
    """

    name: str
    label: str
    load: Callable[[str], Any]
    are_here: Callable[[str], bool]
    pipelines: tuple[str, ...]
    taps: Mapping[str, int | None]
    make: Callable[..., Extractor]

    def metric_name(self, tap: str, weights: Any) -> str:
        """Returns the name of the Frechet distance: 'FID', 'FD-768', 'FD-DINOv2-L'.

        'FID' is tap 2048 of the public Inception, and nothing else.
        """
        if self.label:
            return f"FD-{self.label}"
        return inception_weights.metric_name(tap, weights)

    def pipeline(self, given: str, by_protocol: str) -> str:
        """Returns the pipeline to use.

        Args:
          given: what the user chose, or ''.
          by_protocol: the protocol's pipeline for the Inception network.

        Raises:
          UserError: the encoder has no such pipeline.
        """
        if not given:
            return self.pipelines[0] if self.pipelines else by_protocol
        if not self.pipelines:
            raise UserError(
                f"pipeline={given!r} is for other encoders than {self.name!r}, where "
                "the protocol decides; leave it empty, or choose a protocol."
            )
        if given not in self.pipelines:
            raise UserError(
                f"pipeline={given!r} is not one of encoder {self.name!r}; choose among "
                f"{', '.join(self.pipelines)}."
            )
        return given

    def tap(self, given: str, covered: tuple[str, ...]) -> str:
        """Returns the given tap, or the last one of features that is covered.

        Raises:
          UserError: an unknown tap, or one beyond the weights.
        """
        if given and given not in self.taps:
            raise UserError(
                f"tap={given!r} is not known; choose among {', '.join(self.taps)}."
            )
        if given and given not in covered:
            raise UserError(
                f"tap={given!r} is beyond the weights, which cover "
                f"{', '.join(covered)}; choose one of these, or pass complete weights."
            )
        return given or [tap for tap in covered if not tap.startswith("logits")][-1]


def encoder_of(name: str) -> Encoder:
    """Returns an encoder of the table, or a user's own, `module:function`.

    Raises:
      UserError: there is none of this name.
    """
    if ":" in name:
        return _users(name)
    if name not in ENCODERS:
        raise UserError(
            f"encoder={name!r} is not known; choose among {', '.join(ENCODERS)}, or "
            "pass module:function."
        )
    return ENCODERS[name]


def _of_dinov2(name: str) -> Encoder:
    return Encoder(
        name=name,
        label=f"DINOv2-{name[-1].upper()}",
        load=functools.partial(dinov2_weights.load, name),
        are_here=functools.partial(dinov2_weights.are_here, name),
        pipelines=imagenet_inputs.PIPELINES,
        taps={dinov2_weights.TAP: dinov2_layers.SIZES[name].width},
        make=dinov2_features.DINOv2Extractor,
    )


def _users(name: str) -> Encoder:
    def load(path: str) -> user_encoder.Code:
        if path:
            raise UserError(
                f"weights={path!r} have no meaning for encoder {name!r}, whose "
                "function loads its own; leave them out."
            )
        return user_encoder.load(name)

    def make(
        code: Any, taps: Any, *, pipeline: str = user_encoder.PIPELINE, **options: Any
    ) -> Extractor:
        assert pipeline == user_encoder.PIPELINE
        return user_encoder.UserExtractor(code, taps, **options)

    return Encoder(
        name=name,
        label=name,
        load=load,
        are_here=lambda _: True,
        pipelines=(user_encoder.PIPELINE,),
        taps={user_encoder.TAP: None},
        make=make,
    )


ENCODERS: dict[str, Encoder] = {
    INCEPTION: Encoder(
        name=INCEPTION,
        label="",
        load=inception_weights.load,
        are_here=inception_weights.are_here,
        pipelines=(),
        taps=inception_layers.WIDTHS,
        make=features.Extractor,
    ),
    **{name: _of_dinov2(name) for name in dinov2_layers.SIZES},
}
"""All encoders by name."""
