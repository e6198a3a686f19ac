"""SAC's policy with critics that are computed as one, and layer-normalized."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch as th
from stable_baselines3.common.policies import BaseModel
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.sac.policies import SACPolicy
from torch import nn


class StackedLinear(nn.Module):
    """C linear layers side by side: (C, B, in) -> (C, B, out)."""

    def __init__(self, count: int, inputs: int, outputs: int) -> None:
        """Weights begin as those of torch.nn.Linear."""
        super().__init__()
        bound = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(th.empty(count, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(th.empty(count, 1, outputs).uniform_(-bound, bound))

    def forward(self, x: th.Tensor) -> th.Tensor:
        """x: (C, B, in)."""
        return th.baddbmm(self.bias, x, self.weight)


class StackedLayerNorm(nn.Module):
    """Layer normalization (Ba et al. 2016, arXiv 1607.06450) in each of C networks: (C, B, F) -> (C, B, F)."""

    def __init__(self, count: int, size: int) -> None:
        """size: F."""
        super().__init__()
        self.weight, self.bias = nn.Parameter(th.ones(count, 1, size)), nn.Parameter(th.zeros(count, 1, size))

    def forward(self, x: th.Tensor) -> th.Tensor:
        """x: (C, B, F)."""
        return th.addcmul(self.bias, nn.functional.layer_norm(x, x.shape[-1:]), self.weight)


class StackedCritics(BaseModel):
    """C action-value functions Q(s, a) of the same shape, in place of Stable-Baselines3's ContinuousCritic.

    All of them take the same input, so that each layer is one batched product for all.
    """

    features_extractor: BaseFeaturesExtractor

    def __init__(
        self,
        observation_space: Any,
        action_space: Any,
        net_arch: Sequence[int],
        features_extractor: BaseFeaturesExtractor,
        features_dim: int,
        activation_fn: type[nn.Module] = nn.ReLU,
        normalize_images: bool = True,
        n_critics: int = 2,
        share_features_extractor: bool = False,
        layer_norm: bool = True,
    ) -> None:
        """layer_norm: normalize every hidden layer before its activation. The others as ContinuousCritic."""
        super().__init__(
            observation_space,
            action_space,
            features_extractor=features_extractor,
            normalize_images=normalize_images,
        )
        self.n_critics = n_critics
        layers: list[nn.Module] = []
        inputs = features_dim + action_space.shape[0]
        for size in net_arch:
            layers += [StackedLinear(n_critics, inputs, size)]
            layers += [StackedLayerNorm(n_critics, size)] if layer_norm else []
            layers += [activation_fn()]
            inputs = size
        self.layers = nn.Sequential(*layers, StackedLinear(n_critics, inputs, 1))

    def forward(self, obs: Any, actions: th.Tensor) -> tuple[th.Tensor, ...]:
        """C values (B, 1), as ContinuousCritic."""
        return tuple(self.values(self.features(obs), actions)[..., None])

    def features(self, obs: Any) -> th.Tensor:
        """(B, features_dim) features of observations."""
        return self.extract_features(obs, self.features_extractor)

    def values(self, features: th.Tensor, actions: th.Tensor) -> th.Tensor:
        """(C, B) values of actions (B, A)."""
        x = th.cat([features, actions], dim=1)
        return self.layers(x.expand(self.n_critics, *x.shape)).squeeze(-1)


class StackedSACPolicy(SACPolicy):
    """Stable-Baselines3's policy of SAC with StackedCritics, for vectors and for Dict observations.

    layer_norm: normalize the critics' hidden layers
    """

    def __init__(self, *arguments: Any, layer_norm: bool = True, **named: Any) -> None:
        """See the class."""
        self._layer_norm = layer_norm
        super().__init__(*arguments, **named)

    def make_critic(self, features_extractor: BaseFeaturesExtractor | None = None) -> Any:
        """See SACPolicy."""
        named = self._update_features_extractor(self.critic_kwargs, features_extractor)
        return StackedCritics(**named, layer_norm=self._layer_norm).to(self.device)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), "layer_norm": self._layer_norm}
