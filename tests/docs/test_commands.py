"""The commands of each page, run one after another in a folder of their own, with small data.

What stands for what: ``photos`` are ten drawn pictures, ``photo.jpg`` is one of them, a training takes
settings of seconds instead of a preset. Everything else is as it stands on the page.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flows.inputs import settings_file
from tests.docs.blocks import PAGES, ROOT, Block, blocks, given
from tests.fixtures import frozen
from tests.fixtures.make import settings_of
from tests.processes import unmeasured

# Pages whose commands train nothing and start no server.
QUICK = ("docs/how-to/data.md",)
_TRAINING = re.compile(
    r"\bjdn (upgrade|train-base|train-pool|search|study [\w-]+) "
    r"(?:bccd_cpu|(?:coco|photos)_\w+|mine\.yaml)(?=\s)"
)
_PAGES = [page for page in PAGES if any(block.is_run for block in blocks(page))]


@pytest.mark.timeout(1500)
@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=[] if page in QUICK else [pytest.mark.services]) for page in _PAGES]
)
def test_the_commands_of_a_page_run(page: str, tmp_path: Path) -> None:
    environment = _prepare(tmp_path, page)
    script = "\n".join(["set -euo pipefail", *map(_lines, filter(lambda block: block.is_run, blocks(page)))])
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    place = re.findall(r"(?m)^== (line \d+)$", done.stderr)[-1:]
    assert done.returncode == 0, f"{page} {place}: {done.stdout[-2000:]}\n{done.stderr[-5000:]}"


def _prepare(folder: Path, page: str) -> dict[str, str]:
    """Makes what the commands stand on; the environment in which they run."""
    photos = frozen.photos(folder / "photos")
    shutil.copyfile(next((photos / "val").iterdir()), folder / "photo.jpg")
    (folder / "tiny.yaml").write_text(settings_file.dump(settings_of(photos)))
    for place in given(page):
        frozen.thawed("finished", folder / place)
    activate = folder / ".venv" / "bin" / "activate"
    activate.parent.mkdir(parents=True)
    activate.write_text(f'export PATH="{Path(sys.executable).parent}:$PATH"\n')
    return unmeasured() | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(folder),
        "JDN_HOME": str(folder / "jdn-home"),
        "PREFECT_HOME": str(folder / "prefect-home"),
    }


def _lines(block: Block) -> str:
    """Commands of a block; those that train take the small settings instead of a preset."""
    mark = f"echo '== line {block.line}' >&2\n"
    if block.language == "python":
        return f"{mark}python - <<'END'\n{block.text}END\n"
    return mark + _TRAINING.sub(r"jdn \1 tiny.yaml", block.text)
