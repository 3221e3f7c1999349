"""Which form computes each product of a convolution: one table, by platform and shape.

Every layer has three products: its output, and the gradients of its input and of its
kernel. All forms of a product are equal in exact arithmetic and differ in speed.
Nothing here needs jax, so the arithmetic of a step can be counted without it.
"""

from typing import NamedTuple

OUTPUT, INPUT_GRADIENT, KERNEL_GRADIENT = "output", "input gradient", "kernel gradient"
"""The products of a layer."""

CONV, UPSAMPLE_CONV, CONV_POOL = "conv", "upsample, conv", "conv, pool"
"""The layers: a convolution, alone, after upsampling, or before mean pooling."""

PLATFORMS = ("cpu", "cuda", "tpu")
"""Platforms with a rule of their own; others follow that of 'cuda'."""

_FEW_CHANNELS = 16
"""Channels below which sums of taps or tiles cost more than the products they save."""

SMALL = 2e8
"""Operations of a product, as written, up to which it takes a CPU one or two
milliseconds, so that the time to compile a form counts as well."""

TINY = 1e7
"""Operations up to which the plain form is kept on a CPU: 0.1 ms on one core."""


class Product(NamedTuple):
    """One product of a layer.

    Attributes:
      layer: CONV, UPSAMPLE_CONV or CONV_POOL.
      result: OUTPUT, INPUT_GRADIENT or KERNEL_GRADIENT.
      kernel: side of the square kernel.
      side: the shorter side of the map that the kernel slides over: the large one of a
        layer with resampling.
      inputs: channels of the layer's input.
      outputs: channels of the layer's output.
      batch: number of images.
      half: whether values have fewer bits than float32.
    """

    layer: str
    result: str
    kernel: int
    side: int
    inputs: int
    outputs: int
    batch: int
    half: bool = False


COSTS: dict[str, float] = {
    "plain": 1.0,
    "im2col": 1.0,
    "dot": 1.0,
    "winograd 2": 4 / 9,
    "winograd 4": 1 / 4,
    "nine products": 1 / 4,
    "strided": 4 / 9,
    "transposed": 4 / 9,
    "phases": 4 / 9,
}
"""Products of each form, as a fraction of those of the convolution as it is written."""


def choose(platform: str, product: Product) -> str:
    """Returns the form in which a platform computes a product, a key of COSTS.

    The rules for 'cpu' follow measurements on two cores with and without AVX-512, see
    docs/performance.md; those for accelerators follow the count of operations.

    Args:
      platform: a platform as jax names it for lowering, such as 'cpu' or 'cuda'.
      product: the product.
    """
    if product.kernel == 1 and platform == "cpu":
        # XLA's CPU compiler treats it as a convolution, at less than half of the speed.
        return "dot"
    if product.kernel != 3:
        return "plain"
    if platform != "cpu":
        return _on_accelerator(platform, product.layer)
    if product.half or operations(product, "plain") < TINY:
        return "plain"  # with half precision, sums would be rounded before products
    if product.layer != CONV:
        return "nine products"
    if min(product.inputs, product.outputs) < _FEW_CHANNELS:
        return "im2col"
    if operations(product, "plain") < SMALL:
        return _small(product)
    if product.side >= 16:
        return "winograd 4"
    # Kernels grow with the number of products per tile, and dominate on small maps.
    return "winograd 2" if product.side >= 8 else "im2col"


def _small(product: Product) -> str:
    """Returns the form of a product, without resampling, that takes about 1 ms.

    F(2,3) compiles in half of the time of F(4,3), and is nearly as fast here.
    """
    # XLA's library runs such convolutions on one core; kernel gradients a third slower.
    least = SMALL / 4 if product.result == KERNEL_GRADIENT else SMALL / 2
    few = min(product.inputs, product.outputs) < 2 * _FEW_CHANNELS
    return "plain" if few or operations(product, "plain") < least else "winograd 2"


def _on_accelerator(platform: str, layer: str) -> str:
    if layer == CONV:
        return "plain"
    if layer == CONV_POOL:
        return "strided"
    return "phases" if platform == "tpu" else "transposed"


def operations(product: Product, form: str, *, small: bool = True) -> float:
    """Returns the multiplications and additions of a product's matrix products.

    Those of the form's transforms are not counted, nor that taps on a padded border
    need none.

    Args:
      product: the product.
      form: a key of COSTS.
      small: whether a 1x1 kernel comes before upsampling and after pooling, where the
        map is small.
    """
    places = product.side**2 * product.batch
    if product.kernel == 1 and product.layer != CONV and small:
        places //= 4
    taps = product.kernel**2 * product.inputs * product.outputs
    return 2.0 * places * taps * COSTS[form]
