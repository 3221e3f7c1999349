"""The products of a training step's convolutions, and the form of each.

Nothing here needs jax: the list follows from the config alone.
"""

from collections.abc import Iterator
from typing import NamedTuple

from sagan_jax.config import SAME, Config, ModelConfig
from sagan_jax.networks import forms
from sagan_jax.networks.channels import Stage, discriminator_plan, generator_plan
from sagan_jax.networks.forms import CONV, CONV_POOL, UPSAMPLE_CONV, Product


class Convolution(NamedTuple):
    """A convolution of a network.

    Attributes:
      name: its path, such as 'block1/conv1'.
      layer: forms.CONV, forms.UPSAMPLE_CONV or forms.CONV_POOL.
      kernel: side of the kernel.
      side: side of the map that the kernel slides over, as in forms.Product.
      inputs: channels of the input.
      outputs: channels of the output.
      sees_image: whether its input is an image, or a pooled one.
    """

    name: str
    layer: str
    kernel: int
    side: int
    inputs: int
    outputs: int
    sees_image: bool = False


def generator_convolutions(model: ModelConfig) -> list[Convolution]:
    """Returns the generator's convolutions, in the order of the forward pass."""
    own = model.generator_attention_resolutions
    before, stages = generator_plan(
        model.resolution,
        model.generator_width or model.width,
        model.generator_channel_multiples,
        model.attention_resolutions if own == SAME else own,
    )
    found: list[Convolution] = []
    for number, stage in enumerate(stages, start=1):
        block, side, after = f"block{number}", stage.resolution, stage.features
        found += [
            Convolution(f"{block}/shortcut", UPSAMPLE_CONV, 1, side, before, after),
            Convolution(f"{block}/conv1", UPSAMPLE_CONV, 3, side, before, after),
            Convolution(f"{block}/conv2", CONV, 3, side, after, after),
        ]
        found += _attention(model, stage)
        before = after
    return [*found, Convolution("conv", CONV, 3, side, before, model.channels)]


def discriminator_convolutions(model: ModelConfig) -> list[Convolution]:
    """Returns the discriminator's convolutions, in the order of the forward pass."""
    own = model.discriminator_attention_resolutions
    stages = discriminator_plan(
        model.resolution,
        model.discriminator_width or model.width,
        model.discriminator_channel_multiples,
        model.attention_resolutions if own == SAME else own,
    )
    found: list[Convolution] = []
    before, side = model.channels, model.resolution
    for number, stage in enumerate(stages, start=1):
        block, after, first = f"block{number}", stage.features, number == 1
        last = CONV_POOL if stage.resample else CONV
        if first:  # the image is pooled before
            found.append(
                Convolution(
                    f"{block}/shortcut", CONV, 1, stage.resolution, before, after, True
                )
            )
        elif stage.resample or before != after:
            found.append(Convolution(f"{block}/shortcut", last, 1, side, before, after))
        found += [
            Convolution(f"{block}/conv1", CONV, 3, side, before, after, first),
            Convolution(f"{block}/conv2", last, 3, side, after, after),
        ]
        found += _attention(model, stage)
        before, side = after, stage.resolution
    return found


def products_of(
    convolution: Convolution, batch: int, *, half: bool = False
) -> dict[str, Product]:
    """Returns the three products of a convolution, by their results."""
    shape = convolution[1:6]
    layer, kernel, side, inputs, outputs = shape
    return {
        result: Product(layer, result, kernel, side, inputs, outputs, batch, half)
        for result in (forms.OUTPUT, forms.INPUT_GRADIENT, forms.KERNEL_GRADIENT)
    }


def step_products(config: Config) -> Iterator[tuple[str, Convolution, Product]]:
    """Yields the network's name, the convolution and the product of each one of a step.

    The generator makes one pass for each update of the discriminator and one for its
    own. Gradients that no update needs are left out: those of the images in the
    discriminator's updates, and those of its kernels in the generator's.
    """
    images, updates = config.train.batch_size, config.train.d_steps
    half = config.model.dtype == "bfloat16"
    for convolution in generator_convolutions(config.model):
        products = products_of(convolution, images, half=half)
        for result, product in products.items():
            for _ in range(updates + 1 if result == forms.OUTPUT else 1):
                yield "generator", convolution, product
    for convolution in discriminator_convolutions(config.model):
        both = products_of(convolution, 2 * images, half=half)
        if convolution.sees_image:
            del both[forms.INPUT_GRADIENT]
        for product in both.values():
            for _ in range(updates):
                yield "discriminator", convolution, product
        fakes = products_of(convolution, images, half=half)
        for result in (forms.OUTPUT, forms.INPUT_GRADIENT):
            yield "discriminator", convolution, fakes[result]


def form_of(config: Config, platform: str, product: Product) -> str:
    """Returns the form of a product under `model.convolutions`."""
    if config.model.convolutions == "plain":
        return "plain"
    return forms.choose(platform, product)


def step_operations(config: Config, platform: str) -> float:
    """Returns the operations of a step's convolutions, in their forms."""
    small = config.model.convolutions != "plain"
    return sum(
        forms.operations(product, form_of(config, platform, product), small=small)
        for _, _, product in step_products(config)
    )


def _attention(model: ModelConfig, stage: Stage) -> list[Convolution]:
    """Returns the projections of an attention block in its official form."""
    if not stage.attention or model.attention_block != "attention":
        return []
    side, c = stage.resolution, stage.features
    name = f"attention{side}"
    shapes = {
        "query": (c, c // 8),
        "key": (c, c // 8),
        "value": (c, c // 2),
        "output": (c // 2, c),
    }
    return [
        Convolution(f"{name}/{part}", CONV, 1, side, *shape)
        for part, shape in shapes.items()
    ]
