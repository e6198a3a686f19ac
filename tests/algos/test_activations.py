"""The quick hyperbolic tangent: its values, its gradient, and where it stands."""

from __future__ import annotations

import torch as th
from torch import nn

from racing.algos.activations import QuickTanh, quicken


def test_it_is_the_hyperbolic_tangent():
    x = th.cat([th.linspace(-30, 30, 100_001), th.tensor([0.0, -0.0, 1e-20, 1e20, -1e20])])
    for grad in (True, False):
        with th.set_grad_enabled(grad):
            assert (QuickTanh()(x).double() - th.tanh(x.double())).abs().max() < 2e-7


def test_its_gradient_is_that_of_the_hyperbolic_tangent():
    x, weight = th.linspace(-5, 5, 1001), th.rand(1001)
    gradients = []
    for module in (QuickTanh(), nn.Tanh()):
        at = x.clone().requires_grad_()
        (module(at) * weight).sum().backward()
        gradients.append(at.grad)
    assert (gradients[0] - gradients[1]).abs().max() < 1e-6
    assert th.autograd.gradcheck(QuickTanh(), x[::100].double().requires_grad_())


def test_it_takes_the_place_of_tanh_alone_at_any_depth():
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Sequential(nn.Hardtanh(), nn.Tanh()), nn.ReLU())
    names = list(net.state_dict())
    quicken(net)
    kinds = [type(module) for module in net.modules()]
    assert kinds == [nn.Sequential, nn.Linear, QuickTanh, nn.Sequential, nn.Hardtanh, QuickTanh, nn.ReLU]
    assert list(net.state_dict()) == names
