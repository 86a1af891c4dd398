"""Small inputs that once failed, each with what is right: a folder of scripts beside the real datasets.

The folder is ``cases`` beside the one that ``JDN_DATA`` names, so nothing here names a place of one machine.
A case is ``run.sh``, which makes its input and runs one command; what its output must hold stands here.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

_HERE = Path(os.environ.get("JDN_DATA") or "nowhere").resolve().parent / "cases"
_SECONDS = 900  # a whole upgrade, on a machine that is slow and busy
pytestmark = [pytest.mark.slow, pytest.mark.timeout(_SECONDS + 60)]

# What the output must hold, as regular expressions.
RIGHT: dict[str, tuple[str, ...]] = {
    "coco_polygons_only": (
        r"made of polygons, for there is no bbox",
        r"137 boxes",
        r"problems: 0",
        r"exit 0",
    ),
    "coco_strictness": (r"problems: 169", r"bbox: must be four finite numbers"),
    "evaluate_ids_for_names": (r"exit 0\nexit 65",),
    "filestore_doctor": (r"plain files", r"use sqlite:///FILE", r"exit 0", r"has not been told of all of it"),
    "home_not_writable": (r"ERROR 74 Prefect's folder .* cannot be written", r"exit 74"),
    "mlflow_dead_silent": (r"exit 0\non the screen:\n(.*\n)*.*jdn sync(.*\n)*in jdn.log",),
    "mlflow_moved_folder": (r"0 problems", r"0 are missing", r"resume: exit 0"),
    "predict_folder": (r"exit 0",),
    "predict_overwrites_picture": (r"exit (0|64)",),
    "question_mark_folder": (r"0 problems",),
    "roboflow_coco_layout": (
        r"train/_annotations.coco.json, valid/_annotations.coco.json",
        r"32 images",
        r"exit 0",
    ),
    "roboflow_voc_layout": (r"26 train, 6 val", r"exit 0"),
    "voc_filename_tag": (r"annotations say another filename", r"exit 0"),
    "voc_sub_and_upper_xml": (r"exit 0",),
    "voc_trainval_test": (r"train = trainval.txt, val = test.txt", r"exit 0"),
    "yolo_numeric_keys_and_absolute": (r"exit 0\n(.*\n)*exit 0\n(.*\n)*exit 0", r'"name": *"0012"'),
    "yolo_validation_key": (r"exit 0",),
    "yolo_yaml_without_splits": (r"26 train, 6 val", r"exit 0"),
}


def cases() -> list[pytest.ParameterSet]:
    """Every folder with a script; one that is not known above is judged by its own verdict alone."""
    names = sorted(path.parent.name for path in _HERE.glob("*/run.sh"))
    return [pytest.param(name, id=name) for name in names] or [
        pytest.param("", marks=pytest.mark.skip(reason="there is no folder of cases beside JDN_DATA"))
    ]


@pytest.mark.parametrize("name", cases())
def test_a_case_gives_what_is_right(name: str, tmp_path: Path) -> None:
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_"))}
    environment = ours | {"JDN": str(Path(sys.executable).with_name("jdn"))}
    environment |= dict.fromkeys(("TMPDIR", "HOME"), str(tmp_path))
    command = ["bash", str(_HERE / name / "run.sh")]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=_SECONDS, check=False
    )
    said = done.stdout + done.stderr
    assert "Traceback" not in said
    assert "WRONG" not in said
    for wanted in RIGHT.get(name, ("OK",)):
        assert re.search(wanted, said), f"{wanted} is not in:\n{said}"
    if "OK" in (_HERE / name / "run.sh").read_text():
        assert re.search(r"^OK", done.stdout, re.MULTILINE), said
