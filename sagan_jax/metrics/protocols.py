"""Protocols: the evaluators that published numbers come from, by name.

A number is meaningful only with its protocol: one checkpoint of this model has FID 34.7
by one of them and 40.1 by another. The suffix '-like' marks a protocol that does not
match the original in every part; `differs` says which part. A protocol does not fix the
images: results record the reference set, its resolution and the generator's settings
separately.
"""

from dataclasses import dataclass

from sagan_jax.errors import UserError
from sagan_jax.extractors import dinov2_layers, encoders
from sagan_jax.extractors.encoders import Encoder


@dataclass(frozen=True, slots=True)
class Protocol:
    """The conventions of one evaluator, from uint8 images to numbers.

    Attributes:
      name: the name of the protocol.
      pipeline: the preprocessing for the Inception network, see features.Extractor.
      differs: known differences from the original, in words, or ''.
      logits: the tap that the inception score uses.
      splits: number of splits of the inception score.
      shuffle_seed: seed of the order before splitting; None keeps the order.
      ddof: degrees of freedom subtracted in the deviation over splits.
      fakes: number of generated images behind published numbers.
      statistics: the batch-norm statistics used in sampling.
      other_pipeline: the preprocessing of the original for DINOv2; '' if it knows the
        Inception network alone.
    """

    name: str
    pipeline: str
    differs: str = ""
    logits: str = "logits_unbiased"
    splits: int = 10
    shuffle_seed: int | None = None
    ddof: int = 0
    fakes: int = 50_000
    statistics: str = "running"
    other_pipeline: str = ""

    def differences(self, encoder: Encoder, pipeline: str) -> list[str]:
        """Returns how features differ from the original's, in words.

        Args:
          encoder: the encoder in use.
          pipeline: its preprocessing.
        """
        found = [self.differs] if self.differs else []
        if encoder.name not in dinov2_layers.SIZES:
            if encoder.name != encoders.INCEPTION:
                found.append(f"encoder {encoder.name}")
        elif not self.other_pipeline:
            found.append(f"encoder {encoder.name}, which the original does not have")
        elif pipeline != self.other_pipeline:
            found.append(f"pipeline {pipeline} instead of {self.other_pipeline}")
        return found


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="torch-fidelity",
            pipeline="tf",
            shuffle_seed=2020,
            other_pipeline="tf1_bilinear",
        ),
        Protocol(
            name="pytorch-fid",
            pipeline="pytorch",
            differs="the original has no inception score",
        ),
        Protocol(
            name="official-like",
            pipeline="tf",
            differs=(
                "the original does not round images to uint8; whether its logits have "
                "a bias is unknown"
            ),
            logits="logits",
            splits=1,
        ),
        Protocol(
            name="studio-like",
            pipeline="pil_bilinear",
            differs=(
                "on CIFAR-10 the original generates as many images as there are "
                "training images"
            ),
            logits="logits",
            ddof=1,
            statistics="standing",
        ),
        Protocol(
            name="mmgen-like",
            pipeline="pil_bicubic",
            differs=(
                "the original computes FID with another copy of the network, which "
                "resizes internally; only its inception score uses this resize, rounded"
            ),
        ),
    )
}


def protocol_of(name: str) -> Protocol:
    """Returns the protocol with this name.

    Raises:
      UserError: there is none.
    """
    if name not in PROTOCOLS:
        raise UserError(
            f"protocol={name!r} is not known; choose among {', '.join(PROTOCOLS)}."
        )
    return PROTOCOLS[name]
