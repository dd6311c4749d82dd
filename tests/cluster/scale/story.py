"""`make cluster ARGS="scale ..."`: thousands of deferred sensors over three triggerers, and beside
them, on the same cluster, the same waits with one Get each.

The order: all waits start; nothing happens for some intervals; some jobs end at once, and as many
waits take their place; a triggerer is killed and stays down; nothing happens; the same once more.
Each part has its time, and whatever happens everything is stopped at the end.
"""

from __future__ import annotations

import argparse
import logging
import os
import resource
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.cluster import Cluster, Size
from tests.cluster.scale.gauges import measure
from tests.cluster.scale.jobs import end_jobs, make_jobs
from tests.cluster.scale.report import OURS, PLAIN, Part, Report, spread, table
from tests.cluster.scale.waits import POLLED, STARTING, PartTimeoutError, Waits, until
from tests.cluster.triggerers import triggerer_ids

DAGS = {OURS: "ice_scale", PLAIN: "ice_scale_plain"}
TRIGGERERS = ("triggerer-0", "triggerer-1", "triggerer-2")
SLOTS = 8
MOST_ENDS = 500
FEWEST = 200
SPARE_FILES = 500
"""Files that a triggerer has open beside the logs of its waits."""

REQUESTS_A_SECOND = 10
"""Of each process: the default of a connection."""

SETTINGS = {
    "CORE__MAX_MAP_LENGTH": "20000",
    # The default. Airflow 3.3.2 stores the heartbeat of a triggerer one late (airflow/jobs/job.py,
    # `heartbeat`: what is merged is the state before), so that it is 5 to 11 s old in the database.
    # With 10 s, as the matrix has it, living triggerers take each other's waits all the time.
    "TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "30",
    # Many tasks resume at once and queue for eight slots: that is no sign of a lost message.
    "SCHEDULER__TASK_QUEUED_TIMEOUT": "3600",
}


class Story:
    """The measurement of one contender after the other."""

    def __init__(self, cluster: Cluster, options: argparse.Namespace, report: Report) -> None:
        self._cluster = cluster
        self._options = options
        self._report = report
        self._ends = min(MOST_ENDS, options.waits // 2)
        self._jobs = make_jobs(cluster.ice, options.waits)
        self._waits: list[Waits] = []
        self._up = list(TRIGGERERS)
        cluster.postgresql.write(
            "INSERT INTO slot_pool (pool, slots, include_deferred) VALUES ('waits', 0, false)"
        )

    def play(self, contender: str) -> None:
        """Measure one contender, with all triggerers new."""
        self._contender = contender
        try:
            self._start()
            self._measure_steady()
            self._end_some()
            if contender == OURS:
                self._refill()
                while len(self._up) > 1:
                    self._kill_one()
                    self._measure_steady()
        except PartTimeoutError as error:
            self._add("unfinished", {"unfinished": str(error)})
            if contender == OURS:
                raise
        finally:
            for waits in self._waits:
                waits.drop()
            self._waits.clear()

    def restart_triggerers(self) -> None:
        """Give the next contender triggerers that know nothing."""
        began = time.time()
        for name in TRIGGERERS:
            self._cluster.supervisor.down(name)
        for name in TRIGGERERS:
            self._cluster.supervisor.up(name)
        self._up = list(TRIGGERERS)
        sql = (
            "SELECT count(*) AS count FROM job WHERE job_type = 'TriggererJob' "  # noqa: S608
            f"AND start_date > to_timestamp({began})"
        )
        until(lambda: int(self._cluster.rows(sql)[0]["count"]), len(TRIGGERERS), "triggerers up")

    def _start(self) -> None:
        waits = Waits(self._cluster, DAGS[self._contender], self._jobs)
        self._waits.append(waits)
        since, every = waits.start(), range(len(self._jobs))
        assigned = waits.until_assigned(len(self._jobs))
        running = waits.until_logged(STARTING, every)
        polled = waits.until_logged(POLLED, every)
        figures = {"assigned s": assigned - since}
        figures |= {**spread("running", running, since), **spread("polled", polled, since)}
        self._add("start", figures)

    def _measure_steady(self) -> None:
        interval = self._options.poke_interval
        time.sleep(2 * interval)  # what is new has found its pace
        before = [waits.triggerers() for waits in self._waits]
        steady = measure(self._cluster, self._up, interval, self._options.intervals)
        figures: dict[str, float] = {
            "List an interval": steady.lists,
            "Get an interval": steady.gets,
            "other or refused requests": steady.others,
            # To another triggerer, because theirs seemed dead: on a machine that is too busy.
            "waits that moved": sum(
                triggerer != then[index]
                for waits, then in zip(self._waits, before, strict=True)
                for index, triggerer in waits.triggerers().items()
            ),
        }
        for name in ("cpu", "memory", "files", "connections"):
            values = [getattr(use, name) for use in steady.triggerers]
            figures |= {f"{name} min": min(values), f"{name} max": max(values)}
        self._add("steady", {**figures, "connections of all": steady.connections})

    def _end_some(self) -> None:
        (waits,) = self._waits
        waits.allow(SLOTS)
        since = end_jobs(self._cluster.ice, self._jobs[: self._ends])
        events = waits.until_resumed(self._ends, since)
        self._add("ends", {"ended": self._ends, **spread("event", events, since)})
        resumed = waits.until_succeeded(self._ends, self._options.resume_within)
        self._add("resumed", spread("resumed", resumed, since))

    def _refill(self) -> None:
        new = make_jobs(self._cluster.ice, self._ends)
        waits = Waits(self._cluster, DAGS[self._contender], new)
        self._waits.append(waits)
        waits.start()
        waits.until_logged(POLLED, range(len(new)))
        self._jobs = [*self._jobs[self._ends :], *new]

    def _kill_one(self) -> None:
        """Kill the triggerer that has the most waits."""
        served = [waits.triggerers() for waits in self._waits]
        having = Counter(triggerer for each in served for triggerer in each.values())
        victim, count = having.most_common(1)[0]
        name = triggerer_ids(self._cluster, self._up)[victim]
        sql = f"SELECT extract(epoch FROM latest_heartbeat) AS at FROM job WHERE id = {victim}"  # noqa: S608 - a number
        since = time.time()
        self._cluster.supervisor.down(name)
        (heartbeat,) = self._cluster.rows(sql)
        self._up.remove(name)
        left = [len(self._waits[0].jobs) - self._ends, *(len(w.jobs) for w in self._waits[1:])]
        assigned = [
            waits.until_assigned(count, without=victim)
            for waits, count in zip(self._waits, left, strict=True)
        ]
        # The others take the waits over so long after the last heartbeat, not after the death.
        figures = {"waits": count, "last heartbeat s before": since - float(heartbeat["at"])}
        figures["assigned s"] = max(assigned) - since
        for word, words in (("running", STARTING), ("polled", POLLED)):
            moments = [
                moment
                for waits, each in zip(self._waits, served, strict=True)
                for moment in waits.until_logged(
                    words, (index for index in each if each[index] == victim), since=since
                )
            ]
            figures |= spread(word, moments, since)
        self._add("take-over", figures)

    def _add(self, what: str, figures: dict[str, float] | dict[str, str]) -> None:
        waits, interval = self._options.waits, self._options.poke_interval
        self._report.add(Part(self._contender, what, waits, interval, len(self._up), {**figures}))


def main(argv: Sequence[str]) -> int:
    """Measure, print and keep; return 0 where all waits of the package were served."""
    parser = argparse.ArgumentParser(prog='make cluster ARGS="scale ..."', description=__doc__)
    parser.add_argument("--waits", type=int, default=1000)
    parser.add_argument("--poke-interval", type=float, default=10.0, metavar="S")
    parser.add_argument("--intervals", type=int, default=6, metavar="K", help="measured each time")
    parser.add_argument(
        "--resume-within", type=float, default=600.0, metavar="S", help="for all resumed tasks"
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="add each part to it, a line")
    options = parser.parse_args(argv)
    _raise_limits(parser, options.waits)
    logging.getLogger("airflow_ice.emulator").setLevel(logging.ERROR)
    # The processes of the cluster import the plain trigger from here.
    root = str(Path(__file__).parents[3])
    os.environ["PYTHONPATH"] = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    os.environ["ICE_SCALE_POKE_INTERVAL"] = str(options.poke_interval)
    report = Report(options.json)
    size = Size(workers=1, schedulers=1, api_servers=1, slots=SLOTS)
    with Cluster(
        size,
        dags=Path(__file__).parent / "dags",
        dag_ids=list(DAGS.values()),
        job_seconds=3600.0,
        extra={"max_requests_per_second": REQUESTS_A_SECOND},
        settings=SETTINGS,
    ) as cluster:
        story = Story(cluster, options, report)
        try:
            story.play(OURS)
            story.restart_triggerers()
            story.play(PLAIN)
        except PartTimeoutError as error:
            print(error, flush=True)
            return 1
        finally:
            print(table(report.parts), flush=True)
    return 0


def _raise_limits(parser: argparse.ArgumentParser, waits: int) -> None:
    """Let each process open as many files as it may: a triggerer has one open for each wait."""
    if waits < FEWEST:
        parser.error(f"--waits is at least {FEWEST}, or one triggerer takes them all")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < waits + SPARE_FILES:
        parser.error(f"{waits} waits need `ulimit -Hn` {waits + SPARE_FILES}; it is {most}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
