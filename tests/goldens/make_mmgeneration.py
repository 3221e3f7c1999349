"""Makes ports/mmgeneration_32.pth and its images, with PyTorch and nothing else.

    python tests/goldens/make_mmgeneration.py

A SAGAN of 32 pixels in the names and with the habits of mmgeneration, written for this
test after a reading of `open-mmlab/mmagic:mmagic/models/editors/sagan`. It is trained
for some steps, so that u and v are those of earlier weights, as in any checkpoint. The
average is one of all tensors, also of u, v and running statistics, as their hook makes
it. Their images have blue first.
"""

import collections
import copy
import pathlib

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils import spectral_norm

CLASSES, LATENT, BASE, STEPS = 6, 12, 16, 12
HERE = pathlib.Path(__file__).parent / "ports"


class Conv(nn.Module):
    """A convolution under the name `conv`, as their ConvModule has it."""

    def __init__(self, inputs, outputs, side, bias=True):
        super().__init__()
        conv = nn.Conv2d(inputs, outputs, side, padding=side // 2, bias=bias)
        self.conv = spectral_norm(conv)

    def forward(self, x):
        return self.conv(x)


class Attention(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.gamma = nn.Parameter(torch.tensor(0.4))
        self.theta = Conv(channels, channels // 8, 1, bias=False)
        self.phi = Conv(channels, channels // 8, 1, bias=False)
        self.g = Conv(channels, channels // 2, 1, bias=False)
        self.o = Conv(channels // 2, channels, 1, bias=False)

    def forward(self, x, labels=None):
        query = self.theta(x).flatten(2)
        key = F.max_pool2d(self.phi(x), 2).flatten(2)
        value = F.max_pool2d(self.g(x), 2).flatten(2)
        weights = torch.einsum("ncq,nck->nqk", query, key).softmax(-1)
        seen = torch.einsum("nqk,nck->ncq", weights, value)
        return x + self.gamma * self.o(seen.unflatten(2, x.shape[2:]))


class Norm(nn.Module):
    """Batch norm with 1 + a scale, and a bias, of the label's row."""

    def __init__(self, channels):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, eps=1e-4, affine=False)
        self.weight_embedding = spectral_norm(nn.Embedding(CLASSES, channels))
        self.bias_embedding = spectral_norm(nn.Embedding(CLASSES, channels))

    def forward(self, x, labels):
        scale = 1 + self.weight_embedding(labels)[:, :, None, None]
        return self.norm(x) * scale + self.bias_embedding(labels)[:, :, None, None]


def doubled(x):
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


class Up(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm_1, self.norm_2 = Norm(channels), Norm(channels)
        self.conv_1 = Conv(channels, channels, 3)
        self.conv_2 = Conv(channels, channels, 3)
        self.shortcut = Conv(channels, channels, 1)

    def forward(self, x, labels):
        y = self.conv_1(doubled(self.norm_1(x, labels).relu()))
        y = self.conv_2(self.norm_2(y, labels).relu())
        return y + self.shortcut(doubled(x))


class ToRGB(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = spectral_norm(nn.Conv2d(channels, 3, 3, padding=1))
        self.bn = nn.BatchNorm2d(channels, eps=1e-4)

    def forward(self, x):
        return self.conv(self.bn(x).relu())


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.noise2feat = spectral_norm(nn.Linear(LATENT, 16 * BASE))
        blocks = [Up(BASE), Up(BASE), Attention(BASE), Up(BASE)]
        self.conv_blocks = nn.ModuleList(blocks)
        self.to_rgb = ToRGB(BASE)

    def forward(self, z, labels):
        x = self.noise2feat(z).reshape(len(z), BASE, 4, 4)
        for block in self.conv_blocks:
            x = block(x, labels)
        return self.to_rgb(x).tanh()


class Head(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv_1, self.conv_2 = Conv(3, channels, 3), Conv(channels, channels, 3)
        self.shortcut = Conv(3, channels, 1)

    def forward(self, x):
        y = self.conv_2(self.conv_1(x).relu())
        return F.avg_pool2d(y, 2) + self.shortcut(F.avg_pool2d(x, 2))


class Down(nn.Module):
    def __init__(self, channels, halves, in_place):
        super().__init__()
        self.conv_1 = Conv(channels, channels, 3)
        self.conv_2 = Conv(channels, channels, 3)
        self.halves, self.in_place = halves, in_place
        if halves:
            self.shortcut = Conv(channels, channels, 1)

    def forward(self, x):
        y = x.relu()
        x = y if self.in_place else x
        y = self.conv_2(self.conv_1(y).relu())
        if self.halves:
            y, x = F.avg_pool2d(y, 2), F.avg_pool2d(self.shortcut(x), 2)
        return x + y


class Discriminator(nn.Module):
    def __init__(self, in_place=False):
        super().__init__()
        self.from_rgb = Head(BASE)
        downs = [Down(BASE, halves, in_place) for halves in (True, False, False)]
        self.conv_blocks = nn.ModuleList([Attention(BASE), *downs])
        self.decision = spectral_norm(nn.Linear(BASE, 1))
        self.proj_y = spectral_norm(nn.Embedding(CLASSES, BASE))

    def forward(self, x, labels):
        x = self.from_rgb(x)
        for block in self.conv_blocks:
            x = block(x)
        x = x.relu().sum((2, 3))
        return (self.decision(x) + (self.proj_y(labels) * x).sum(1, keepdim=True))[:, 0]


def train(generator, discriminator):
    """Trains both a little; returns the average of the generator and an optimizer."""
    average = copy.deepcopy(generator)
    g_adam = torch.optim.Adam(generator.parameters(), 2e-3, (0.0, 0.99))
    d_adam = torch.optim.Adam(discriminator.parameters(), 2e-3, (0.0, 0.99))
    for _ in range(STEPS):
        labels = torch.randint(CLASSES, (8,))
        real = torch.rand(8, 3, 32, 32) * 2 - 1
        fake = generator(torch.randn(8, LATENT), labels)
        d_loss = (1 - discriminator(real, labels)).relu().mean()
        d_loss = d_loss + (1 + discriminator(fake.detach(), labels)).relu().mean()
        d_adam.zero_grad()
        d_loss.backward()
        d_adam.step()
        g_adam.zero_grad()
        (-discriminator(fake, labels).mean()).backward()
        g_adam.step()
        with torch.no_grad():
            for old, new in zip(
                average.state_dict().values(),
                generator.state_dict().values(),
                strict=True,
            ):
                old.copy_(0.6 * old + 0.4 * new)
    return average, g_adam


def main():
    torch.manual_seed(7)
    torch.set_num_threads(1)
    generator, discriminator = Generator(), Discriminator()
    average, adam = train(generator, discriminator)
    in_place = Discriminator(in_place=True)
    in_place.load_state_dict(discriminator.state_dict())
    networks = {
        "generator": generator,
        "generator_ema": average,
        "discriminator": discriminator,
    }
    state_dict = collections.OrderedDict(
        (f"{name}.{key}", value)
        for name, network in networks.items()
        for key, value in network.eval().state_dict().items()
    )
    in_place.eval()
    meta = {"mmgen_version": "0.7.2", "iter": STEPS, "best": np.float64(1.5)}
    meta |= {"config": "model = dict(type='SAGAN')", "seen": np.arange(3)}
    optimizer = {"generator": adam.state_dict()["param_groups"]}
    torch.save(
        {"meta": meta, "state_dict": state_dict, "optimizer": optimizer},
        HERE / "mmgeneration_32.pth",
    )
    z, labels = torch.randn(5, LATENT), torch.tensor([0, 5, 3, 1, 3])
    with torch.no_grad():
        images = generator(z, labels)
        found = {
            "z": z,
            "y": labels,
            "images_live": images.permute(0, 2, 3, 1),
            "images": average(z, labels).permute(0, 2, 3, 1),
            "logits": discriminator(images, labels),
            "logits_rectified": in_place(images, labels),
        }
    arrays = {name: value.contiguous().numpy() for name, value in found.items()}
    np.savez_compressed(HERE / "mmgeneration_32.npz", **arrays)


if __name__ == "__main__":
    main()
