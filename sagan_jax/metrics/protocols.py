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
    """One way of measuring, from uint8 images to numbers."""

    name: str
    pipeline: str  # from uint8 to the network; see preprocessing and host_resize
    logits: str  # the tap that the inception score is taken of
    splits: int
    shuffle_seed: int | None
    ddof: int
    fakes: int  # images that published numbers were made of
    reals: str  # in words
    statistics: str  # of batch norm, in sampling
    differs: str  # from the original; '' for nothing that is known


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="torch-fidelity",
            pipeline="tf",
            logits="logits_unbiased",
            splits=10,
            shuffle_seed=2020,
            ddof=0,
            fakes=50_000,
            reals="any",
            statistics="running",
            differs="",
        ),
        Protocol(
            name="pytorch-fid",
            pipeline="pytorch",
            logits="logits_unbiased",
            splits=10,
            shuffle_seed=None,
            ddof=0,
            fakes=50_000,
            reals="any",
            statistics="running",
            differs="it has no inception score of its own",
        ),
        Protocol(
            name="official-like",
            pipeline="tf",
            logits="logits",
            splits=1,
            shuffle_seed=None,
            ddof=0,
            fakes=50_000,
            reals="50,000 of the training set",
            statistics="running",
            differs=(
                "there images are not rounded to uint8; whether its logits have a bias "
                "is not settled"
            ),
        ),
        Protocol(
            name="studio-like",
            pipeline="pil_bilinear",
            logits="logits_unbiased",
            splits=10,
            shuffle_seed=None,
            ddof=1,
            fakes=50_000,
            reals="the whole training set",
            statistics="standing",
            differs="there on CIFAR-10 as many fakes as training images are taken",
        ),
        Protocol(
            name="mmgen-like",
            pipeline="pil_bicubic",
            logits="logits_unbiased",
            splits=10,
            shuffle_seed=None,
            ddof=0,
            fakes=50_000,
            reals="the whole training set",
            statistics="running",
            differs="there another copy of the network is used",
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
