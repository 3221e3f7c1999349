"""Two folders of images, and torch-fidelity's scores of them (two_folders.json).

Run as a script where torch-fidelity is installed it makes the golden again:
`PYTHONPATH=.:tests python tests/golden_two_folders.py`. The weights are those of
inception_recipe, so that nothing is downloaded; images have two sizes, one not square.
"""

import json
import pathlib
import tempfile

import numpy as np
from inception_recipe import arrays
from PIL import Image

PATH = pathlib.Path(__file__).parent / "goldens" / "two_folders.json"
COUNTS = {"real": 40, "fake": 30}
TAPS = ("192", "2048")
_SIZES = {"real": ((48, 48), (60, 36)), "fake": ((48, 48), (36, 60))}


def values():
    """Returns the scores of torch-fidelity by tap and metric."""
    return json.loads(PATH.read_text("utf-8"))["values"]


def images(side):
    """Returns the images of a set; integer arithmetic only, for reproducibility."""
    r = np.random.RandomState(len(side) + ord(side[0]))
    found = []
    for index in range(COUNTS[side]):
        height, width = _SIZES[side][index % 3 == 2]
        blocks = r.randint(0, 256, (height // 12, width // 12, 3))
        # Every other fake is darker, so only some are close to the real images.
        if side == "fake" and index % 2:
            blocks = 3 * blocks // 4
        image = blocks.repeat(12, axis=0).repeat(12, axis=1)
        image += r.randint(-20, 21, (height, width, 3))
        found.append(image.clip(0, 255).astype(np.uint8))
    return found


def write(root):
    """Writes both folders and returns their paths, real first."""
    for side in COUNTS:
        (root / side).mkdir()
        for index, image in enumerate(images(side)):
            Image.fromarray(image).save(root / side / f"{index:03}.png")
    return str(root / "real"), str(root / "fake")


def _measure(root):
    import torch
    import torch_fidelity

    weights = {name: torch.tensor(array) for name, array in arrays().items()}
    torch.save(weights, root / "weights.pth")
    real, fake = write(root)
    found = {}
    for tap in TAPS:
        found[tap] = torch_fidelity.calculate_metrics(
            input1=fake,
            input2=real,
            isc=True,
            fid=True,
            kid=True,
            prc=True,
            feature_extractor="inception-v3-compat",
            feature_extractor_weights_path=str(root / "weights.pth"),
            feature_layer_fid=tap,
            feature_layer_kid=tap,
            feature_layer_prc=tap,
            kid_subset_size=min(COUNTS.values()),
            batch_size=1,  # torch-fidelity cannot stack images of several sizes
            cuda=False,
            cache=False,
            verbose=False,
        )
    return found


def _main():
    from importlib.metadata import version

    packages = ("torch-fidelity", "torch", "numpy", "scipy", "pillow")
    with tempfile.TemporaryDirectory() as root:
        found = _measure(pathlib.Path(root))
    text = {"made_with": {name: version(name) for name in packages}, "values": found}
    PATH.write_text(json.dumps(text, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    _main()
