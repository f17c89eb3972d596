"""A batch of DALI's is read by torch's kernels before its memory is used again, and the host waits for nothing."""

import ctypes
import random

import pytest
import torch

from dali_mixup.decode.output import MOST_UNREAD, GpuOutput
from tests.decode.fake_cuda import CountingGraph, FakeGpu, FakeStream

DEVICE = torch.device("cuda", 1)


@pytest.fixture
def gpu(monkeypatch):
    return FakeGpu(monkeypatch)


def consume(gpu, output, graph, seen):
    """A step of a consumer: a batch, and a kernel that reads it, some time."""
    output.drop_read()
    (images,) = output.run(graph)
    memory = images.numpy()  # a kernel knows an address, and owns nothing
    gpu.stream.launch(lambda address=memory.ctypes.data: seen.append(read(address)))
    del images, memory
    output.release()


def read(address):
    return ctypes.c_uint8.from_address(address).value


@pytest.mark.parametrize("seed", range(20))
def test_no_batch_is_written_over_before_it_was_read(gpu, seed):
    chosen, seen = random.Random(seed), []
    output, graph = GpuOutput(DEVICE), CountingGraph(gpu)
    for _ in range(30):
        consume(gpu, output, graph, seen)
        gpu.stream.work(chosen.choice([0, 0, 1, 2, 3, 9]))
    gpu.stream.work()
    assert seen == list(range(30))
    assert gpu.blocks <= MOST_UNREAD + 1


def test_memory_comes_back_at_once_where_the_gpu_keeps_pace(gpu):
    output, graph, seen = GpuOutput(DEVICE), CountingGraph(gpu), []
    for _ in range(10):
        consume(gpu, output, graph, seen)
        gpu.stream.work()
    assert gpu.blocks <= 2


def test_the_host_waits_for_nothing_before_it_is_far_ahead(gpu):
    output, graph, seen = GpuOutput(DEVICE), CountingGraph(gpu), []
    for _ in range(MOST_UNREAD):
        consume(gpu, output, graph, seen)
    assert seen == []
    consume(gpu, output, graph, seen)
    assert seen == [0]


def test_what_is_unread_is_waited_for_when_nobody_asks_for_more(gpu):
    output, graph, seen = GpuOutput(DEVICE), CountingGraph(gpu), []
    for _ in range(3):
        consume(gpu, output, graph, seen)
    del output
    other = GpuOutput(DEVICE)
    for _ in range(3):
        consume(gpu, other, graph, seen)
    gpu.stream.work()
    assert seen == list(range(6))


def test_dali_works_for_the_stream_that_is_current_and_on_the_gpu_of_the_batches(gpu):
    output, graph, seen = GpuOutput(DEVICE), CountingGraph(gpu), []
    first, second = gpu.stream, FakeStream(gpu, "side")
    consume(gpu, output, graph, seen)
    gpu.stream = second
    consume(gpu, output, graph, seen)
    assert graph.ran_on == [(first, DEVICE), (second, DEVICE)]
    second.work()
    assert seen == [1]
    for _ in range(2):
        consume(gpu, output, graph, seen)
    first.work()
    second.work()
    assert sorted(seen) == [0, 1, 2, 3]


def test_a_batch_that_python_still_holds_is_not_written_over(gpu):
    output, graph = GpuOutput(DEVICE), CountingGraph(gpu)
    held = []
    for _ in range(MOST_UNREAD + 3):
        output.drop_read()
        held.extend(output.run(graph))
        output.release()
        gpu.stream.work()
    assert [int(images[0, 0, 0, 0]) for images in held] == list(range(MOST_UNREAD + 3))
