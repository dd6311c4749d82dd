"""The jobs of the benchmark's server: when each begins, ends and shows, and its bytes on the wire,
made beforehand."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import dataclass
from typing import Final, Literal

Status = Literal["Init", "Processing", "Finished", "Failed"]
RUNNING: Final = ("Init", "Processing")
SUB_JOBS: Final = 20
PAGE: Final = 100

_MARK: Final = "@status@"


@dataclass(slots=True)
class Job:
    """One batch job.

    :param ends: epoch seconds. So are begins (of Processing), listed_from, listed_until (its list
        row runs on until then) and known_from.
    """

    job_id: str
    row: tuple[bytes, bytes]
    ends: float = math.inf
    begins: float = 0.0
    outcome: Status = "Finished"
    listed_from: float = 0.0
    listed_until: float = 0.0
    known_from: float = 0.0

    def status(self, now: float) -> Status:
        """Return the state that Get shows."""
        if now >= self.ends:
            return self.outcome
        return "Processing" if now >= self.begins else "Init"

    def listed(self, now: float) -> Status | None:
        """Return the state that List shows; None where it does not show the job."""
        if now < self.listed_from:
            return None
        return "Processing" if self.ends <= now < self.listed_until else self.status(now)

    def body(self, now: float) -> bytes:
        """Return what Get answers."""
        head, tail = self.row
        return b'{"RequestId":"9D2A3B7C","EditingBatchJob":%s%s%s,%s}}' % (
            head,
            self.status(now).encode(),
            tail[:-1],
            _SUB_JOBS,
        )


class Book:
    """All jobs of the account, in the order in which List shows them."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self._order: list[Job] = []

    def add(self, job: Job) -> None:
        """Put a job at the end of the list."""
        self.jobs[job.job_id] = job
        self._order.append(job)

    def page(self, status: str, token: str, now: float) -> bytes:
        """Return what List answers. The token is the place in the list where the page begins."""
        rest = enumerate(itertools.islice(self._order, int(token or 0), None), int(token or 0))
        shown = (place for place, job in rest if job.listed(now) == status)
        places = list(itertools.islice(shown, PAGE + 1))
        rows = b",".join(
            b"%s%s%s" % (head, status.encode(), tail)
            for head, tail in (self._order[place].row for place in places[:PAGE])
        )
        more = b'"NextToken":"%d",' % places[PAGE] if len(places) > PAGE else b""
        return b'{"RequestId":"9D2A3B7C","MaxResults":100,%s"EditingBatchJobList":[%s]}' % (
            more,
            rows,
        )


def row_of(job_id: str) -> tuple[bytes, bytes]:
    """Return a job's row without its state, in two parts: some 3 kB, most of it the configs that
    its submit named."""
    clip = "http://your-bucket.oss-cn-shanghai.aliyuncs.com/clips/{}/take_{:03}.mp4"
    groups = [
        {"GroupName": name, "MediaArray": [clip.format(name, take) for take in range(8)]}
        for name in ("opening", "body", "ending")
    ]
    speech = [
        f"Line {line} of the script that is spoken over the video, "
        "of about the length of a sentence."
        for line in range(4)
    ]
    body = {
        "JobId": job_id,
        "JobType": "Script",
        "Status": _MARK,
        "InputConfig": json.dumps(
            {
                "MediaGroupArray": groups,
                "SpeechTextArray": speech,
                "TitleArray": ["A title", "Another"],
            }
        ),
        "EditingConfig": json.dumps(
            {"MediaConfig": {"Volume": 0}, "SpeechConfig": {"Volume": 1, "SpeechRate": 0}}
        ),
        "OutputConfig": json.dumps(
            {
                "MediaURL": clip.replace("{}/take_{:03}", "out_{index}"),
                "Count": SUB_JOBS,
                "Width": 1080,
                "Height": 1920,
            }
        ),
        "UserData": json.dumps({"NotifyAddress": "https://example.com/ice"}),
        "Extend": "{}",
        "CreateTime": "2026-06-13T08:47:07Z",
        "ModifiedTime": "2026-06-13T08:57:07Z",
    }
    head, tail = json.dumps(body, separators=(",", ":")).split(_MARK)
    return head.encode(), tail.encode()


def _sub_jobs() -> bytes:
    rows = [
        {
            "JobId": f"sub-{index}",
            "Status": "Success",
            "MediaId": f"media-{index}",
            "MediaURL": f"http://your-bucket.oss-cn-shanghai.aliyuncs.com/out_{index}.mp4",
            "ProjectId": f"project-{index}",
            "Duration": 12.5,
        }
        for index in range(SUB_JOBS)
    ]
    return b'"SubJobList":' + json.dumps(rows, separators=(",", ":")).encode()


_SUB_JOBS: Final = _sub_jobs()
