"""The names of BigGAN-PyTorch: `ajbrock/BigGAN-PyTorch:BigGAN.py` and `layers.py`."""

from sagan_jax.interop.layout import Layout, Tables

LAYOUT = Layout(
    name="BigGAN-PyTorch",
    # Attention is the second entry of the block that it follows.
    places=r"blocks\.(\d+)\.(\d+)",
    generator={"dense": "linear", "norm": "output_layer.0", "conv": "output_layer.2"},
    generator_block={
        "conv1": "conv1",
        "conv2": "conv2",
        "shortcut": "conv_sc",
        "norm1": "bn1",
        "norm2": "bn2",
    },
    discriminator={"dense": "linear", "embed": "embed"},
    discriminator_block={"conv1": "conv1", "conv2": "conv2", "shortcut": "conv_sc"},
    attention={
        "query": "theta",
        "key": "phi",
        "value": "g",
        "output": "o",
        "gamma": "gamma",
    },
    tables=(Tables("gain", "bias"),),
    statistics=(
        ("stored_mean", "stored_var"),
        ("bn.stored_mean", "bn.stored_var"),
    ),
    affine=(("gain", "bias"),),
    shared="shared",
)
