"""The names of mmgeneration and its successor mmagic.

Reference: `open-mmlab/mmagic:mmagic/models/editors/sagan`, and `SelfAttentionBlock` in
  `mmagic/models/editors/biggan/biggan_modules.py`.
"""

from sagan_jax.interop.layout import Layout, Tables

LAYOUT = Layout(
    name="mmgeneration",
    places=r"conv_blocks\.(\d+)",
    generator={"dense": "noise2feat", "norm": "to_rgb.bn", "conv": "to_rgb.conv"},
    generator_block={
        "conv1": "conv_1.conv",
        "conv2": "conv_2.conv",
        "shortcut": "shortcut.conv",
        "norm1": "norm_1",
        "norm2": "norm_2",
    },
    discriminator={"dense": "decision", "embed": "proj_y", "block1": "from_rgb"},
    discriminator_block={
        "conv1": "conv_1.conv",
        "conv2": "conv_2.conv",
        "shortcut": "shortcut.conv",
    },
    attention={
        "query": "theta.conv",
        "key": "phi.conv",
        "value": "g.conv",
        "output": "o.conv",
        "gamma": "gamma",
    },
    tables=(Tables("weight_embedding", "bias_embedding"),),
    statistics=(
        ("running_mean", "running_var"),
        ("norm.running_mean", "norm.running_var"),
    ),
    affine=(("weight", "bias"), ("norm.weight", "norm.bias")),
    batch_norm_eps=1e-4,
    blue_first=True,
    # All five blocks halve the side, where ours ends at 4x4.
    halvings={64: 5},
)
