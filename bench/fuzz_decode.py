"""`bench.fuzz --decode` from outside: starts processes that deliver mutants, watches them, and adds up.

A process ends by itself after some rounds. One that dies by a signal, says nothing for `HANG_SECONDS`, or holds more
than `MOST_BYTES` is a failure with the seed of its round, which is run once more by itself to see if it fails again.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from bench.measure import Timing
from bench.report import format_table
from dali_mixup.commands.progress import open_bar

CHILD = "bench.fuzz_child"
ROUNDS_PER_CHILD = 16
HANG_SECONDS = 180.0
POLL_SECONDS = 0.2
MOST_BYTES = 6 << 30
RATIO_LIMIT = 4.0
KEPT = 40  # findings of each kind and format
STDERR_SHOWN = 3000
NEIGHBOUR = "a good neighbour changed"
COLUMNS = ("mutants", "delivered", "refused", "withheld")
SIGNALS = {-number.value: number.name for number in signal.Signals}


@dataclass(slots=True, kw_only=True)
class DecodeTally:
    """What all processes have found.

    Attributes:
        rounds: that came to their end.
        ways: how often files were delivered in which way.
        formats: counts by format, as `Count` of the child.
        mismatches: by format and kind.
        findings: the first of each kind and format, with what reproduces them.
        neighbours: good files that came otherwise than without mutants.
        failures: crashes, hangs, floods of memory and other errors, with their seed.
        memory_ratio: the largest growth over the run without mutants, in batches.
    """

    rounds: int = 0
    ways: Counter[str] = field(default_factory=Counter)
    formats: dict[str, Counter[str]] = field(default_factory=dict)
    mismatches: dict[str, Counter[str]] = field(default_factory=dict)
    findings: list[dict[str, Any]] = field(default_factory=list)
    neighbours: int = 0
    failures: list[dict[str, Any]] = field(default_factory=list)
    memory_ratio: float = 0.0
    seen: Counter[str] = field(default_factory=Counter)

    @property
    def mutants(self) -> int:
        """How many were tried."""
        return sum(count["mutants"] for count in self.formats.values())

    @property
    def passed(self) -> bool:
        """Whether nothing died, hung, took too much or changed a neighbour."""
        return not self.failures and not self.neighbours

    def add(self, found: dict[str, Any]) -> None:
        """A round that came to its end."""
        if "error" in found:
            text = {"text": found["error"], "traceback": found["traceback"]}
            self.failures.append({"kind": "error", "seed": found["seed"], **text})
            return
        self.rounds += 1
        self.ways[found["way"]] += 1
        for name, count in found["counts"].items():
            self.formats.setdefault(name, Counter()).update({column: count[column] for column in COLUMNS})
            self.mismatches.setdefault(name, Counter()).update(count["mismatches"])
        for finding in found["findings"]:
            self.neighbours += finding["kind"] == NEIGHBOUR
            self._keep(finding)
        self.memory_ratio = max(self.memory_ratio, found["memory_ratio"])
        if found["memory_ratio"] > RATIO_LIMIT:
            text = f"{found['memory_ratio']:.1f} times the batch's own"
            self.failures.append({"kind": "memory", "seed": found["seed"], "way": found["way"], "text": text})

    def _keep(self, finding: dict[str, Any]) -> None:
        key = f"{finding['kind']}, {finding.get('format')}"
        self.seen[key] += 1
        if self.seen[key] <= KEPT:
            self.findings.append(finding)

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        names = ("rounds", "ways", "formats", "mismatches", "findings", "neighbours", "failures", "memory_ratio")
        return json.loads(json.dumps({name: getattr(self, name) for name in names}))  # no Counters, for `asdict`


def run_child(tally: DecodeTally, *, seed: int, rounds: int, keep: str | None = None) -> int:
    """Start a process for some rounds, and watch it to its end.

    Args:
        tally: adds what the process tells, and how it ended if that was a failure.
        seed: of the first round.
        rounds: how many.
        keep: a folder in which all files stay.

    Returns:
        The seed of the round that comes next.
    """
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory, prefix="dali_mixup-fuzz-") as scratch, tempfile.TemporaryFile() as log:
        folder = Path(keep or scratch)
        folder.mkdir(parents=True, exist_ok=True)
        environment = os.environ | ({"FUZZ_KEEP": "1"} if keep else {})
        command = [sys.executable, "-m", CHILD, str(seed), str(rounds), str(folder)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
        current, at = {"seed": seed, "phase": "start"}, seed
        try:
            why = ""
            for event in _watched(process):
                kind = event.pop("event")
                if kind == "killed":
                    why = event["why"]
                elif kind == "end":
                    tally.add(event)
                    at = event["seed"] + 1
                elif kind in ("begin", "phase"):
                    current |= event
            status = process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if status or why:
            text = why or SIGNALS.get(status, f"exit status {status}")
            kind = "hang" if why.startswith("hang") else "memory" if why else "crash"
            tally.failures.append({"kind": kind, "text": text, **current, "stderr": _tail(log)})
            at = current["seed"] + 1
        return at


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read().decode(errors="replace")[-STDERR_SHOWN:]


def _watched(process: subprocess.Popen) -> Iterator[dict[str, Any]]:
    """What a process tells, to its end; "killed" if it hung or took too much memory."""
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read() -> None:
        assert process.stdout is not None  # noqa: S101  it is a pipe
        with process.stdout as out:
            for line in out:
                lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    last = time.monotonic()
    while True:
        try:
            line = lines.get(timeout=POLL_SECONDS)
        except queue.Empty:
            why = ""
            if time.monotonic() - last > HANG_SECONDS:
                why = f"hang: nothing for {HANG_SECONDS:g} s"
            elif (resident := _resident(process.pid)) > MOST_BYTES:
                why = f"memory: {resident / 2**30:.1f} GiB"
            if why:
                process.send_signal(signal.SIGABRT)  # faulthandler tells where it stands
                with suppress(subprocess.TimeoutExpired):
                    process.wait(5)
                process.kill()
                yield {"event": "killed", "why": why}
                return
            continue
        if line is None:
            return
        last = time.monotonic()
        yield json.loads(line)


def _resident(pid: int) -> int:
    with suppress(OSError, IndexError):  # it has just ended
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def fuzz_decode(
    *, seconds: float, seed: int, rounds: int | None = None, keep: str | None = None
) -> Iterator[tuple[DecodeTally, Timing]]:
    """Processes one after another until the time or the rounds are over; what was found so far, after each of them."""
    tally, start, first = DecodeTally(), time.monotonic(), seed
    with open_bar("fuzzing", round(seconds), "s") as bar:
        while (passed := time.monotonic() - start) < seconds and (rounds is None or seed < first + rounds):
            bar.update(min(round(seconds), int(passed)) - bar.n)
            bar.set_postfix(mutants=tally.mutants, failures=len(tally.failures), refresh=False)
            left = ROUNDS_PER_CHILD if rounds is None else min(ROUNDS_PER_CHILD, first + rounds - seed)
            failures = len(tally.failures)
            seed = run_child(tally, seed=seed, rounds=left, keep=keep)
            if len(tally.failures) > failures:
                _run_again(tally.failures[failures:])
            yield tally, Timing(items=tally.mutants, seconds=time.monotonic() - start)


def _run_again(failures: list[dict[str, Any]]) -> None:
    """Whether each of these failures comes again when its round runs by itself."""
    for failure in failures:
        again = DecodeTally()
        run_child(again, seed=failure["seed"], rounds=1)
        failure["again"] = [other["kind"] for other in again.failures]


def describe_decode(found: dict[str, Any], timing: Timing) -> str:
    """A row per format, then what went wrong."""
    kinds = sorted({kind for counts in found["mismatches"].values() for kind in counts})
    rows = []
    for name, count in sorted(found["formats"].items()):
        wrong = found["mismatches"].get(name, {})
        rows.append([name, *(str(count.get(column, 0)) for column in COLUMNS), *(str(wrong.get(k, 0)) for k in kinds)])
    total = ["all", *(str(sum(int(row[place]) for row in rows)) for place in range(1, 1 + len(COLUMNS) + len(kinds)))]
    failed = Counter(failure["kind"] for failure in found["failures"])
    lines = [
        format_table(["format", *COLUMNS, *kinds], [*rows, total]),
        "",
        f"{timing.items:,} mutants in {found['rounds']:,} rounds, {timing.items / timing.seconds:.0f} mutants/s; "
        f"{failed['crash']} crashes, {failed['hang']} hangs, {failed['memory']} floods of memory, "
        f"{failed['error']} other errors, {found['neighbours']} neighbours changed. "
        f"Most memory beyond the same batches without mutants: {found['memory_ratio']:.2f} of a batch.",
    ]
    for failure in found["failures"]:
        place = ", ".join(failure[name] for name in ("phase", "way") if name in failure)
        lines.append(
            f"FAILED (--decode --seed {failure['seed']} --rounds 1): {failure['kind']}: {failure['text']}; {place}"
        )
    for finding in found["findings"]:
        told = {name: value for name, value in finding.items() if name not in ("kind", "seed", "way")}
        lines.append(f"{finding['kind']} (--seed {finding['seed']}, {finding['way']}): {told}")
    return "\n".join(lines)
