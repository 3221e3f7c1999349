import pytest

from sagan_jax.networks import convolutions, forms
from sagan_jax.networks.forms import (
    CONV,
    CONV_POOL,
    INPUT_GRADIENT,
    KERNEL_GRADIENT,
    OUTPUT,
    UPSAMPLE_CONV,
    Product,
)


def _product(layer: str = CONV, **values: object) -> Product:
    product = Product(layer, OUTPUT, 3, 32, 256, 256, 8)
    return product._replace(**values)


@pytest.mark.parametrize("platform", [*forms.PLATFORMS, "rocm"])
@pytest.mark.parametrize("layer", [CONV, UPSAMPLE_CONV, CONV_POOL])
@pytest.mark.parametrize("result", [OUTPUT, INPUT_GRADIENT, KERNEL_GRADIENT])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("side", [4, 8, 32])
@pytest.mark.parametrize("half", [False, True])
def test_the_chosen_form_exists(
    platform: str, layer: str, result: str, kernel: int, side: int, half: bool
) -> None:
    if kernel == 1 and layer != CONV:
        layer = CONV  # resampling moves to the small side
    product = Product(layer, result, kernel, side, 64, 256, 8, half)
    assert forms.choose(platform, product) in convolutions.FORMS[layer]


def test_every_form_has_a_cost() -> None:
    names = {name for named in convolutions.FORMS.values() for name in named}
    assert names == forms.COSTS.keys()


def test_a_cpu_takes_the_fewest_products_for_large_layers() -> None:
    assert forms.choose("cpu", _product()) == "winograd 4"
    assert forms.choose("cpu", _product(UPSAMPLE_CONV)) == "nine products"
    assert forms.choose("cpu", _product(CONV_POOL)) == "nine products"


def test_accelerators_take_four_ninths_of_a_resampling_layer() -> None:
    chosen = {p: forms.choose(p, _product(UPSAMPLE_CONV)) for p in ("cuda", "tpu")}
    assert chosen == {"cuda": "transposed", "tpu": "phases"}
    assert forms.choose("cuda", _product(CONV_POOL)) == "strided"
    assert forms.choose("cuda", _product()) == "plain"


def test_a_cpu_adds_nothing_up_before_it_multiplies_in_half_precision() -> None:
    assert forms.choose("cpu", _product(UPSAMPLE_CONV, half=True)) == "plain"


def test_tiny_products_stay_plain_on_a_cpu() -> None:
    tiny = _product(inputs=16, outputs=16, side=16, batch=2)
    assert forms.operations(tiny, "plain") < forms.TINY
    assert forms.choose("cpu", tiny) == "plain"
    assert forms.choose("cpu", tiny._replace(layer=CONV_POOL)) == "plain"


@pytest.mark.parametrize(
    ("result", "batch", "form"),
    [
        (OUTPUT, 32, "winograd 2"),
        (OUTPUT, 16, "plain"),
        (KERNEL_GRADIENT, 16, "winograd 2"),
        (KERNEL_GRADIENT, 8, "plain"),
    ],
)
def test_small_products_have_forms_that_compile_quickly_on_a_cpu(
    result: str, batch: int, form: str
) -> None:
    product = Product(CONV, result, 3, 8, 64, 64, batch)
    assert forms.TINY < forms.operations(product, "plain") < forms.SMALL
    assert forms.choose("cpu", product) == form
    pooled = product._replace(layer=CONV_POOL)
    assert forms.choose("cpu", pooled) == "nine products"
    few = product._replace(inputs=3, side=32, batch=32)
    assert forms.choose("cpu", few) == "im2col"


def test_operations_are_two_for_each_tap_and_place() -> None:
    product = Product(CONV, OUTPUT, 3, 16, 5, 7, 2)
    assert forms.operations(product, "plain") == 2 * 9 * 5 * 7 * 16 * 16 * 2
    assert forms.operations(product, "winograd 4") == 2 * 36 * 5 * 7 * 4 * 4 * 2
    pooled = product._replace(layer=CONV_POOL)
    assert forms.operations(pooled, "nine products") == 2 * 9 * 5 * 7 * 8 * 8 * 2
    shortcut = pooled._replace(kernel=1)
    assert forms.operations(shortcut, "dot") == 2 * 5 * 7 * 8 * 8 * 2
    assert forms.operations(shortcut, "plain", small=False) == 2 * 5 * 7 * 256 * 2
