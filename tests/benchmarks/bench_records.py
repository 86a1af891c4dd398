"""What 10,000 pairs cost a search: its resume, and each pair after it; and the commit of heavy weights."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest

from jdn_core.search.hill_climbing import first_pair
from jdn_core.search.records import Records
from jdn_core.storage import durable
from tests.benchmarks import long_search
from tests.benchmarks.conftest import Note

ROOT = Path(__file__).parents[2]
WEIGHTS = 160_000_000  # 40 M parameters of four bytes


@pytest.fixture(scope="module")
def seconds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """Of the processor, best of three resumes of one search."""
    folder = tmp_path_factory.mktemp("long")
    long_search.make(folder, long_search.PAIRS)
    runs = [_resumed(folder) for _ in range(3)]
    return {name: min(run[name] for run in runs) for name in runs[0]}


def _resumed(folder: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.benchmarks.long_search", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, float] = json.loads(done.stdout)
    return found


def test_a_search_of_10_000_pairs_is_resumed_in_two_seconds(seconds: dict[str, float], note: Note) -> None:
    for name in ("read", "climb", "ask", "grade"):
        note(f"resume of 10,000 pairs: {name}", seconds[name], "s")
    resume = sum(seconds[name] for name in ("read", "climb", "ask", "grade"))
    note("resume of 10,000 pairs, imports excluded", resume, "s", bound=2)


def test_a_record_after_10_000_is_ranked_and_leaves_weights_in_30_ms(
    seconds: dict[str, float], note: Note
) -> None:
    for name in ("next rank", "next retention"):
        note(f"pair after 10,000: {name.removeprefix('next ')}", 1000 * seconds[name], "ms")
    every = seconds["next rank"] + seconds["next retention"]
    note("pair after 10,000: rank and retention", 1000 * every, "ms", bound=30)


def test_the_pair_after_10_000_costs_a_fifth_of_a_second_at_the_most(
    seconds: dict[str, float], note: Note
) -> None:
    for name in ("next records", "next ask"):
        note(f"pair after 10,000: {name.removeprefix('next ')}", 1000 * seconds[name], "ms")
    every = sum(seconds[name] for name in seconds if name.startswith("next "))
    note("pair after 10,000: records, rank, retention and proposal", 1000 * every, "ms", bound=200)


def test_a_commit_of_40_million_parameters_takes_a_hundredth_of_a_minute(tmp_path: Path, note: Note) -> None:
    weights = Random(0).randbytes(WEIGHTS)
    seconds = [_committed(tmp_path / str(turn), weights) for turn in range(3)]
    note("staging, hash and commit of 160 MB, best of 3", min(seconds), "s", bound=0.6)


def _committed(folder: Path, weights: bytes) -> float:
    record = long_search.evaluated(first_pair(long_search.RULES, long_search.BASE), Random(0))
    records = Records(folder)
    start = time.perf_counter()
    staged = records.staging(record.pair.key)
    durable.write_bytes(staged / "weights.safetensors", weights)
    assert records.commit(record, staged)
    return time.perf_counter() - start
