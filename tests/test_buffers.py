import gc

import numpy as np
import pytest
import torch

from dali_mixup.buffers import ALIGNMENT, BufferPool


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("shape", [(0, 3), (1,), (5, 3, 7), (33, 2)])
def test_tensors_have_the_shape_and_type_and_are_aligned_and_writable(dtype, shape):
    tensor = BufferPool(2).take(shape, dtype)
    assert (tuple(tensor.shape), tensor.dtype) == (shape, dtype)
    assert tensor.data_ptr() % ALIGNMENT == 0
    tensor.fill_(3)
    assert (tensor == 3).all()


HOLDERS = {
    "tensor": lambda tensor: tensor,
    "view": lambda tensor: tensor[1:, ::2],
    "reshaped": lambda tensor: tensor.flatten()[-1:],
    "numpy": lambda tensor: tensor.numpy()[:1],
    "memoryview": lambda tensor: memoryview(tensor.numpy()),
    "detached": lambda tensor: tensor.detach().view(torch.int32),
    "storage": lambda tensor: tensor.untyped_storage(),
    "graph": lambda tensor: (torch.ones(4, 6, requires_grad=True) * tensor).sum(),
    "dlpack": lambda tensor: np.from_dlpack(tensor),
}


@pytest.mark.parametrize("hold", HOLDERS.values(), ids=HOLDERS.keys())
def test_memory_that_anything_still_holds_is_not_given_away(hold):
    pool = BufferPool(2)
    tensor = pool.take((4, 6), torch.float32)
    address = tensor.data_ptr()
    holder = hold(tensor)
    del tensor
    gc.collect()
    assert pool.take((4, 6), torch.float32).data_ptr() != address
    del holder
    gc.collect()
    assert address in {pool.take((4, 6), torch.float32).data_ptr() for _ in range(1)} | {
        t.data_ptr() for t in [pool.take((4, 6), torch.float32)]
    }


def test_blocks_that_are_too_small_are_let_go():
    pool = BufferPool(2)
    del (small := [pool.take((4,), torch.float32)])[:]
    assert small == []
    assert pool.take((4000,), torch.float32).fill_(1).sum() == 4000


def test_no_more_blocks_are_kept_than_asked_for():
    pool = BufferPool(2)
    tensors = [pool.take((10,), torch.float32) for _ in range(50)]
    del tensors
    gc.collect()
    assert len(pool._free) == 2
