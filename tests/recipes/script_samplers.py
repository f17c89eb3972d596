"""Samplers with the arguments and rules of those in public scripts, in words of our own."""

import math

import torch


class RASampler(torch.utils.data.Sampler):
    """Repeated augmentation, as in torchvision's references/classification.

    Each of an epoch's first images comes as often as `repetitions`, on other ranks the other ones.
    """

    def __init__(self, dataset, num_replicas, rank, shuffle=True, seed=0, repetitions=3):
        self.dataset, self.num_replicas, self.rank, self.epoch = dataset, num_replicas, rank, 0
        self.shuffle, self.seed, self.repetitions = shuffle, seed, repetitions
        self.num_samples = math.ceil(len(dataset) * repetitions / num_replicas)
        self.total_size = self.num_samples * num_replicas
        self.num_selected_samples = math.ceil(len(dataset) / num_replicas)

    def __iter__(self):
        order = list(range(len(self.dataset)))
        if self.shuffle:
            generator = torch.Generator()
            generator.manual_seed(self.seed + self.epoch)
            order = torch.randperm(len(self.dataset), generator=generator).tolist()
        indices = [number for number in order for _ in range(self.repetitions)]
        indices += indices[: self.total_size - len(indices)]
        return iter(indices[self.rank : self.total_size : self.num_replicas][: self.num_selected_samples])

    def __len__(self):
        return self.num_selected_samples

    def set_epoch(self, epoch):
        self.epoch = epoch


class DeiTSampler(RASampler):
    """DeiT's RASampler: no seed of its own, and an epoch is a multiple of 256 images."""

    def __init__(self, dataset, num_replicas, rank, shuffle=True):
        super().__init__(dataset, num_replicas, rank, shuffle)
        self.num_selected_samples = math.floor(len(dataset) // 256 * 256 / num_replicas)
