"""Functions in processes of their own, whose end by a signal or by the clock is a failure."""

import faulthandler
import pickle
import re
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

SECONDS = 240  # a process that takes longer hangs


def run(function, *arguments, seconds=SECONDS):
    """What a function of a module returns there."""
    with tempfile.TemporaryDirectory() as folder:
        call = Path(folder, "call")
        call.write_bytes(pickle.dumps((function, arguments, seconds)))
        command = [sys.executable, "-X", "faulthandler", "-c", f"from {__name__} import _main; _main()", str(call)]
        done = subprocess.run(
            command, cwd=Path(__file__).parents[2], capture_output=True, timeout=seconds + 30, check=False
        )
        assert done.returncode == 0, f"{done.returncode}\n" + done.stderr.decode(errors="replace")[-5000:]
        return pickle.loads(call.read_bytes())


def peak_memory():
    """The most bytes that this process had since it began or since `reset_peak`."""
    return 1024 * int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def reset_peak():
    Path("/proc/self/clear_refs").write_text("5")


def _main():
    call = Path(sys.argv[1])
    function, arguments, seconds = pickle.loads(call.read_bytes())
    faulthandler.dump_traceback_later(seconds, exit=True)
    warnings.simplefilter("ignore")
    call.write_bytes(pickle.dumps(function(*arguments)))
