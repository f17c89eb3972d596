import pytest
from torchvision import transforms as theirs

from dali_mixup.transforms.policies import POLICIES


@pytest.mark.parametrize("policy", ["imagenet", "cifar10", "svhn"])
def test_policies_are_torchvisions(policy):
    expected = theirs.AutoAugment(theirs.AutoAugmentPolicy(policy)).policies
    assert POLICIES[policy] == tuple(tuple((name, p, place or 0) for name, p, place in pair) for pair in expected)
