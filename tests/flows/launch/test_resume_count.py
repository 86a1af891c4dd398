"""The cap on resumes that an automation starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.launch import resume_count
from jdn_core.errors import JobFailed
from jdn_core.storage import durable


def test_five_automatic_resumes_that_leave_nothing_behind_are_the_last(tmp_path: Path) -> None:
    for _ in range(resume_count.MOST):
        resume_count.count(tmp_path, automatic=True)
    with pytest.raises(JobFailed, match=r"resumed 5 times by itself.*run `resume` by hand"):
        resume_count.count(tmp_path, automatic=True)


@pytest.mark.parametrize("file", ["pairs/{}/pair.json", "work/checkpoints/base/checkpoints.json"])
def test_a_record_or_a_checkpoint_begins_the_count_anew(tmp_path: Path, file: str) -> None:
    for number in range(3 * resume_count.MOST):
        if number % resume_count.MOST == 0:
            new = tmp_path / file.format(number)
            new.parent.mkdir(parents=True, exist_ok=True)
            new.write_text(str(number))
        resume_count.count(tmp_path, automatic=True)
    assert durable.read_json(tmp_path / resume_count.FILE)["resumes"] == resume_count.MOST


def test_a_person_may_resume_as_often_as_she_likes(tmp_path: Path) -> None:
    for _ in range(resume_count.MOST):
        resume_count.count(tmp_path, automatic=True)
    resume_count.count(tmp_path, automatic=False)
    for _ in range(resume_count.MOST):
        resume_count.count(tmp_path, automatic=True)


def test_a_folder_goes_on_with_the_flow_that_began_it(tmp_path: Path) -> None:
    assert resume_count.flow_of(tmp_path) == "upgrade"
    resume_count.begin(tmp_path, "train_pool")
    resume_count.count(tmp_path, automatic=True)
    resume_count.begin(tmp_path, "upgrade")
    assert resume_count.flow_of(tmp_path) == "train_pool"
