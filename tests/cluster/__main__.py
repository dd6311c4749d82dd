"""`python -m tests.cluster [--seed N] [--runs N] [--rows ROW ...] [--into FILE]`: the matrix on a
real cluster;
`python -m tests.cluster burst`: 32 processes that submit at once;
`python -m tests.cluster scale ...`: thousands of waits.
"""

from __future__ import annotations

import argparse
import logging
import random
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from tests.cluster import burst
from tests.cluster.cluster import Cluster, Size
from tests.cluster.faults import AGAIN, AHEAD, ROWS
from tests.cluster.matrix import Results, play, table
from tests.cluster.scale import story

SOON = {"CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "5"}
"""Seconds after which Redis delivers a message again that no worker has acknowledged, as it does
after a day by default. Airflow acknowledges it when the task is over.
"""

REDELIVERY = 120.0
"""Seconds of a job, so that some tasks run when a worker looks for such messages: it does so every
100 s (kombu/transport/redis.py, `restore_visible`).
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Play the rows; return 0 where every wish was paid once and nothing hung."""
    given = list(sys.argv[1:] if argv is None else argv)
    if given[:1] == ["scale"]:
        signal.signal(signal.SIGTERM, _interrupted)
        return story.main(given[1:])
    parser = argparse.ArgumentParser(prog="make cluster ARGS=...", description=__doc__)
    parser.add_argument("what", nargs="?", choices=["matrix", "burst", "scale"], default="matrix")
    parser.add_argument("--seed", type=int, help="repeats a matrix; drawn and printed without")
    parser.add_argument("--runs", type=int, default=1, help="of each row; 1 by default")
    parser.add_argument("--rows", nargs="+", metavar="ROW", help="those whose name holds a ROW")
    parser.add_argument(
        "--into", type=Path, metavar="FILE", help="add each run to it; the table is of all in it"
    )
    options = parser.parse_args(given)
    if options.what == "burst":
        burst.main()
        return 0
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    rows = [row for row in ROWS if not options.rows or any(word in row for word in options.rows)]
    if not rows:
        parser.error(f"no such row; there are: {', '.join(ROWS)}")
    logging.getLogger("airflow_ice.emulator").setLevel(logging.ERROR)
    signal.signal(signal.SIGTERM, _interrupted)  # so that SIGTERM, too, leaves nothing
    print(f"seed {seed}", flush=True)
    results = Results(options.into)
    try:
        played_together = [row for row in rows if row not in {AGAIN, AHEAD}]
        if played_together:
            with Cluster(Size()) as cluster:
                _play(cluster, played_together, seed, options.runs, results)
        if AGAIN in rows:
            with Cluster(Size(), job_seconds=REDELIVERY, settings=SOON) as cluster:
                _play(cluster, [AGAIN], seed, options.runs, results)
        if AHEAD in rows:
            _play_ahead(seed, options.runs, results)
    finally:
        print(table(results), flush=True)
    return 1 if any(result.wrong for result in results) else 0


def _play_ahead(seed: int, runs: int, results: Results) -> None:
    library = next(iter(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), None)
    if library is None:
        print(f"{AHEAD}: not played; it needs libfaketime (Debian's package faketime)")
        return
    with Cluster(Size(schedulers=1, api_servers=1, triggerers=1), ahead=str(library)) as cluster:
        _play(cluster, [AHEAD], seed, runs, results)


def _play(cluster: Cluster, rows: Sequence[str], seed: int, runs: int, results: Results) -> None:
    for number in range(runs):
        for row in rows:
            result = play(cluster, row, f"{seed} {number}")
            results.add(result)
            print(
                f"{row}, run {number + 1}: {result.jobs} jobs for {result.wishes} wishes in "
                f"{result.seconds:.0f} s; {result.recovery:.0f} s from the fault",
                *result.wrong,
                sep="\n    ",
                flush=True,
            )


def _interrupted(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
