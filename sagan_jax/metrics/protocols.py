"""The ways of measuring that published numbers were made with, by name.

The name is part of a number: one checkpoint of this model has FID 34.7 by one of them
and 40.1 by another. '-like' says that a part of the original is not met, and `differs`
which. What a protocol does not fix is the images: the reference set, its resolution and
the generator's settings stand in a result beside it.
"""

from dataclasses import dataclass

from sagan_jax.errors import UserError


@dataclass(frozen=True, slots=True)
class Protocol:
    """One way of measuring, from uint8 images to numbers.

    Attributes:
      name: of the protocol.
      pipeline: from uint8 to the network.
      differs: from the original, in words; '' for nothing that is known.
      logits: the tap that the inception score is taken of.
      splits: of the inception score.
      shuffle_seed: of the order before splitting; None: as they come.
      ddof: of the deviation over splits.
      fakes: images that published numbers were made of.
      statistics: of batch norm, in sampling.
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


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(name="torch-fidelity", pipeline="tf", shuffle_seed=2020),
        Protocol(
            name="pytorch-fid",
            pipeline="pytorch",
            differs="it has no inception score of its own",
        ),
        Protocol(
            name="official-like",
            pipeline="tf",
            differs=(
                "there images are not rounded to uint8; whether its logits have a bias "
                "is not settled"
            ),
            logits="logits",
            splits=1,
        ),
        Protocol(
            name="studio-like",
            pipeline="pil_bilinear",
            differs="there on CIFAR-10 as many fakes as training images are taken",
            logits="logits",
            ddof=1,
            statistics="standing",
        ),
        Protocol(
            name="mmgen-like",
            pipeline="pil_bicubic",
            differs=(
                "there FID is of another copy of the network, which resizes by itself; "
                "only the inception score is of images resized so, and rounded"
            ),
        ),
    )
}


def protocol_of(name: str) -> Protocol:
    """Returns the protocol of that name.

    Raises:
      UserError: there is none.
    """
    if name not in PROTOCOLS:
        raise UserError(
            f"protocol={name!r} is not known; choose among {', '.join(PROTOCOLS)}."
        )
    return PROTOCOLS[name]
