"""What holds a training up, told from a `Profile`, and what to do about it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from dali_mixup.profiling.measure import Profile

Kind = Literal["step", "contention", "read", "decode", "stage", "loader"]

WORTHWHILE = 0.05  # of the time of a training step: to gain less isn't worth a change
IDLE = 0.6  # of the cores: a loader that keeps fewer busy and yet is waited for waits for a disk or a network itself
FASTER = 1.03  # a change of a setting that makes the loader run so many times as fast is worth mentioning


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What bounds a training.

    Attributes:
        kind: "step", the training itself; "contention", training and loader that share the cores; "read", "decode",
            "stage" or "loader" (which part of it isn't known), what the loader spends its time on.
        finding: what was seen, a sentence.
        remedy: what to do, a sentence.
    """

    kind: Kind
    finding: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.finding}\n{self.remedy}"


def advise(measured: Profile, gains: Mapping[str, float]) -> Verdict:
    """The verdict.

    Args:
        measured: what `profile` gave.
        gains: how many times as fast the loader alone ran with each change of a setting, by its description.
    """
    waiting = measured.wait / measured.step
    slowed = max(0.0, measured.train - measured.ideal) / measured.step if measured.shared else 0.0
    gain = f"with an ideal loader it would run {measured.step / measured.ideal:.2f} times as fast"
    if max(waiting, slowed) < WORTHWHILE:
        finding = f"Training waits for data {waiting:.0%} of its time: the loader is fast enough."
        return Verdict(kind="step", finding=finding, remedy="Only a faster model or device helps.")
    if slowed > waiting:
        finding = (
            f"Training waits for data {waiting:.0%} of its time, but while the loader works, its own steps take "
            f"{measured.train / measured.ideal:.2f} times as long: they share {measured.cores} cores; {gain}."
        )
        remedy = (
            "Give the loader less to do (a pack, `dali-mixup pack`; arrays for small images) or fewer threads "
            "(num_threads=1), or train on a GPU."
        )
        return Verdict(kind="contention", finding=finding, remedy=remedy)
    finding = f"Training waits for data {waiting:.0%} of its time; {gain}."
    return Verdict(kind=_find_bound(measured), finding=finding, remedy=_remedy(measured, gains))


def _find_bound(measured: Profile) -> Kind:
    """What a loader that is waited for spends its time on."""
    if measured.shared and measured.busy is not None and measured.busy < IDLE * measured.cores:
        return "read" if measured.decode is None or measured.decode > _finishing(measured) else "stage"
    if measured.decode is None:
        return "loader"
    return "decode" if measured.decode > _finishing(measured) else "stage"


def _finishing(measured: Profile) -> float:
    return (measured.resize or 0.0) + (measured.stage or 0.0)


def _remedy(measured: Profile, gains: Mapping[str, float]) -> str:
    """What a loader needs that is waited for."""
    best = max(gains, key=lambda change: gains[change], default="")
    if best and gains[best] >= FASTER:
        return f"Most worth changing: {best}. The loader alone then ran {gains[best]:.2f} times as fast."
    match _find_bound(measured):
        case "read":
            return (
                f"The loader keeps {measured.busy:.1f} of {measured.cores} cores busy: it waits for a disk or a "
                "network. Copy the files to a local disk, or into a pack, of which only a part is read "
                "(`dali-mixup pack`); more threads wait for more of them at once (num_threads=)."
            )
        case "decode":
            return (
                "Decoding bounds the loader: pack the files, smaller if you like (`dali-mixup pack`), give it more "
                "cores, or decode on a GPU."
            )
        case "stage":
            return (
                "Resizing, transforms and mixing bound the loader: leave out what costs most (bicubic resizing, "
                "auto-augment), take bfloat16 or channels_last batches, or give it more cores."
            )
        case _:
            return "Swap the loader: `dm.from_dataloader(loader)` does the same with DALI."
