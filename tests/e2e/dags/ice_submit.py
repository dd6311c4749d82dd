"""A task for each way in which a submit can go wrong; tests/e2e/test_exactly_once.py says what must
become of each.

Each task has a local ICE of its own behind the connection `once_TASK_ID`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import Context, dag

from airflow_ice.operators import (
    IceSubmitBatchMediaProducingJobOperator,
    IceSubmitOperator,
    IceSubmitScreenMediaHighlightsJobOperator,
)
from airflow_ice.submission import sending
from airflow_ice.submission.store import StateStore


class TroubledStore:
    """The task's state store, at which something happens in one moment of a submission.

    The submission passes through it at each step that counts: `intent` is written before a job is
    sent, `saved` when its id is known, `delivered` when its result is. `before_` and `after_` one
    of them the process is killed; `unwritable_` is an error, and `unwritable_saved` one that passes
    after three writes. After the intent it can also be `terminated_`, or `frozen_` together with
    its supervisor, which then reports no heartbeat.

    :param trouble: such a moment, `unwritable_saved_for_good`, or `unreadable`; None for none.
    """

    def __init__(self, store: StateStore, trouble: str | None) -> None:
        self._store = store
        self._trouble = trouble
        self._saves_left_to_fail = 3
        if trouble == "unwritable_saved_for_good":
            sending._SAVE_WITHIN = 3.0  # type: ignore[misc]

    def get(self, key: str, default: Any = None) -> Any:
        if self._trouble == "unreadable":
            raise ConnectionError("the state store is out of reach")
        return self._store.get(key, default)

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        step = "delivered" if value["delivered"] else "saved" if value["job_id"] else "intent"
        if self._is_unwritable(step):
            raise ConnectionError("the state store is out of reach")
        self._die_if(f"before_{step}")
        self._store.set(key, value, retention=retention)
        self._die_if(f"after_{step}")
        if step == "intent" and self._trouble == "terminated_after_intent":
            os.kill(os.getpid(), signal.SIGTERM)
        if step == "intent" and self._trouble == "frozen_after_intent":
            self._trouble = None
            # Told by the process itself: whoever asks Airflow may hear only of the try that
            # replaces it.
            Path(os.environ["AIRFLOW_HOME"], "frozen").write_text(f"{os.getpid()} {os.getppid()}")
            os.kill(os.getppid(), signal.SIGSTOP)
            os.kill(os.getpid(), signal.SIGSTOP)

    def _is_unwritable(self, step: str) -> bool:
        if step == "saved" and self._trouble == "unwritable_saved":
            self._saves_left_to_fail -= 1
            return self._saves_left_to_fail >= 0
        return self._trouble in {f"unwritable_{step}", f"unwritable_{step}_for_good"}

    def _die_if(self, moment: str) -> None:
        if self._trouble == moment:
            os.kill(os.getpid(), signal.SIGKILL)


class Troubled(IceSubmitOperator):
    """A submit with a trouble in some of its tries.

    :param troubles: number of the try to the trouble.
    """

    def __init__(self, *, troubles: Mapping[int, str] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.troubles = dict(troubles or {})

    def execute(self, context: Context) -> Any:
        self._bring_trouble(context)
        return super().execute(context)

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> Any:
        self._bring_trouble(context)
        return super().execute_complete(context, event)

    def _bring_trouble(self, context: Context) -> None:
        changed: dict[str, Any] = context  # type: ignore[assignment]
        changed["task_state_store"] = TroubledStore(
            changed["task_state_store"], self.troubles.get(context["ti"].try_number)
        )


class Batch(Troubled, IceSubmitBatchMediaProducingJobOperator):
    """The action has a ClientToken."""


class Highlights(Troubled, IceSubmitScreenMediaHighlightsJobOperator):
    """The action has none."""


OUTPUT = {
    "MediaURL": "http://bucket.oss-cn-shanghai.aliyuncs.com/video_{index}.mp4",
    "Count": 2,
    "Width": 320,
    "Height": 180,
    "FixedDuration": 1,
}
CHANGING_OUTPUT = {
    **OUTPUT,
    "MediaURL": "http://bucket.oss-cn-shanghai.aliyuncs.com/try_{{ ti.try_number }}_{index}.mp4",
}
COMMON: dict[str, Any] = {
    "wait_for_completion": True,
    "deferrable": False,
    "poke_interval": 0.5,
    "timeout": 180,
    "list_settle_seconds": 4,
}


def arguments(task_id: str, **options: Any) -> dict[str, Any]:
    return {
        "task_id": task_id,
        "ice_conn_id": f"once_{task_id}",
        "output_config": OUTPUT,
        **COMMON,
        **options,
    }


def batch(task_id: str, **options: Any) -> None:
    Batch(
        input_config={"MediaGroupArray": [{"GroupName": "one", "MediaArray": ["0" * 32]}]},
        **arguments(task_id, **options),
    )


def highlights(task_id: str, **options: Any) -> None:
    Highlights(input_config={"MediaArray": ["0" * 32]}, **arguments(task_id, **options))


@dag(
    schedule=None,
    catchup=False,
    max_active_tasks=64,
    default_args={"retries": 4, "retry_delay": timedelta(seconds=1)},
)
def ice_submit() -> None:  # longer than other functions: a list of situations, one task each
    batch("first_run")
    # Lost replies.
    batch("reply_lost_with_token")
    batch("every_reply_lost_with_token")
    highlights("reply_lost")
    highlights("reply_lost_and_list_lags", list_settle_seconds=60)
    highlights("reply_lost_and_told_to_fail", on_lost_reply="fail", retries=1)
    highlights("refused_by_gateway")
    # Edited connections.
    highlights("moved_and_found", troubles={1: "before_saved"}, retry_delay=timedelta(seconds=15))
    highlights(
        "moved_and_not_found",
        troubles={1: "before_saved"},
        retry_delay=timedelta(seconds=15),
        retries=1,
    )
    # A job that is not known yet.
    highlights("unknown_yet", troubles={1: "after_saved"})
    # Killed task processes.
    batch("killed_before_send_with_token", troubles={1: "after_intent"})
    highlights("killed_before_send", troubles={1: "after_intent"})
    batch("killed_before_save_with_token", troubles={1: "before_saved"})
    highlights("killed_before_save", troubles={1: "before_saved"})
    highlights(
        "killed_before_save_and_list_lags", troubles={1: "before_saved"}, list_settle_seconds=60
    )
    highlights("terminated_before_send", troubles={1: "terminated_after_intent"})
    highlights("frozen_before_send", troubles={1: "frozen_after_intent"})
    highlights("killed_while_waiting")
    highlights("finished_meanwhile", troubles={1: "after_saved"}, retry_delay=timedelta(seconds=3))
    batch("killed_after_delivery", troubles={1: "after_delivered"}, deferrable=True)
    highlights(
        "killed_at_every_step",
        troubles={1: "after_intent", 2: "before_saved", 3: "after_saved", 4: "after_delivered"},
    )
    arguments_of_mapped = arguments("mapped", troubles={1: "before_saved"})
    Highlights.partial(input_config={"MediaArray": ["0" * 32]}, **arguments_of_mapped).expand(
        user_data=[{"n": 0}, {"n": 1}]
    )
    # The triggerer.
    highlights("triggerer_killed", deferrable=True)
    # Failed jobs.
    batch("failed_and_fail", troubles={1: "after_saved"}, retry_delay=timedelta(seconds=3))
    batch(
        "failed_and_resubmit",
        troubles={1: "after_saved"},
        retry_delay=timedelta(seconds=3),
        on_failed_job="resubmit",
    )
    highlights("failed_while_deferred_and_fail", deferrable=True)
    highlights("failed_while_deferred_and_resubmit", deferrable=True, on_failed_job="resubmit")
    # Clears.
    highlights("cleared_while_running")
    highlights("cleared_while_deferred", deferrable=True)
    batch("cleared_after_too_few_videos")
    batch("cleared_after_failure")
    highlights("cleared_after_delivery")
    highlights("cleared_after_delivery_and_resubmit", on_clear="resubmit")
    highlights("cleared_after_delivery_with_other_inputs", output_config=CHANGING_OUTPUT)
    highlights(
        "cleared_with_another_wish", wish="{{ 'first' if ti.try_number == 1 else 'second' }}"
    )
    highlights("cleared_without_record", deferrable=True)
    batch("not_waiting", wait_for_completion=False, troubles={1: "after_delivered"})
    # Changed inputs.
    for policy in ("fail", "reattach", "resubmit"):
        highlights(
            f"changed_and_{policy}",
            output_config=CHANGING_OUTPUT,
            on_changed_inputs=policy,
            troubles={1: "after_saved"},
        )
    batch(
        "changed_and_list_lags",
        output_config=CHANGING_OUTPUT,
        on_changed_inputs="reattach",
        troubles={1: "before_saved"},
        retries=20,
    )
    # The state store.
    highlights("store_unreadable", troubles={1: "before_saved", 2: "unreadable"})
    highlights("store_unwritable", troubles={1: "unwritable_intent", 2: "unwritable_saved"})
    highlights("id_never_stored", troubles={1: "unwritable_saved_for_good"})
    batch("id_never_stored_with_token", troubles={1: "unwritable_saved_for_good"})
    highlights(
        "store_emptied_before_retry", troubles={1: "after_saved"}, retry_delay=timedelta(seconds=15)
    )
    highlights("record_damaged", retries=20)
    # Ended by a user.
    highlights("marked_failed_while_running")
    highlights("marked_failed_while_deferred", deferrable=True)


ice_submit()
