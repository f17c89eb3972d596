"""Loaders under test, which take turns: each in a process of its own, or all in this one.

`apart` shares nothing but the machine: own thread pools, own allocator. Such a process loads only while it is its turn.
Before it reports a round it waits until its threads and workers have filled their prefetch queues and fallen idle, so
the next one has the cores to itself. A loader `within` this process goes on filling its queues while others have their
turn. Either way a round begins with `lead` untimed batches that empty the queues, so that no batch counts that was made
outside of the measured time.
"""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from multiprocessing.connection import Connection

from tqdm import tqdm

from bench.feed import Batches, Feed
from bench.machine import wait_until_idle
from bench.measure import Case, Timing, timed

Run = Callable[[], Timing]


class LoaderFailedError(RuntimeError):
    """A loader could not be imported or built, or broke off; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """A loader of a comparison.

    Attributes:
        name: of its result.
        start: opens it and gives what runs one round: `apart` or `within`.
        label: what tables and plots call it.
        options: what it runs with.
    """

    name: str
    start: Callable[[], AbstractContextManager[Run]]
    label: str = ""
    options: dict[str, int] = field(default_factory=dict)


@contextmanager
def started(rivals: Sequence[Rival], *, progress: bool = True) -> Iterator[tuple[list[Case], dict[str, str]]]:
    """Start all; the cases of those that run, and by name why the others don't."""
    cases, missing = [], {}
    with ExitStack() as running:
        for rival in tqdm(rivals, desc="starting", leave=False, disable=not progress):
            try:
                run = running.enter_context(rival.start())
            except LoaderFailedError as error:
                missing[rival.name] = str(error)
            else:
                cases.append(Case(name=rival.name, label=rival.label, run=run, options=rival.options))
        yield cases, missing


@contextmanager
def within(start: Callable[[], Batches], feed: Feed, *, lead: int, batches: int) -> Iterator[Run]:
    """Start a loader in this process; what is handed out runs one round of `batches` batches.

    Raises:
        LoaderFailedError: at the start.
    """
    try:
        stream = start()
        next(stream)
    except Exception as error:  # whatever a foreign loader raises becomes a line of the table
        raise LoaderFailedError(f"{type(error).__name__}: {error}".strip()[:500]) from error
    try:
        yield lambda: _one_round(stream, feed, lead=lead, batches=batches)
    finally:
        stream.close()


@contextmanager
def apart(source: str, feed: Feed, *, lead: int, batches: int) -> Iterator[Run]:
    """Start a loader in a fresh process; what is handed out runs one round of `batches` batches there.

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
        _receive(ours)  # it has started
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
    multiprocessing.set_start_method(None, force=True)  # for a loader's workers: the platform's own
    module, _, function = source.partition(":")
    try:
        stream: Batches = getattr(import_module(module), function)(feed)
        connection.send(timed(lambda: len(next(stream)[0])))  # what is missing or wrong shows here
        while connection.recv():
            timing = _one_round(stream, feed, lead=lead, batches=batches)
            wait_until_idle()
            connection.send(timing)
    except EOFError:  # the other end is done
        return
    except ImportError as error:
        connection.send(f"not installed: {error}")
    except Exception as error:  # noqa: BLE001  whatever a foreign loader raises becomes a line of the table
        connection.send(f"{source} failed: {type(error).__name__}: {error}")


def _one_round(stream: Batches, feed: Feed, *, lead: int, batches: int) -> Timing:
    for _ in range(lead):
        next(stream)
    return timed(lambda: sum(len(next(stream)[0]) for _ in range(batches)), feed.device)
