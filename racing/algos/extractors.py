"""What policies see with: convolutions over raw frames, fused with telemetry. Everything between the environment's
bytes and the features is in here, so that it is in the exported file, too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch as th
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from racing.errors import require, require_number

Array = npt.NDArray[Any]
VISION = "vision"  # key of the frames in a Dict observation; everything beside it is a vector


class VisionExtractor(BaseFeaturesExtractor):
    """Dict(vision (H, W, C) uint8, telemetry (T,) float32, ...) -> (N, features_dim).

    cnn: nature (Mnih et al. 2015: 32 8x8/4, 64 4x4/2, 64 3x3/1), small (16 8x8/4, 32 4x4/2, 32 3x3/2, a fifth of the
    work), impala (Espeholt et al. 2018: three residual stacks of 16, 32, 32). low_precision: convolutions in bfloat16.
    """

    def __init__(
        self, observation_space: spaces.Dict, features_dim: int = 256, cnn: str = "nature", low_precision: bool = False
    ) -> None:
        """Raises InputError for an unknown cnn, or frames that are too small for it."""
        super().__init__(observation_space, features_dim)
        require(cnn in CNNS, f"algo.cnn must be one of {', '.join(CNNS)}, got {cnn!r}; choose one")
        height, width, channels = observation_space[VISION].shape
        self.low_precision = low_precision
        try:
            self.cnn = CNNS[cnn](channels)
            with th.no_grad():
                size = self.cnn(th.zeros(1, channels, height, width)).shape[1]
        except RuntimeError:
            smallest = "36 for nature, 32 for small, 8 for impala"
            rule = f"env.width and env.height must be at least {smallest}, got {width} x {height} for algo.cnn={cnn}"
            require(False, f"{rule}; enlarge them or choose another cnn")
        self.vectors = [key for key in observation_space.spaces if key != VISION]
        numbers = sum(observation_space[key].shape[0] for key in self.vectors)
        self.fuse = nn.Sequential(nn.Linear(size + numbers, features_dim), nn.ReLU())

    def forward(self, observations: dict[str, th.Tensor]) -> th.Tensor:
        """vision (N, H, W, C), bytes or the same numbers as floats; the others (N, T)."""
        frames = observations[VISION].permute(0, 3, 1, 2)
        if self.low_precision and not th.jit.is_tracing():
            with th.autocast(frames.device.type, th.bfloat16):
                seen = self.cnn(scaled(frames, th.bfloat16)).float()
        else:
            seen = self.cnn(scaled(frames, th.float32))
        return self.fuse(th.cat([seen, *(observations[key] for key in self.vectors)], dim=1))


def scaled(frames: th.Tensor, dtype: th.dtype) -> th.Tensor:
    """0 .. 255 to 0 .. 1, laid out as convolutions read fastest."""
    return frames.to(dtype=dtype, memory_format=th.channels_last) * (1 / 255)


def nature(channels: int) -> nn.Module:
    """Mnih et al. 2015."""
    return nn.Sequential(
        nn.Conv2d(channels, 32, 8, 4),
        nn.ReLU(),
        nn.Conv2d(32, 64, 4, 2),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, 1),
        nn.ReLU(),
        nn.Flatten(),
    )


def small(channels: int) -> nn.Module:
    """Half the channels, and a stride more."""
    return nn.Sequential(
        nn.Conv2d(channels, 16, 8, 4),
        nn.ReLU(),
        nn.Conv2d(16, 32, 4, 2),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, 2),
        nn.ReLU(),
        nn.Flatten(),
    )


class Residual(nn.Module):
    """Two 3x3 convolutions beside the identity."""

    def __init__(self, channels: int) -> None:
        """channels: in and out."""
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: th.Tensor) -> th.Tensor:
        """(N, channels, H, W)."""
        return x + self.layers(x)


def impala(channels: int) -> nn.Module:
    """Espeholt et al. 2018, the convolutional part."""
    layers: list[nn.Module] = []
    for width in (16, 32, 32):
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.MaxPool2d(3, 2, padding=1)]
        layers += [Residual(width), Residual(width)]
        channels = width
    return nn.Sequential(*layers, nn.ReLU(), nn.Flatten())


CNNS: dict[str, Any] = {"nature": nature, "small": small, "impala": impala}


def vision_kwargs(space: spaces.Dict, cnn: str, features_dim: Any, precision: str, device: str) -> dict[str, Any]:
    """What Stable-Baselines3's policies take as policy_kwargs for frames. Raises InputError for values off range.

    precision: float32, bfloat16, or auto: the one that the hardware is faster with.
    """
    known = ("auto", "float32", "bfloat16")
    require(precision in known, f"algo.precision must be one of {', '.join(known)}, got {precision!r}; choose one")
    require_number("algo.features_dim", features_dim, 1, 65_536, whole=True)
    low = precision == "bfloat16" or (precision == "auto" and gains_by_bfloat16(device))
    return {
        "features_extractor_class": VisionExtractor,
        "features_extractor_kwargs": {"features_dim": features_dim, "cnn": cnn, "low_precision": low},
        "normalize_images": False,  # the extractor scales; raw bytes go in
    }


def gains_by_bfloat16(device: str) -> bool:
    """Whether the hardware multiplies bfloat16 natively: faster, and the only reason to use it."""
    if device.startswith("cuda"):
        return bool(th.cuda.is_available() and th.cuda.get_device_capability()[0] >= 8)
    return bool(th.cpu._is_avx512_bf16_supported() or th.cpu._is_amx_tile_supported())


def use_float32(policy: Any) -> None:
    """Switch the low precision of a torch policy off that learning may have used: exported files have none."""
    for module in policy.modules():
        if getattr(module, "low_precision", False):
            module.low_precision = False


def frames_back(age: Array, frame_stack: int) -> Array:
    """(..., k) how many frames before the newest one each frame of a stack was taken, oldest first; k = frame_stack.

    age: (...) frames of the episode before the newest one. An episode begins with k copies of its first frame.
    """
    return np.minimum(np.arange(frame_stack)[::-1], age[..., None])


def newest_frame(vision: Array, frame_stack: int) -> Array:
    """(N, C, H, W) the newest frame of stacks (N, H, W, k * C), channels first."""
    channels = vision.shape[-1] // frame_stack
    return vision.transpose(0, 3, 1, 2)[:, -channels:]
