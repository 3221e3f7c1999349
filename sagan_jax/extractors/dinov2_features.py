"""Features of uint8 images by DINOv2."""

import functools
from collections.abc import Sequence
from typing import Any

import jax

from sagan_jax.errors import UserError
from sagan_jax.extractors import dinov2, dinov2_layers, imagenet_inputs
from sagan_jax.extractors.dinov2_layers import SIZES
from sagan_jax.extractors.dinov2_weights import TAP, Weights
from sagan_jax.extractors.sharded import Sharded


class DINOv2Extractor(Sharded):
    """Computes the class token of DINOv2 at 224 px from uint8 images of any size.

    Attributes:
      taps: the name of the features, 'class_token'.
      batch_size: images per pass, over all devices.
      provenance: what the features depend on: 'pipeline', 'weights' (digest), 'origin',
        'taps' and 'precision'.
    """

    def __init__(
        self,
        weights: Weights,
        taps: Sequence[str] = (TAP,),
        *,
        pipeline: str = imagenet_inputs.PIPELINES[0],
        positions: str = "hub",
        batch_size: int = 0,
        devices: Sequence[jax.Device] | None = None,
    ) -> None:
        """Copies the network to its devices, array by array.

        Args:
          weights: the weights.
          taps: ('class_token',).
          pipeline: a name from imagenet_inputs.PIPELINES.
          positions: a name from dinov2_positions.VARIANTS. Published distances use the
            default.
          batch_size: images per pass on each device; 0 means 4 on a CPU, and 64 on an
            accelerator.
          devices: devices of this process; None means all of them.

        Raises:
          UserError: an unknown tap, pipeline or variant.
        """
        if pipeline not in imagenet_inputs.PIPELINES:
            raise UserError(
                f"pipeline={pipeline!r} is not known; choose among "
                f"{', '.join(imagenet_inputs.PIPELINES)}."
            )
        if tuple(taps) != (TAP,):
            raise UserError(
                f"taps={tuple(taps)!r}: DINOv2 has one kind of features; choose {TAP}."
            )
        size = SIZES[weights.name]
        network = dinov2.DINOv2(size)

        def apply(variables: Any, inputs: jax.Array) -> dict[str, Any]:
            return {TAP: network.apply(variables, inputs)}

        super().__init__(
            apply,
            taps=taps,
            provenance={
                "pipeline": pipeline
                if positions == "hub"
                else f"{pipeline}, positions of {positions}",
                "weights": weights.digest,
                "origin": weights.origin,
                "taps": [TAP],
                "precision": "highest",
            },
            on_host=functools.partial(imagenet_inputs.one, pipeline=pipeline),
            compiled=imagenet_inputs.COMPILED.get(pipeline),
            batch_size=batch_size,
            on_cpu=4,
            on_accelerator=64,
            devices=devices,
        )
        side = imagenet_inputs.SIDE // dinov2_layers.PATCH
        params = dinov2_layers.parameters(
            weights.tensors, size, side, variant=positions, put=self.copied
        )
        self.hold(params)
