"""Jobs over time: the life cycle, idempotency, listing, and what outlives a restart."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alibabacloud_ice20201109 import models
from alibabacloud_tea_openapi.exceptions import ClientException

from airflow_ice.emulator.local import LocalIce
from tests.contract.conftest import GROUPS, OUTPUT, Sdk


def test_the_life_of_a_job(ice: LocalIce, sdk: Sdk) -> None:
    job_id = sdk.submit()
    seen = []
    for seconds in (0, 20, 40, 50):
        ice.advance(seconds)
        job = sdk.get(job_id)
        seen.append(
            (
                job.status,
                [sub_job.status for sub_job in job.sub_job_list],
                job.complete_time is not None,
            )
        )
    assert seen == [
        ("Init", [], False),
        ("Processing", ["Processing", "Init"], False),
        ("Processing", ["Success", "Processing"], False),
        ("Finished", ["Success", "Success"], True),
    ]
    job = sdk.get(job_id)
    created, completed = (
        datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z")
        for text in (job.create_time, job.complete_time)
    )
    assert 99 <= (completed - created).total_seconds() <= 101
    assert job.modified_time == job.complete_time


DOCUMENTED = {
    "input_config": """{
  "MediaGroupArray": [{
      "GroupName": "MediaGroup1",
      "MediaArray": [
        "****9d46c886b45481030f6e****",
        "****6c886b4549d481030f6e****" ]
    }, {
      "GroupName": "MediaGroup2",
      "MediaArray": [
        "****d46c886810b454930f6e****",
        "****4549d886810b46c30f6e****" ]
  }],
  "TitleArray": [
      "Huilongguan Hema Fresh has opened",
      "Hema Fresh has opened" ],
  "SpeechTextArray": [
      "A new Hema Fresh store has opened in the nearby shopping mall,today is its first day"
      "There are quite a few people in the mall,Snacks,drinks are relatively cheap." ]
}""",
    "editing_config": """{
  "MediaConfig": {
      "Volume": 0
  },
  "SpeechConfig": {
      "Volume": 1
  },
 "BackgroundMusicConfig": {
      "Volume": 0.3
  }
}""",
    "output_config": """{
  "MediaURL": "http://xxx.oss-cn-shanghai.aliyuncs.com/xxx_{index}.mp4",
  "Count": 20,
  "MaxDuration": 15,
  "Width": 1080,
  "Height": 1920,
  "Video": {"Crf": 27}
}""",
    "user_data": '{"NotifyAddress":"http://xx.xx.xxx"}',
}


def test_the_job_of_the_documentation_works_as_it_stands(ice: LocalIce, sdk: Sdk) -> None:
    request = models.SubmitBatchMediaProducingJobRequest(**DOCUMENTED)
    job_id = sdk.client.submit_batch_media_producing_job(request).body.job_id
    ice.finish_all()
    job = sdk.get(job_id)
    assert {name: getattr(job, name) for name in DOCUMENTED} == DOCUMENTED
    assert (job.status, job.job_type) == ("Finished", "Script")
    assert [sub_job.media_url for sub_job in job.sub_job_list] == [
        f"http://xxx.oss-cn-shanghai.aliyuncs.com/xxx_{index}.mp4" for index in range(20)
    ]
    assert all(4 < sub_job.duration <= 15 for sub_job in job.sub_job_list)


def test_a_failed_sub_job_leaves_the_job_finished(ice: LocalIce, sdk: Sdk) -> None:
    ice.fault("sub_jobs_fail", indexes=[0, 1], code="QueryMaterialFailed", message="no")
    job_id = sdk.submit()
    ice.finish_all()
    job = sdk.get(job_id)
    assert job.status == "Finished"
    assert [
        (sub_job.status, sub_job.error_code, sub_job.error_message) for sub_job in job.sub_job_list
    ] == [("Failed", "QueryMaterialFailed", "no")] * 2


@pytest.mark.parametrize(
    "url",
    [
        "http://ice-emulator.oss-cn-shanghai.aliyuncs.com/gone.mp4",
        "oss://ice-emulator/gone.mp4",
        "http://127.0.0.1:1/objects/ice-emulator/gone.mp4",
    ],
)
def test_material_missing_from_the_emulators_own_store_fails_the_job(
    ice: LocalIce, sdk: Sdk, url: str
) -> None:
    job_id = sdk.submit(inputs={"MediaGroupArray": [{"GroupName": "a", "MediaArray": [url]}]})
    assert sdk.get(job_id).extend == "{}"
    ice.finish_all()
    job = sdk.get(job_id)
    assert (job.status, job.sub_job_list) == ("Failed", [])
    assert json.loads(job.extend) == {
        "ErrorCode": "InvalidMaterial.NotFound",
        "ErrorMessage": f'The specified clips url not found:"{url}"',
    }
    assert sdk.list(status="Failed").editing_batch_job_list[0].job_id == job_id


def test_a_url_with_one_slash_is_taken_and_fails_later(ice: LocalIce, sdk: Sdk) -> None:
    job_id = sdk.submit(
        output={"MediaURL": "http:/shop.oss-cn-shanghai.aliyuncs.com/v_{index}.mp4"}
    )
    ice.finish_all()
    assert sdk.get(job_id).status == "Failed"


def test_a_client_token_makes_one_job(ice: LocalIce, sdk: Sdk) -> None:
    first = sdk.submit(client_token="run-1")
    assert sdk.submit(client_token="run-1") == first
    ice.restart()
    assert sdk.submit(client_token="run-1") == first
    with pytest.raises(ClientException) as caught:
        sdk.submit(client_token="run-1", user_data='{"a":1}')
    assert (caught.value.status_code, caught.value.code) == (400, "IdempotentParameterMismatch")
    assert len({first, sdk.submit(client_token="run-2"), sdk.submit(), sdk.submit()}) == 4
    assert len(ice.jobs()) == 4


def test_pages_are_stable_while_jobs_are_added(ice: LocalIce, sdk: Sdk) -> None:
    ids = []
    for _ in range(7):
        ids.append(sdk.submit())
        ice.advance(1)
    seen, token = [], None
    for _ in range(9):
        page = sdk.list(max_results=3, next_token=token)
        assert page.max_results == 3
        seen += [row.job_id for row in page.editing_batch_job_list]
        sdk.submit()
        token = page.next_token
        if not token:
            break
    assert seen == ids[::-1]
    first = sdk.list(max_results=2, sort_by="asc")
    assert [row.job_id for row in first.editing_batch_job_list] == ids[:2]
    second = sdk.list(max_results=2, sort_by="asc", next_token=first.next_token)
    assert [row.job_id for row in second.editing_batch_job_list] == ids[2:4]


def test_filters(ice: LocalIce, sdk: Sdk) -> None:
    old = sdk.submit()
    ice.advance(1000)
    ice.fault("job_fails")
    failed = sdk.submit(inputs={"MediaArray": ["m"]})
    ice.advance(1000)
    new = sdk.submit()
    ice.advance(50)

    def found(**filters: str) -> list[str]:
        return [row.job_id for row in sdk.list(**filters).editing_batch_job_list]

    assert found() == [new, failed, old]
    assert found(status="Processing") == [new]
    assert found(status="Finished") == [old]
    assert found(status="Failed", job_type="Smart_Mix") == [failed]
    assert found(job_type="Script") == [new, old]
    assert found(job_type="Scene_Batch_Editing") == []
    assert found(job_id=old) == [old]
    middle = sdk.get(failed).create_time
    assert found(start_time=middle) == [new, failed]
    assert found(end_time=middle) == [failed, old]
    assert found(start_time=middle, end_time=middle) == [failed]
    assert found(start_time="2999-01-01T00:00:00Z") == []
    assert found(end_time="1999-01-01T00:00:00Z") == []


def test_jobs_and_the_clock_outlive_a_restart(ice: LocalIce, sdk: Sdk, tmp_path: Path) -> None:
    job_id = sdk.submit(user_data='{"a":1}')
    ice.advance(1_000_000 + 20)
    ice.restart()
    other = sdk.submit()
    ice.advance(20)
    before = sdk.get(other).to_map()
    ice.restart()
    assert sdk.get(other).to_map() == before
    job = sdk.get(job_id)
    assert (job.status, job.user_data) == ("Finished", '{"a":1}')
    assert [seen["code"] for seen in ice.requests("SubmitBatchMediaProducingJob")] == ["", ""]


def test_two_emulators_can_share_nothing_but_the_folder(tmp_path: Path) -> None:
    with LocalIce(data_dir=tmp_path, render=False, job_seconds=0) as ice:
        job_id = Sdk(ice).submit()
        assert Sdk(ice).get(job_id).status == "Finished"
    with LocalIce(data_dir=tmp_path, render=False) as ice:
        assert Sdk(ice).get(job_id).status == "Finished"


def test_an_unfrozen_clock_runs(ice: LocalIce, sdk: Sdk) -> None:
    ice.unfreeze()
    ice.freeze()
    job_id = sdk.submit()
    now = datetime.now(UTC)
    created = datetime.strptime(sdk.get(job_id).create_time, "%Y-%m-%dT%H:%M:%S%z")
    assert abs((created - now).total_seconds()) < 5


def test_list_is_quick_among_many_jobs(ice: LocalIce, sdk: Sdk) -> None:
    for _ in range(120):
        sdk.submit(inputs=GROUPS, output=OUTPUT)
    page = sdk.list(max_results=100, status="Init")
    assert len(page.editing_batch_job_list) == 100
    assert (
        len(
            sdk.list(
                max_results=100, status="Init", next_token=page.next_token
            ).editing_batch_job_list
        )
        == 20
    )
