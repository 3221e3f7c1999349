"""The names of StudioGAN: `POSTECH-CVLab/PyTorch-StudioGAN:src/models/resnet.py`."""

from sagan_jax.interop.layout import Layout, Tables

LAYOUT = Layout(
    name="StudioGAN",
    places=r"blocks\.(\d+)\.(\d+)",
    generator={"dense": "linear0", "norm": "bn4", "conv": "conv2d5"},
    generator_block={
        "conv1": "conv2d1",
        "conv2": "conv2d2",
        "shortcut": "conv2d0",
        "norm1": "bn1",
        "norm2": "bn2",
    },
    discriminator={"dense": "linear1", "embed": "embedding"},
    discriminator_block={"conv1": "conv2d1", "conv2": "conv2d2", "shortcut": "conv2d0"},
    attention={
        "query": "conv1x1_theta",
        "key": "conv1x1_phi",
        "value": "conv1x1_g",
        "output": "conv1x1_attn",
        "gamma": "sigma",
    },
    # Embeddings until 2021.
    tables=(Tables("gain", "bias", linear=True), Tables("embed0", "embed1")),
    statistics=(
        ("running_mean", "running_var"),
        ("bn.running_mean", "bn.running_var"),
    ),
    affine=(("weight", "bias"),),
    shared="shared",
    batch_norm_eps=1e-4,
    rectified_shortcut=True,
)
