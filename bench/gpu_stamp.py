"""The stamp of a GPU machine: the usual one, with the driver and the versions that decide how images are decoded."""

import subprocess
from dataclasses import replace

import torch

from bench.report import Stamp, make_stamp

PACKAGES = ("triton", "torchvision", "pillow", "nvidia-nvimgcodec-cu12", "nvidia-nvjpeg-cu12", "nvidia-nvjpeg")


def make_gpu_stamp() -> Stamp:
    """The stamp of this machine and moment."""
    stamp = make_stamp(PACKAGES)
    return replace(
        stamp, versions=stamp.versions | {"CUDA of torch": str(torch.version.cuda), "driver": driver_version()}
    )


def driver_version() -> str:
    """NVIDIA's driver; "none" without one."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return "none"
    return done.stdout.splitlines()[0].strip() if done.stdout.strip() else "none"
