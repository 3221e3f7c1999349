"""The networks and the train step of this library, as plain PyTorch would write them.

It is the other side of benchmarks/against_pytorch.py, and needs PyTorch only. Modules
are named after ours. Only training passes are supported. A pass that the parameters do
not learn from (fakes under `no_grad`, or D while it is frozen) leaves the buffers as
they are: running statistics and `u` then move once per update, as in our step.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.utils import parametrize


@dataclasses.dataclass(frozen=True)
class Block:
    """One residual block.

    Attributes:
      features: number of output channels.
      resample: 'up', 'down', or '' if the side is unchanged.
      attention: name of the attention that follows it; '': none.
    """

    features: int
    resample: str
    attention: str


@dataclasses.dataclass(frozen=True)
class Settings:
    """What both networks and the step depend on; the names are those of the config.

    Attributes:
      first: channels of the generator's 4x4 map.
      generator, discriminator: the blocks of both networks.
    """

    resolution: int
    num_classes: int
    channels: int
    latent_dim: int
    first: int
    generator: tuple[Block, ...]
    discriminator: tuple[Block, ...]
    class_tables: str
    stop_gradient_uv: bool
    spectral_norm_eps: float
    batch_norm_decay: float
    batch_norm_last_decay: float
    batch_norm_eps: float
    generator_lr: float
    discriminator_lr: float
    beta1: float
    beta2: float
    eps: float
    batch_size: int
    d_steps: int
    ema_decay: float

    @classmethod
    def of(cls, values: dict[str, Any]) -> "Settings":
        """Returns the settings of a dict that JSON has carried."""
        blocks = {
            name: tuple(Block(**block) for block in values[name])
            for name in ("generator", "discriminator")
        }
        return cls(**{**values, **blocks})


class SpectralNorm(nn.Module):
    """Divides a weight [out, ...] by its sigma, after one power iteration from `u`.

    `torch.nn.utils.parametrizations.spectral_norm` does the same work, but starts from
    v, and does not iterate in evaluation mode, so its sigma would be another one.
    """

    def __init__(self, weight: Tensor, settings: Settings) -> None:
        super().__init__()
        self.eps = settings.spectral_norm_eps
        self.constant = settings.stop_gradient_uv
        self.register_buffer("u", torch.randn(weight.shape[0]))

    def forward(self, weight: Tensor) -> Tensor:
        """Returns the normalised weight."""
        learns = weight.requires_grad and torch.is_grad_enabled()
        # The order of the inputs does not matter, and this one copies no weight.
        if weight.dim() == 4 and not weight.is_contiguous():
            matrix = weight.permute(0, 2, 3, 1).flatten(1)
        else:
            matrix = weight.flatten(1)
        start = self.u.clone()  # backward may need it after the buffer has moved
        with torch.set_grad_enabled(learns and not self.constant):
            v = F.normalize(torch.mv(matrix.t(), start), dim=0, eps=self.eps)
            u = F.normalize(torch.mv(matrix, v), dim=0, eps=self.eps)
        if learns:
            self.u.copy_(u.detach())
        return weight / torch.dot(u, torch.mv(matrix, v))


def spectral_norm(layer: Any, settings: Settings) -> Any:
    """Returns the layer, whose weight is now spectrally normalised."""
    # unsafe: the check would make a pass, which moves u.
    parametrize.register_parametrization(
        layer, "weight", SpectralNorm(layer.weight, settings), unsafe=True
    )
    return layer


def conv(
    inputs: int, features: int, side: int, settings: Settings, bias: bool = True
) -> Any:
    """Returns a spectrally normalised convolution that keeps the map's side."""
    layer = nn.Conv2d(inputs, features, side, padding=side // 2, bias=bias)
    nn.init.xavier_uniform_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return spectral_norm(layer, settings)


class Normalization(nn.Module):
    """The moments of batch norm, and their running averages."""

    def __init__(self, features: int, settings: Settings, decay: float) -> None:
        super().__init__()
        self.eps, self.momentum = settings.batch_norm_eps, 1.0 - decay
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))

    def normalized(
        self, x: Tensor, scale: Tensor | None = None, bias: Tensor | None = None
    ) -> Tensor:
        """Returns x, normalised by the moments of the batch."""
        running = (self.running_mean, self.running_var)
        if not torch.is_grad_enabled():
            running = (None, None)
        return F.batch_norm(
            x, *running, scale, bias, True, momentum=self.momentum, eps=self.eps
        )


class BatchNorm(Normalization):
    """Batch norm with one scale and one bias for all classes."""

    def __init__(self, features: int, settings: Settings, decay: float) -> None:
        super().__init__(features, settings, decay)
        self.scale = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, x: Tensor) -> Tensor:
        """Returns [N, C, H, W] for the same."""
        return self.normalized(x, self.scale, self.bias)


class ConditionalBatchNorm(Normalization):
    """Batch norm with a scale and a bias for each class."""

    def __init__(self, features: int, settings: Settings, decay: float) -> None:
        super().__init__(features, settings, decay)
        self.scale = nn.Embedding(settings.num_classes, features)
        self.bias = nn.Embedding(settings.num_classes, features)
        self.offset = 0.0
        if settings.class_tables == "published":
            nn.init.ones_(self.scale.weight)
            nn.init.zeros_(self.bias.weight)
            return
        self.offset = 1.0
        for table in (self.scale, self.bias):
            nn.init.xavier_uniform_(table.weight)
            if settings.class_tables == "one_plus_spectral":
                spectral_norm(table, settings)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Returns [N, C, H, W] for the same, and labels [N]."""
        scale = self.offset + self.scale(labels)
        bias = self.bias(labels)
        return self.normalized(x) * scale[:, :, None, None] + bias[:, :, None, None]


class SelfAttention(nn.Module):
    """The official form: C/8 queries and keys, C/2 values, keys and values pooled."""

    def __init__(self, features: int, settings: Settings) -> None:
        super().__init__()
        self.query = conv(features, features // 8, 1, settings, bias=False)
        self.key = conv(features, features // 8, 1, settings, bias=False)
        self.value = conv(features, features // 2, 1, settings, bias=False)
        self.output = conv(features // 2, features, 1, settings, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Returns x + gamma * attention(x), [N, C, H, W]."""
        query = self.query(x).flatten(2)
        key = F.max_pool2d(self.key(x), 2).flatten(2)
        value = F.max_pool2d(self.value(x), 2).flatten(2)
        weights = torch.softmax(torch.bmm(query.transpose(1, 2), key), dim=-1)
        out = torch.bmm(value, weights.transpose(1, 2))
        out = out.view(out.shape[0], out.shape[1], *x.shape[2:])
        return x + self.gamma * self.output(out)


class GeneratorBlock(nn.Module):
    """Residual block that doubles the side, and the attention that follows it."""

    def __init__(self, inputs: int, block: Block, settings: Settings) -> None:
        super().__init__()
        features, decay = block.features, settings.batch_norm_decay
        self.shortcut = conv(inputs, features, 1, settings)
        self.norm1 = ConditionalBatchNorm(inputs, settings, decay)
        self.conv1 = conv(inputs, features, 3, settings)
        self.norm2 = ConditionalBatchNorm(features, settings, decay)
        self.conv2 = conv(features, features, 3, settings)
        self.attention = attention_after(block, settings)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Returns [N, features, 2H, 2W] for [N, C, H, W]."""
        y = F.relu(self.norm1(x, labels))
        y = self.conv1(F.interpolate(y, scale_factor=2))
        y = F.relu(self.norm2(y, labels))
        y = self.conv2(y) + self.shortcut(F.interpolate(x, scale_factor=2))
        return self.attention(y)


class DiscriminatorBlock(nn.Module):
    """Residual block that halves the side or keeps it, and its attention."""

    def __init__(
        self, inputs: int, block: Block, settings: Settings, *, first: bool
    ) -> None:
        super().__init__()
        features, self.first, self.down = block.features, first, block.resample != ""
        self.shortcut: Any = nn.Identity()
        if first or self.down or inputs != features:
            self.shortcut = conv(inputs, features, 1, settings)
        self.conv1 = conv(inputs, features, 3, settings)
        self.conv2 = conv(features, features, 3, settings)
        self.attention = attention_after(block, settings)

    def forward(self, x: Tensor) -> Tensor:
        """Returns [N, features, H/2, W/2] or [N, features, H, W] for [N, C, H, W]."""
        y = self.conv1(x if self.first else F.relu(x))
        y = self.conv2(F.relu(y))
        if self.first:
            y = F.avg_pool2d(y, 2) + self.shortcut(F.avg_pool2d(x, 2))
        elif self.down:
            y = F.avg_pool2d(y, 2) + F.avg_pool2d(self.shortcut(x), 2)
        else:
            y = y + self.shortcut(x)
        return self.attention(y)


def attention_after(block: Block, settings: Settings) -> Any:
    """Returns the attention of a block, or the identity."""
    return SelfAttention(block.features, settings) if block.attention else nn.Identity()


def dense(inputs: int, features: int, settings: Settings) -> Any:
    """Returns a spectrally normalised linear layer."""
    layer = nn.Linear(inputs, features)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return spectral_norm(layer, settings)


class Generator(nn.Module):
    """Images [N, channels, side, side] in [-1, 1] from z [N, latent_dim] and labels."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        channels = [settings.first, *(b.features for b in settings.generator)]
        self.dense = dense(settings.latent_dim, 16 * channels[0], settings)
        self.blocks = nn.ModuleList(
            GeneratorBlock(inputs, block, settings)
            for inputs, block in zip(channels, settings.generator, strict=False)
        )
        self.norm = BatchNorm(channels[-1], settings, settings.batch_norm_last_decay)
        self.conv = conv(channels[-1], settings.channels, 3, settings)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """Returns the images."""
        x = self.dense(z).view(len(z), -1, 4, 4)
        for block in self.blocks:
            x = block(x, labels)
        return torch.tanh(self.conv(F.relu(self.norm(x))))


class Discriminator(nn.Module):
    """Logits [N] of images [N, channels, side, side] and labels [N]."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        channels = [settings.channels, *(b.features for b in settings.discriminator)]
        self.blocks = nn.ModuleList(
            DiscriminatorBlock(channels[i], block, settings, first=i == 0)
            for i, block in enumerate(settings.discriminator)
        )
        self.dense = dense(channels[-1], 1, settings)
        self.embed = nn.Embedding(settings.num_classes, channels[-1])
        nn.init.xavier_uniform_(self.embed.weight)
        spectral_norm(self.embed, settings)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Returns the logits."""
        x = images
        for block in self.blocks:
            x = block(x)
        pooled = F.relu(x).sum((2, 3))
        return self.dense(pooled)[:, 0] + (pooled * self.embed(labels)).sum(1)


class Trainer:
    """Both networks with their Adams: `d_steps` updates of D, then one of G.

    Args:
      settings: the settings of both.
      channels_last: whether weights and images are stored as NHWC.
      compiled: whether both networks are compiled by torch.compile.
      fused: whether Adam is the fused one, which is not the default on CPUs.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        channels_last: bool = False,
        compiled: bool = False,
        fused: bool = False,
    ) -> None:
        self.settings = settings
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.generator = Generator(settings).to(memory_format=layout)
        self.discriminator = Discriminator(settings).to(memory_format=layout)

        def adam(network: Any, rate: float) -> Any:
            # Betas are floats: an integer 0 raises.
            return torch.optim.Adam(
                network.parameters(),
                lr=rate,
                betas=(float(settings.beta1), float(settings.beta2)),
                eps=settings.eps,
                fused=fused or None,
            )

        self.g_adam = adam(self.generator, settings.generator_lr)
        self.d_adam = adam(self.discriminator, settings.discriminator_lr)
        self.ema = [p.detach().clone() for p in self._averaged()]
        self._g: Any = self.generator
        self._d: Any = self.discriminator
        if compiled:
            self._g, self._d = torch.compile(self._g), torch.compile(self._d)

    def _averaged(self) -> list[Any]:
        return list(self.generator.parameters()) if self.settings.ema_decay else []

    def update_discriminator(
        self,
        real: Tensor,
        labels: Tensor,
        z: Tensor,
        fake_labels: Tensor,
        mark: Callable[[str], None] = lambda _: None,
    ) -> Tensor:
        """Updates D once and returns its hinge loss; `mark` hears of each part done."""
        with torch.no_grad():
            fake = self._g(z, fake_labels)
        mark("D phase: G forward")
        # One call, so that real and fake images are judged by the same weights.
        logits = self._d(torch.cat([real, fake]), torch.cat([labels, fake_labels]))
        on_real, on_fake = logits.chunk(2)
        loss = F.relu(1 - on_real).mean() + F.relu(1 + on_fake).mean()
        mark("D phase: D forward")
        self.d_adam.zero_grad()
        loss.backward()
        mark("D phase: backward")
        self.d_adam.step()
        mark("D phase: Adam")
        return loss.detach()

    def update_generator(
        self,
        z: Tensor,
        labels: Tensor,
        mark: Callable[[str], None] = lambda _: None,
    ) -> Tensor:
        """Updates G and its average once, and returns its hinge loss."""
        self.discriminator.requires_grad_(False)
        fake = self._g(z, labels)
        mark("G phase: G forward")
        loss = -self._d(fake, labels).mean()
        mark("G phase: D forward")
        self.g_adam.zero_grad()
        loss.backward()
        mark("G phase: backward")
        self.g_adam.step()
        mark("G phase: Adam")
        self.discriminator.requires_grad_(True)
        if self.ema:
            with torch.no_grad():
                torch._foreach_lerp_(
                    self.ema, self._averaged(), 1.0 - self.settings.ema_decay
                )
            mark("G phase: average")
        return loss.detach()
