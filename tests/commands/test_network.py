import pytest
import torch

from dali_mixup.commands.network import build_network


@pytest.mark.parametrize(("classes", "size"), [(2, 16), (10, 32), (5, 64), (3, 100), (1000, 224)])
def test_logits_have_a_column_per_class_whatever_the_size(classes, size):
    logits = build_network(classes, size)(torch.rand(2, 3, size, size))
    assert logits.shape == (2, classes)
    assert logits.isfinite().all()


def test_every_parameter_learns():
    torch.manual_seed(0)
    network = build_network(3, 32)
    torch.nn.functional.cross_entropy(network(torch.rand(6, 3, 32, 32)), torch.arange(6) % 3).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.parameters())


def test_a_larger_image_costs_about_as_much_as_a_small_one():
    """The first layer brings it down, so that the layers behind it see maps of one size."""
    seen = {}
    for size in (32, 64, 128):
        network = build_network(3, size)
        network[0].register_forward_hook(lambda _module, _in, out, size=size: seen.update({size: out.shape[2:]}))
        network.eval()(torch.rand(1, 3, size, size))
    assert seen == dict.fromkeys((32, 64, 128), (32, 32))
