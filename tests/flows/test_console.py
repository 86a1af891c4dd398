"""What people read: numbers, durations, progress lines, and the comparison at the end of an upgrade."""

from __future__ import annotations

import pytest

from flows.cli.train import _stage, _tracked, _upgraded, comparison
from flows.console import _PlainProgress, console, count, duration, progress_printer


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (None, "-"),
        (0, "0"),
        (80, "80"),
        (9_536, "9.536 k"),
        (28_680_000, "28.68 M"),
        (215_056_495_872, "215.1 G"),
    ],
)
def test_counts_are_short(number: float | None, text: str) -> None:
    assert count(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "-"), (0, "0:00"), (59.6, "1:00"), (125, "2:05"), (3725, "1:02:05")]
)
def test_durations_are_read_at_a_glance(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_plain_progress_says_the_first_the_last_and_one_line_every_few_seconds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = [0.0]
    tell = _PlainProgress(every=5.0, clock=lambda: now[0])
    for done in range(1, 11):
        tell("base", done, 10, "loss 1")
        now[0] += 2
    assert capsys.readouterr().err.splitlines() == [
        "base: 1/10, loss 1",
        "base: 4/10, 0:12 left, loss 1",
        "base: 7/10, 0:06 left, loss 1",
        "base: 10/10, loss 1",
    ]


def test_a_stage_that_begins_again_is_measured_again(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    tell = _PlainProgress(every=5.0, clock=lambda: now[0])
    for done in (1, 2, 1, 2):
        tell("evaluate", done, 2, "")
        now[0] += 1
    assert [line.split(",")[0] for line in capsys.readouterr().err.splitlines()] == [
        "evaluate: 1/2",
        "evaluate: 2/2",
    ] * 2


def test_progress_without_a_terminal_is_plain_and_on_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress_printer() as tell:
        tell("base", 1, 2, "")
    assert tuple(capsys.readouterr()) == ("", "base: 1/2\n")


def test_progress_on_a_terminal_shows_one_bar_at_a_time(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress_printer() as tell:
        for stage in ("base", "pool"):
            tell(stage, 1, 2, "loss 1")
    out, err = capsys.readouterr()
    assert out == ""
    assert "pool" in err


def test_the_comparison_names_every_number_and_its_change() -> None:
    base = {"ap": 0.5, "macs": 200, "params": 10, "latency_ms": 8.0, "score": 0.5, "resolution": "9x9"}
    best = base | {
        "ap": 0.51,
        "macs": 150,
        "latency_ms": None,
        "score": None,
        "index": 3,
        "action": "prune_layer",
    }
    rows = {row[0]: row[1:] for row in comparison(base | {"index": 0, "action": "base"}, best)}
    assert rows["AP"] == ("0.5000", "0.5100", "+0.0100")
    assert rows["MACs"] == ("200", "150", "-25.0%")
    assert rows["latency"] == ("8.0 ms", "-", "-")
    assert rows["H"] == ("0.5000", "-", "-")
    assert rows["pair"] == ("0", "3", "prune_layer")


def test_the_end_of_an_upgrade_says_where_to_look_next(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"index": 0, "action": "base", "ap": 0.5, "macs": 2, "params": 1, "latency_ms": 8.0, "score": 0.5}
    row["resolution"] = "9x9"
    mlflow = {"uri": "sqlite:///x", "command": "mlflow ui --backend-store-uri sqlite:///x"}
    data = {"search": "s", "out": "/runs/s", "pairs": 1, "base": row, "best": row, "mlflow": mlflow}
    data |= {"result": "winner", "contest": []}
    _upgraded(data).show(console())
    out = capsys.readouterr().out
    assert "/runs/s/report/index.html" in out
    assert "jdn candidates /runs/s" in out
    assert "mlflow ui --backend-store-uri sqlite:///x" in out


@pytest.mark.parametrize(
    ("missing", "error", "words"),
    [
        (3, "ConnectionError: refused", "has not been told of all of it: ConnectionError: refused; "),
        (3, None, "has not been told of all of it; "),
        (0, "slow", "has not been told of all of it: slow; "),
        (0, None, "mlflow ui"),
    ],
)
def test_the_end_says_what_mlflow_was_not_told(missing: int, error: str | None, words: str) -> None:
    line = _tracked(
        {"uri": "http://x", "command": "mlflow ui", "missing": missing, "error": error}, "/runs/s"
    )
    assert words in line
    assert ("`jdn sync /runs/s` sends the rest" in line) == bool(missing or error)


def test_a_stage_shows_its_place_and_what_the_base_reaches(capsys: pytest.CaptureFixture[str]) -> None:
    base = {"ap": 0.5, "macs": 2_000_000, "params": 1000, "resolution": "9x9", "key": "abc"}
    _stage({"out": "/runs/s", "base": base}).show(console())
    words = capsys.readouterr().out.split()
    assert [word for word in words if word[0] in "/0129"] == ["/runs/s", "0.5000", "2.000", "1.000", "9x9"]
