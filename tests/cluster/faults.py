"""What goes wrong in a cluster, one function a row of the matrix. Each does its harm while at least
20 wishes are under way, and leaves every part running. It returns how many tries or waits it hit;
None where there is nothing to count.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from tests.cluster.cluster import HEARTBEAT_TIMEOUT, TRIGGERER_TIMEOUT, Cluster, Run
from tests.cluster.triggerers import fullest, tree

SHAPES: Mapping[str, Mapping[str, Sequence[int]]] = {
    "ice_cluster": {
        "mapped": range(6),
        "deferred": [-1],
        "deferred_too": [-1],
        "poke": [-1],
        "poke_mapped": range(2),
    },
    "ice_small_cluster": {
        "mapped": range(2),
        "deferred": [-1],
        "deferred_too": [-1],
        "poke": [-1],
        "poke_mapped": range(1),
    },
}
"""The tasks of each kind of action in tests/cluster/dags/ice_cluster.py, and their map indexes."""


def wishes_of(dag: str) -> list[str]:
    """Return the wishes of a run, `TASK_ID MAP_INDEX`."""
    return [
        f"{kind}_{name} {index}"
        for kind in ("batch", "highlights")
        for name, indexes in SHAPES[dag].items()
        for index in indexes
    ]


MOMENTS = ("before_intent", "after_intent", "before_saved", "after_saved")

Conf = Callable[[random.Random, Sequence[str]], Mapping[str, Any]]
Harm = Callable[[Cluster, Run, random.Random], int | None]


def nothing(cluster: Cluster, run: Run, rng: random.Random) -> None:
    """Leave everything alone."""


def undisturbed(rng: random.Random, wishes: Sequence[str]) -> Mapping[str, Any]:
    """No wish stops itself."""
    return {}


def on_two_clocks(rng: random.Random, wishes: Sequence[str]) -> Mapping[str, Any]:
    """Each try tells what its clock says."""
    return {"clocks": True}


def stop_at(moment: str, share: float, **more: Any) -> Conf:
    """Let a share of the wishes stop themselves at a moment; `any` draws one for each."""

    def conf(rng: random.Random, wishes: Sequence[str]) -> Mapping[str, Any]:
        drawn = rng.sample(wishes, round(share * len(wishes)))
        moments: dict[str, str | float] = {}
        for number, wish in enumerate(drawn):
            moments[wish] = moment
            if moment == "any":
                # Every second one by the clock: wherever the process happens to be.
                at = rng.choice(MOMENTS) if number % 2 else round(rng.uniform(0.0, 1.0), 3)
                moments[wish] = at
        return {"troubles": moments, **more}

    return conf


def worker_killed(cluster: Cluster, run: Run, rng: random.Random) -> int:
    """SIGKILL a worker with its tasks, as a pod dies, while tries stand still in it; then let those
    elsewhere go on.
    """
    _until_stopped(run)
    standing = {name: _stopped_in(cluster, run, name) for name in cluster.names("worker")}
    name = rng.choice([name for name in standing if standing[name]] or list(standing))
    stopped = len(run.stopped())
    _signal_all(cluster, name, signal.SIGKILL)
    run.wake()
    # What stands in no worker any more was killed by a row that is played at the same time.
    return stopped - sum(len(standing[other]) for other in standing if other != name)


def tasks_killed(cluster: Cluster, run: Run, rng: random.Random) -> int:
    """SIGKILL the processes of tasks, wherever they are in their submission."""
    _until_stopped(run)
    stopped = run.stopped()
    for pid, _, _ in stopped.values():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(stopped)


def triggerer_killed(cluster: Cluster, run: Run, rng: random.Random) -> int:
    """SIGKILL the triggerer with the most waits, and keep it down until the others serve them."""
    name, waits = _until_serving(cluster, run)
    cluster.supervisor.down(name)
    time.sleep(TRIGGERER_TIMEOUT * rng.uniform(1.5, 3.0))
    cluster.supervisor.up(name)
    return waits


def triggerer_frozen(cluster: Cluster, run: Run, rng: random.Random) -> int:
    """SIGSTOP the triggerer with the most waits for longer than its heartbeat, then SIGCONT."""
    name, waits = _until_serving(cluster, run)
    cluster.supervisor.signal(name, signal.SIGSTOP)
    time.sleep(TRIGGERER_TIMEOUT * rng.uniform(2.0, 4.5))
    cluster.supervisor.signal(name, signal.SIGCONT)
    return waits


def worker_frozen(cluster: Cluster, run: Run, rng: random.Random) -> int:
    """SIGSTOP a worker with its tasks in the middle of submits, as when a machine is suspended,
    until the retries of its tries have submitted.
    """
    _until_stopped(run)
    standing = {name: _stopped_in(cluster, run, name) for name in cluster.names("worker")}
    name = rng.choice([name for name in standing if standing[name]] or list(standing))
    _signal_all(cluster, name, signal.SIGSTOP)
    for wish, (pid, _, _) in run.stopped().items():
        if wish not in standing[name]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
    retried = _until_retried(run, standing[name])
    _signal_all(cluster, name, signal.SIGCONT)
    return retried


def tries_frozen(cluster: Cluster, run: Run, rng: random.Random) -> int:
    """Tries have stopped themselves, each with the process that reports its heartbeat; wake them
    when their retries have submitted.
    """
    _until_stopped(run)
    retried = _until_retried(run, set(run.stopped()))
    run.wake()
    return retried


def scheduler_killed(cluster: Cluster, run: Run, rng: random.Random) -> None:
    """SIGKILL a scheduler in the middle of submits."""
    _until_submitted(run, rng.randint(1, 12))
    cluster.supervisor.signal(rng.choice(cluster.names("scheduler")), signal.SIGKILL)


def api_server_restarted(cluster: Cluster, run: Run, rng: random.Random) -> None:
    """End an api-server in the middle of submits, by SIGTERM or SIGKILL."""
    _until_submitted(run, rng.randint(1, 8))
    number = rng.choice((signal.SIGTERM, signal.SIGKILL))
    cluster.supervisor.signal(rng.choice(cluster.names("api-server")), number)


def postgresql_restarted(cluster: Cluster, run: Run, rng: random.Random) -> None:
    """Restart PostgreSQL at once, without waiting for anybody."""
    _until_submitted(run, rng.randint(1, 16))
    cluster.supervisor.signal("postgresql", signal.SIGQUIT)


def redis_restarted(cluster: Cluster, run: Run, rng: random.Random) -> None:
    """SIGKILL Redis, whose messages are on disk."""
    _until_submitted(run, rng.randint(1, 12))
    cluster.supervisor.signal("redis", signal.SIGKILL)


def everything_killed(cluster: Cluster, run: Run, rng: random.Random) -> None:
    """SIGKILL all of Airflow, its tasks, PostgreSQL and Redis at once."""
    _until_submitted(run, rng.randint(1, 16))
    for name in cluster.names():
        _signal_all(cluster, name, signal.SIGKILL)
    cluster.postgresql.wait_until_ready()


def ice_down(cluster: Cluster, run: Run, rng: random.Random) -> None:
    """Nobody listens at ICE's address for a minute."""
    _until_submitted(run, rng.randint(1, 16))
    cluster.ice.stop()
    time.sleep(60.0)
    cluster.ice.start()


def one_worker_ahead(cluster: Cluster, run: Run, rng: random.Random) -> None:
    """Nothing more; see that tries of the same run have met both clocks."""

    def both() -> bool:
        ahead = [seconds > 30.0 for seconds in run.clocks()]
        return any(ahead) and not all(ahead)

    run.until(both, "on both clocks")


def messages_delivered_again(cluster: Cluster, run: Run, rng: random.Random) -> int:
    """Redis hands out the messages of tasks that are still running once more."""
    before = cluster.delivered_again()
    run.until(lambda: cluster.delivered_again() > before, "delivered again")
    return cluster.delivered_again() - before


ROWS: Mapping[str, tuple[Conf, Harm]] = {
    "baseline": (undisturbed, nothing),
    "worker killed before the send": (stop_at("after_intent", 0.5), worker_killed),
    "worker killed after the send": (stop_at("before_saved", 0.5), worker_killed),
    "task processes killed": (stop_at("any", 0.6), tasks_killed),
    "triggerer killed": (undisturbed, triggerer_killed),
    "triggerer frozen": (undisturbed, triggerer_frozen),
    "worker frozen before the send": (stop_at("after_intent", 0.5), worker_frozen),
    "worker frozen after the send": (stop_at("before_saved", 0.5), worker_frozen),
    "tries frozen before the send": (
        stop_at("after_intent", 0.4, supervisors=True),
        tries_frozen,
    ),
    "tries frozen anywhere": (stop_at("any", 0.6, supervisors=True), tries_frozen),
    "scheduler killed": (undisturbed, scheduler_killed),
    "api-server restarted": (undisturbed, api_server_restarted),
    "PostgreSQL restarted": (undisturbed, postgresql_restarted),
    "Redis restarted": (undisturbed, redis_restarted),
    "everything killed": (undisturbed, everything_killed),
    "ICE down for a minute": (undisturbed, ice_down),
    "messages delivered again": (undisturbed, messages_delivered_again),
    "one worker a minute ahead": (on_two_clocks, one_worker_ahead),
}
AGAIN = "messages delivered again"
"""Needs a cluster whose messages are delivered again soon."""
AHEAD = "one worker a minute ahead"
"""Needs a cluster of its own, and libfaketime."""


def _until_stopped(run: Run) -> None:
    """Wait until every wish that is to stop has stopped, or got past its moment."""

    def there() -> bool:
        stopped = run.stopped()
        # A try can also be killed by another row, or end before its clock stops it.
        ahead = {
            f"{row['task_id']} {row['map_index']}"
            for row in run.tasks()
            if row["try_number"] <= 1 and row["state"] not in {"deferred", "success"}
        }
        return all(wish in stopped or wish not in ahead for wish in run.conf["troubles"])

    run.until(there, "stopped")


def _stopped_in(cluster: Cluster, run: Run, worker: str) -> set[str]:
    """Return the wishes whose tries stand still in a worker."""
    session = cluster.supervisor.pid_of(worker)
    wishes = set()
    for wish, (pid, _, _) in run.stopped().items():
        with suppress(ProcessLookupError):
            if os.getsid(pid) == session:
                wishes.add(wish)
    return wishes


def _signal_all(cluster: Cluster, name: str, number: signal.Signals) -> None:
    """Send a signal to a program and its tasks. Airflow gives each task a process group of its own
    (airflow/sdk/execution_time/supervisor.py, `os.setpgid`), but the session of the worker.
    """
    processes = list(tree(cluster, name))
    cluster.supervisor.signal(name, number)
    for pid in processes:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _until_retried(run: Run, wishes: set[str]) -> int:
    """Wait until a later try of each wish has got so far that it shows its job, and return how many
    there are. A first try that had handed its wait to a triggerer when it was stopped has none.
    """
    retried: set[str] = set()

    def there() -> bool:
        rows = {f"{row['task_id']} {row['map_index']}": row for row in run.tasks()}
        jobs = run.jobs()
        retried.update(wish for wish in wishes if rows[wish]["try_number"] > 1 and jobs.get(wish))
        return all(wish in retried or rows[wish]["state"] == "success" for wish in wishes)

    run.until(there, "retried", HEARTBEAT_TIMEOUT + 240.0)
    return len(retried)


def _until_submitted(run: Run, jobs: int) -> None:
    run.until(lambda: len(run.jobs()) >= jobs, f"at {jobs} jobs")


def _until_serving(cluster: Cluster, run: Run) -> tuple[str, int]:
    """Wait until a quarter of the wishes waits in triggerers, and return the name of the triggerer
    with the most waits, and how many it has.
    """
    waits = len(wishes_of(run.dag)) // 4
    run.until(lambda: run.states().get("deferred", 0) >= waits, f"at {waits} deferred waits")
    run.until(lambda: fullest(cluster)[1] > 0, "served by a triggerer")
    return fullest(cluster)
