"""Each loader under test in a process of its own: own thread pools, own allocator, nothing shared but the machine.

A process loads only while it is its turn. Before it reports a round it waits until its threads and workers have filled
their prefetch queues and fallen idle, so the next one has the cores to itself. Each round begins with `lead` untimed
batches that empty these queues, so that no batch counts that was made outside of the measured time.
"""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from multiprocessing.connection import Connection

from bench.cpu import cores_of_others, read_cpu, wait_until_idle
from bench.feed import Batches, Feed
from bench.measure import Timing, synchronize


class LoaderFailedError(RuntimeError):
    """A loader could not be imported or built, or broke off; the text says why."""


@contextmanager
def isolated(source: str, feed: Feed, *, lead: int, batches: int) -> Iterator[Callable[[], Timing]]:
    """Start a loader in a fresh process; the function that is handed out runs one round of `batches` batches there.

    Args:
        source: "module:function"; the function takes the feed and returns an iterator of batches.
        feed: what to load.
        lead: untimed batches at the start of a round, more than the loader prefetches.
        batches: timed batches of a round.

    Raises:
        LoaderFailedError: at the start, or from the function that is handed out.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, source, feed, lead, batches))
    process.start()
    theirs.close()

    def run() -> Timing:
        ours.send("go")
        return _receive(ours)

    try:
        _receive(ours)  # how long it took to start is of no interest here
        yield run
    finally:
        ours.close()
        process.join(timeout=10)
        if process.is_alive():
            process.kill()
            process.join()


def _receive(connection: Connection) -> Timing:
    try:
        answer = connection.recv()
    except EOFError:
        raise LoaderFailedError("its process ended without a word") from None
    if isinstance(answer, str):
        raise LoaderFailedError(answer)
    return answer


def _serve(connection: Connection, source: str, feed: Feed, lead: int, batches: int) -> None:
    """The process: open the loader, then one round for each message."""
    multiprocessing.set_start_method(
        None, force=True
    )  # for a loader's workers: the platform's own, not the one of this process
    module, _, function = source.partition(":")
    try:
        start = time.perf_counter()
        stream: Batches = getattr(import_module(module), function)(feed)
        images, _ = next(stream)  # what is missing or wrong shows here
        connection.send(Timing(items=len(images), seconds=time.perf_counter() - start))
        while connection.recv():
            for _ in range(lead):
                next(stream)
            connection.send(_one_round(stream, batches, feed.device))
    except EOFError:  # the other end is done
        return
    except ImportError as error:
        connection.send(f"not installed: {error}")
    except Exception as error:  # noqa: BLE001 -- whatever a foreign loader raises becomes a line of the table
        connection.send(f"{source} failed: {type(error).__name__}: {error}")


def _one_round(stream: Batches, batches: int, device: str) -> Timing:
    synchronize(device)
    items, before, start = 0, read_cpu(), time.perf_counter()
    for _ in range(batches):
        images, _ = next(stream)
        items += len(images)
    synchronize(device)
    seconds = time.perf_counter() - start
    others = cores_of_others(before, read_cpu())
    wait_until_idle()
    return Timing(items=items, seconds=seconds, others=others)
