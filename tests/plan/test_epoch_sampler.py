"""The order that a Loader shows as its sampler is the one that it delivers."""

from tests.plan.loaders import flat, loader


def test_without_a_sampler_the_loader_shows_its_own_order(numbered):
    for options in ({"shuffle": True}, {}, {"shuffle": True, "drop_last": True}, {"shuffle": True, "shard": (1, 2)}):
        made = loader(numbered, **options)
        for _ in range(2):
            expected = list(made.sampler)
            assert len(made.sampler) == len(expected)
            assert flat(made) == expected
    made.sampler.set_epoch(7)
    assert made.next_epoch == 7
