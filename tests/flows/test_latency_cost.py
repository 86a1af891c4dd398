"""A search whose cost is latency, for real: each pair is timed once, and a kill changes no fact."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from flows.inputs import settings_file
from flows.inputs.settings_file import read_back
from jdn_core.run import assemble
from jdn_core.search import latencies
from jdn_core.search.hill_climbing import HillClimber
from jdn_core.search.records import Records
from jdn_core.settings.whole import parse
from tests.flows.commands import jdn, killed_at
from tests.tiny_run import shapes, tiny_settings

pytestmark = [
    pytest.mark.services,
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.timeout(900),
]
TARGET = {"name": "here", "runtime": "torch", "repeats": 3}


def facts(folder: Path) -> dict[str, float]:
    records = Records(folder).all()
    return {each.pair.key: each.evaluation.latency["here"] for each in records if each.evaluation}


def test_a_search_by_latency_goes_on_from_its_facts(tmp_path: Path) -> None:
    plain = tiny_settings(shapes(tmp_path / "shapes"), iterations=3).model_dump(mode="json")
    plain |= {"targets": [TARGET], "score": {"cost": "latency", "target": "here"}}
    (tmp_path / "tiny.yaml").write_text(settings_file.dump(parse(plain)))
    out = tmp_path / "run"
    killed = killed_at("search: 1/", "upgrade", str(tmp_path / "tiny.yaml"), "--out", str(out))
    assert killed == -signal.SIGKILL
    before = facts(out)
    assert len(before) >= 2
    done = jdn("resume", str(out), "--json")
    assert done.returncode == 0, done.stderr
    found, records = facts(out), Records(out).all()
    assert len(found) == len(records) == 4
    assert before.items() <= found.items()
    rules = assemble.climb_rules(read_back(out))
    for index in range(1, len(records)):
        assert HillClimber(rules, records[:index]).ask() == records[index].pair
    fact = latencies.read(Records(out).path(records[1].pair.key))["here"]
    assert (fact.runtime, fact.threads, fact.resolution) == ("torch", 1, "64x64")
    told = json.loads(jdn("rescore", str(out), "--target", "here", "--json").stdout)
    assert [row["latency_is_measured"] for row in told["pairs"]] == [True] * 4
    assert told["model"] is None
