"""The bound for a loader that decodes with DALI: read the files and decode the random windows, and nothing after it."""

# DALI makes its operators and types at import, where pyright does not see them.
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportArgumentType=false, reportPrivateImportUsage=false

from itertools import count
from typing import Any

import numpy as np
import torch

from bench.feed import Batches, Feed
from bench.machine import cores
from bench.peers.ours import open_loader
from dali_mixup import FileList


def batches(feed: Feed) -> Batches:
    """The planned windows as DALI leaves them: uint8, of many sizes.

    The first item has the batch's length and no pixels in it.
    """
    from nvidia.dali import fn, pipeline_def, types

    on_gpu = torch.device(feed.device).type == "cuda"
    listed = FileList(feed.paths, feed.labels, cache=False, progress=False)
    plan = open_loader(feed, None, dataset=listed).plan

    def planned() -> Any:
        for epoch in count():
            order = plan.order(epoch)
            for step in plan.steps():
                batch = plan.batch(epoch, order, step)
                yield [plan.dataset.paths.encoded(i) for i in batch.indices], batch.windows.anchor, batch.windows.shape

    @pipeline_def(
        batch_size=feed.batch_size,
        num_threads=feed.threads or cores() + 1,
        device_id=torch.cuda.current_device() if on_gpu else None,
        prefetch_queue_depth=2,
    )
    def pipeline() -> Any:
        dtypes = [types.UINT8, types.INT32, types.INT32]
        path, anchor, shape = fn.external_source(source=planned(), num_outputs=3, batch=True, dtype=dtypes, ndim=1)
        return fn.decoders.image_slice(
            fn.io.file.read(path),
            anchor,
            shape,
            axes=(0, 1),
            device="mixed" if on_gpu else "cpu",
            output_type=types.RGB,
            adjust_orientation=False,
            use_fast_idct=False,
            jpeg_fancy_upsampling=True,
        )

    built = pipeline()
    built.build()
    nothing = torch.from_numpy(np.zeros((feed.batch_size, 0), np.uint8))
    while True:
        built.run()
        yield nothing, nothing
