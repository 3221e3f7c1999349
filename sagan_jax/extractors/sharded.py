"""Runs a network on uint8 images, over all devices of this process."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray

from sagan_jax.extractors import host_resize, preprocessing
from sagan_jax.extractors.preprocessing import Batch

Features = dict[str, NDArray[np.float32]]


class Sharded:
    """Computes features by a network from uint8 images of any size.

    The network is compiled once: all passes have the same shape, and the last one is
    padded. The resize is compiled once per image size; lists of images with several
    sizes are resized on the host. Each device runs the same program on its own images,
    so the number of devices does not change the features.

    Attributes:
      taps: names of the features.
      batch_size: images per pass, over all devices.
      provenance: what the features depend on.
    """

    def __init__(
        self,
        network: Callable[..., Any],
        *,
        taps: Sequence[str],
        provenance: dict[str, Any],
        on_host: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
        compiled: Callable[[jax.Array], jax.Array] | None,
        batch_size: int,
        on_cpu: int,
        on_accelerator: int,
        devices: Sequence[jax.Device] | None,
    ) -> None:
        """Finds the devices; `hold` gives the network its variables.

        Args:
          network: maps variables and inputs [N, S, S, 3] to {tap: [N, d]}.
          taps: names of the features.
          provenance: what the features depend on.
          on_host: the input [S, S, 3] of one image, by NumPy or Pillow.
          compiled: inputs of a batch of images of one size, or None if there is only
            the form on the host.
          batch_size: images per pass on each device; 0 chooses one of the next two.
          on_cpu: images per pass on a CPU.
          on_accelerator: images per pass on an accelerator.
          devices: devices of this process; None means all of them.
        """
        self.taps = tuple(taps)
        self.provenance = provenance
        devices = list(devices or jax.local_devices())
        usual = on_cpu if devices[0].platform == "cpu" else on_accelerator
        self.batch_size = (batch_size or usual) * len(devices)
        mesh = Mesh(np.asarray(devices), ("images",), axis_types=(AxisType.Auto,))
        # A batch is split over devices; the weights are copied to each.
        self._split = NamedSharding(mesh, PartitionSpec("images"))
        self._copied = NamedSharding(mesh, PartitionSpec())
        self._variables: Any = None
        # Two programs: image sizes vary, and the network takes long to compile.
        self._on_host = on_host
        self._prepare = (
            None if compiled is None else jax.jit(compiled, out_shardings=self._split)
        )
        self._network = jax.jit(network, out_shardings=self._split)

    def copied(self, array: Any) -> Any:
        """Returns an array, or a tree of them, with a copy on each device."""
        return jax.device_put(array, self._copied)

    def hold(self, params: Any) -> None:
        """Sets the parameters of the network, which `copied` has put on the devices."""
        self._variables = {"params": params}

    def __call__(self, images: Batch) -> Features:
        """Returns {tap: float32 [n, d]} for uint8 images [n, H, W, 3], or for a list.

        Raises:
          UserError: invalid images.
        """
        images = preprocessing.check_batch(images)
        parts: list[Features] = []
        running = None
        for begin in range(0, len(images), self.batch_size):
            # Fetch a pass while the next one computes.
            started = self._start(images[begin : begin + self.batch_size])
            if running is not None:
                parts.append(jax.device_get(running))
            running = started
        parts.append(jax.device_get(running))
        return {
            tap: np.concatenate([part[tap] for part in parts])[: len(images)]
            for tap in self.taps
        }

    def _start(self, images: Batch) -> Mapping[str, jax.Array]:
        if self._prepare is None or isinstance(images, list):
            inputs = self._put(host_resize.in_threads(images, self._on_host))
        else:
            inputs = self._prepare(self._put(images))
        return self._network(self._variables, inputs)

    def _put(self, images: NDArray[Any]) -> jax.Array:
        # Padding keeps one shape, and with it one compiled program.
        missing = self.batch_size - len(images)
        if missing:
            images = np.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0)))
        return jax.device_put(images, self._split)
