"""What the flow that publishes does with a run that has no student."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows import resumes, settings_file
from flows.publish import publish
from tests.tiny_run import tiny_settings


@pytest.mark.services
@pytest.mark.usefixtures("prefect_server")
def test_the_training_of_a_pool_publishes_nothing(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text(settings_file.dump(tiny_settings(tmp_path)))
    resumes.begin(tmp_path, "train_pool")
    state = publish(str(tmp_path), return_state=True)
    assert state.is_completed()
    assert state.message == "a pool's training has no student to publish"
