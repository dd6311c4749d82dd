"""What the service is known to refuse, checked before anything is sent.

A refused submit costs a round trip and a retry; one that is accepted and fails an hour later costs
more. Each check names the field, the value and the rule. Only documented limits are checked, the
wider one where two pages disagree, and unknown keys pass, so that a newer service is not locked
out.

The emulator checks the same requests in its own words (`emulator.validation`) and shares nothing
with this: it is the oracle of the tests. A rule that is misread here is found by the two of them
disagreeing; in shared code both would be wrong together and every test green.
"""

from airflow_ice.api.limits.input_config import (
    SPORTS,
    batch_input,
    highlights_input,
    selection_input,
    sports_input,
)
from airflow_ice.api.limits.json_values import (
    MAX_DEPTH,
    MAX_PATH,
    MAX_USER_DATA_BYTES,
    MAX_VALUES,
    json_object,
    rendered,
    shown,
    user_data,
    user_data_object,
)
from airflow_ice.api.limits.keys import nearest, unknown_keys
from airflow_ice.api.limits.output_config import durations, editing, output, scene_output
from airflow_ice.api.limits.regions import one_region
from airflow_ice.api.limits.scalars import (
    MAX_CLIENT_TOKEN,
    MAX_SECONDS,
    client_token,
    job_id,
    parameters,
    rendered_id,
    seconds,
    whole_number,
)

__all__ = [
    "MAX_CLIENT_TOKEN",
    "MAX_DEPTH",
    "MAX_PATH",
    "MAX_SECONDS",
    "MAX_USER_DATA_BYTES",
    "MAX_VALUES",
    "SPORTS",
    "batch_input",
    "client_token",
    "durations",
    "editing",
    "highlights_input",
    "job_id",
    "json_object",
    "nearest",
    "one_region",
    "output",
    "parameters",
    "rendered",
    "rendered_id",
    "scene_output",
    "seconds",
    "selection_input",
    "shown",
    "sports_input",
    "unknown_keys",
    "user_data",
    "user_data_object",
    "whole_number",
]
