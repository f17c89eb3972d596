"""One odd file at each place of a batch of 64, many times: prints what goes wrong, also where a process dies.

python -m tests.scripts.places --runs 20
"""

import argparse
import sys
import time

from tests.decode.own_process import run
from tests.decode.strays import COUNT, PIPELINES, look

KINDS = ("GIF", "AVIF", "broken JPEG")
SECONDS = 550


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20, help="at each place; default 20")
    parser.add_argument("--per-process", type=int, default=4, help="runs at each place in one process; default 4")
    options = parser.parse_args()
    failures, begun = 0, time.monotonic()
    for kind in KINDS:
        for pipeline in PIPELINES:
            for start in range(0, options.runs, options.per_process):
                runs = min(options.per_process, options.runs - start)
                try:
                    complaints = run(look, [kind], pipeline, list(range(COUNT)) * runs, seconds=SECONDS)
                except AssertionError as error:  # the process ended otherwise than it should
                    complaints = [f"{kind}, {pipeline}: {error}"]
                for said in complaints:
                    print(said, flush=True)
                failures += len(complaints)
                spent = time.monotonic() - begun
                print(f"{kind}, {pipeline}: {start + runs} runs at {COUNT} places, {spent:.0f} s", flush=True)
    print(f"{failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
