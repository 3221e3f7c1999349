"""The model card of a folder: README.md, in Markdown with the header of the hub."""

import base64
import dataclasses
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import sagan_jax
from sagan_jax.config import SAME, Config
from sagan_jax.evaluation import results as results_lib
from sagan_jax.files import names

MOST_RESULTS = 20
"""Most lines of results.jsonl on a card; the newest are kept."""

MOST_CLASSES = 200
"""Most names of classes on a card."""

_HEADER = """\
---
library_name: sagan_jax
pipeline_tag: unconditional-image-generation
tags:
- gan
- sagan
- self-attention
- jax
- flax
---
"""

_USE = """\
## Use

```python
import jax
import jax.numpy as jnp
import sagan_jax

# FOLDER is this folder; hf://OWNER/NAME downloads it from the hub.
generator, variables, config = sagan_jax.load("FOLDER")
z = jax.random.normal(jax.random.key(0), (8, {latent}))
labels = {labels}
images = generator.apply(variables, z, labels, train=False)  # {shape} in [-1, 1]
```

```sh
python launch.py --mode sample --workdir FOLDER --to images --count 1000
python launch.py --mode evaluate --workdir FOLDER --evaluation.reference REAL_IMAGES
```
"""


@dataclasses.dataclass(frozen=True, eq=False)
class Facts:
    """What a card tells.

    Attributes:
      config: the config of the folder.
      step: the step of the checkpoint.
      averaged: whether the generator is the moving average.
      has_live: whether the generator before averaging is there too.
      checkpoint: the sha256 of the checkpoint's manifest; '' if unknown.
      parameters: number of parameters of the generator and the discriminator.
      classes: the name of each class, by label; () if unknown.
      results: the lines of results.jsonl about the checkpoint.
      sheet: a WebP picture of samples.
    """

    config: Config
    step: int
    averaged: bool
    has_live: bool
    checkpoint: str
    parameters: tuple[int, int]
    classes: Sequence[str]
    results: Sequence[dict[str, Any]]
    sheet: bytes


def text(facts: Facts, digest: str) -> str:
    """Returns the card; `digest` is the sha256 of model.safetensors.

    The sheet is part of the text, so that the folder holds no further file. Viewers
    that drop such pictures show its caption, which tells how to draw it again.
    """
    config = facts.config
    model = config.model
    side = f"{model.resolution} x {model.resolution} px"
    kind = f"{model.num_classes} classes" if model.num_classes else "no classes"
    sheet = base64.b64encode(facts.sheet).decode()
    n, c = 8, model.channels
    labels = f"jnp.arange(8) % {model.num_classes}" if model.num_classes else "None"
    use = _USE.format(
        latent=model.latent_dim,
        labels=labels,
        shape=f"[{n}, {model.resolution}, {model.resolution}, {c}]",
    )
    if not model.num_classes:
        use = use.replace("import jax.numpy as jnp\n", "")
    caption = (
        f"Samples at seed {config.evaluation.seed}. If no picture is shown here, draw "
        "it with `python launch.py --mode sample --workdir FOLDER`."
    )
    parts = [
        f"{_HEADER}\n# {_plain(config.name)}\n",
        f"A Self-Attention GAN ([SAGAN](https://arxiv.org/abs/1805.08318)) that draws "
        f"images of {side}, {kind}. Trained with sagan_jax, a library for JAX and "
        "Flax.\n",
        f"![Samples](data:image/webp;base64,{sheet})\n\n*{caption}*\n",
        "## Results\n\n" + "\n".join(_results(facts.results)) + "\n",
        use,
        "## Model\n\n" + "\n".join(_model(facts, digest)) + "\n",
    ]
    if facts.classes:
        parts.append("## Classes\n\n" + "\n".join(_classes(facts.classes)) + "\n")
    return "\n".join(parts)


def _results(lines: Sequence[dict[str, Any]]) -> Iterator[str]:
    if not lines:
        yield "This checkpoint was not scored."
        return
    lines = lines[-MOST_RESULTS:]
    yield "| score | value | protocol | images | truncation | reference |"
    yield "|---|---|---|---|---|---|"
    for line in lines:
        where = [
            line.get("protocol", ""),
            line.get("num_samples", ""),
            line.get("truncation", 0) or "none",
            line.get("reference", "") or "none",
        ]
        for name, value in results_lib.scores_of(line).items():
            cells = [name, f"{value:.4g}", *where]
            yield "| " + " | ".join(_plain(cell) for cell in cells) + " |"
    yield ""
    yield (
        "Values of other protocols, numbers of images or references do not compare. "
        "Each line below is all that is needed to repeat one measurement.\n"
    )
    yield "<details><summary>Lines of results.jsonl</summary>\n"
    yield "```json"
    # No fence can be closed from inside: JSON may write a backtick as an escape.
    yield from (json.dumps(line).replace("`", "\\u0060") for line in lines)
    yield "```\n\n</details>"


def _model(facts: Facts, digest: str) -> Iterator[str]:
    config, model, data = facts.config, facts.config.model, facts.config.data
    g, d = facts.parameters
    which = "the moving average of the parameters" if facts.averaged else "live"
    if facts.averaged and facts.has_live:
        which += ", and the live parameters next to it"
    images = data.dataset if data.source == "tfds" else data.source
    yield f"- parameters: {g:,} in the generator, {d:,} in the discriminator"
    yield f"- generator: {which}, with `u` of its own kernels and running statistics"
    yield f"- latent: {model.latent_dim} values of a standard normal distribution"
    for network in ("generator", "discriminator"):
        sides = getattr(model, f"{network}_attention_resolutions")
        sides = model.attention_resolutions if sides == SAME else sides
        if sides:
            shown = ", ".join(map(str, sides))
            block = _plain(model.attention_block)
            yield f"- {block} in the {network}: on maps of side {shown}"
    yield (
        f"- training: step {facts.step:,} of {config.train.steps:,}, batch "
        f"{config.train.batch_size}, {_plain(config.train.loss)} loss, learning rates "
        f"{config.optim.generator_lr:g} (G) and {config.optim.discriminator_lr:g} (D)"
    )
    yield f"- images: {_plain(images)}"
    yield f"- sagan_jax {sagan_jax.__version__}"
    if facts.checkpoint:
        yield f"- sha256 of the checkpoint's manifest: `{facts.checkpoint}`"
    yield f"- sha256 of `model.safetensors`: `{digest}`"


def _classes(classes: Sequence[str]) -> Iterator[str]:
    for label, name in enumerate(classes[:MOST_CLASSES]):
        yield f"- {label}: {_plain(name)}"
    if len(classes) > MOST_CLASSES:
        yield f"- and {len(classes) - MOST_CLASSES} more"


def _plain(value: object) -> str:
    """Returns text that Markdown and HTML show as it is, on one line."""
    shown = names.shown(value)[:200]
    shown = shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]()#|!~$])", r"\\\1", shown)
