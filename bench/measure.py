"""Time several variants side by side so that a shared machine's noise cancels.

Variants take turns within each round, every round in another order, and are compared by ratios within a round. The
result is the median of those ratios with their quartiles: a slow second of the machine hits neighbours in a round
alike.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from tqdm import tqdm

from bench.machine import DISTURBED_CORES, cores_of_others, read_cpu, wait_until_quiet


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """One round of one variant.

    Attributes:
        items: how many things were done, such as images.
        seconds: the time that took.
        others: how many cores other processes kept busy meanwhile.
        peak_bytes: memory that it took at its peak, where that was measured.
    """

    items: int
    seconds: float
    others: float = 0.0
    peak_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One variant.

    Attributes:
        name: short and unique, as in `--variants`.
        run: does one round and times it.
        label: what tables and plots call it.
        options: what it runs with, such as its number of threads.
    """

    name: str
    run: Callable[[], Timing]
    label: str = ""
    options: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A median with the middle half of the values around it.

    Attributes:
        median: half of the values lie below.
        low: a quarter of the values lie below.
        high: a quarter of the values lie above.
        count: how many values there are.
    """

    median: float
    low: float
    high: float
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """All rounds of one variant; `timings[k]` was taken in the same round as `timings[k]` of the others."""

    name: str
    timings: tuple[Timing, ...]
    label: str = ""
    options: dict[str, int] = field(default_factory=dict)

    @property
    def rates(self) -> list[float]:
        """Items per second, by round."""
        return [timing.items / timing.seconds for timing in self.timings]

    @property
    def rate(self) -> Spread:
        """Items per second."""
        return spread(self.rates)


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles, linear between the values.

    >>> spread([4.0, 1.0, 2.0, 3.0, 100.0])
    Spread(median=3.0, low=2.0, high=4.0, count=5)
    """
    low, median, high = np.percentile(values, [25, 50, 75])
    return Spread(median=float(median), low=float(low), high=float(high), count=len(values))


def speedup(result: Result, baseline: Result) -> Spread:
    """How many times faster than `baseline`, from the ratios of their rates in each round."""
    return spread([mine / other for mine, other in zip(result.rates, baseline.rates, strict=True)])


def measure_cases(
    cases: Sequence[Case], *, rounds: int, warmup: int = 1, patience_s: float = 0.0, progress: bool = True
) -> list[Result]:
    """All of `measure_rounds`: one result per case, in the order of `cases`."""
    *_, results = measure_rounds(cases, rounds=rounds, warmup=warmup, patience_s=patience_s, progress=progress)
    return results


def measure_rounds(
    cases: Sequence[Case], *, rounds: int, warmup: int = 1, patience_s: float = 0.0, progress: bool = True
) -> Iterator[list[Result]]:
    """Run all variants `warmup` + `rounds` times; only the latter count.

    Args:
        cases: the variants.
        rounds: how often each one is timed, at least 1.
        warmup: rounds before that, for caches, compilers and allocators.
        patience_s: so long in all, turns wait for others to use less than `DISTURBED_CORES`, and are repeated if they
            used more.
        progress: show a bar on stderr.

    Yields:
        After each round that counts, one result per case, in the order of `cases`.
    """
    timings: list[list[Timing]] = [[] for _ in cases]
    with tqdm(total=(warmup + rounds) * len(cases), desc="rounds x variants", leave=False, disable=not progress) as bar:
        for turn in range(warmup + rounds):
            for which in rotated(len(cases), turn):
                bar.set_postfix_str(cases[which].name)
                if turn < warmup:
                    cases[which].run()
                else:
                    timing, patience_s = _run_undisturbed(cases[which], patience_s)
                    timings[which].append(timing)
                bar.update()
            if turn >= warmup:
                yield [
                    Result(name=case.name, label=case.label, options=case.options, timings=tuple(taken))
                    for case, taken in zip(cases, timings, strict=True)
                ]


def _run_undisturbed(case: Case, patience_s: float) -> tuple[Timing, float]:
    """A turn, and how much patience is left after it."""
    while True:
        patience_s -= wait_until_quiet(patience_s)
        timing = case.run()
        if timing.others <= DISTURBED_CORES or patience_s <= 0:
            return timing, patience_s
        patience_s -= timing.seconds


def rotated(count: int, turn: int) -> list[int]:
    """The numbers below `count`, beginning with `turn` and wrapping around; backwards in every other turn.

    So each variant comes at each place, and has each of its neighbours before it as often as after it.

    >>> rotated(4, 0), rotated(4, 1), rotated(4, 2)
    ([0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1])
    """
    step = 1 if turn % 2 == 0 else -1
    return [(turn + step * place) % count for place in range(count)]


def time_calls(call: Callable[[], object], *, calls: int, items: int = 1, device: torch.device | str = "cpu") -> Timing:
    """Time `calls` calls that handle `items` things each, with what they left running on the device."""

    def work() -> int:
        for _ in range(calls):
            call()
        return calls * items

    return timed(work, device)


def timed(work: Callable[[], int], device: torch.device | str = "cpu") -> Timing:
    """Time `work`, which says how many things it handled, with what it left running on the device."""
    synchronize(device)
    before, start = read_cpu(), time.perf_counter()
    items = work()
    synchronize(device)
    seconds = time.perf_counter() - start
    return Timing(items=items, seconds=seconds, others=cores_of_others(before, read_cpu()))


def synchronize(device: torch.device | str) -> None:
    """Wait for the device's work; nothing on the CPU."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
