import re
import subprocess
import sys
from pathlib import Path

import pytest

from jdn_core.detector.build import build
from jdn_core.detector.folder import save_detector
from jdn_core.errors import StorageError
from jdn_core.run.disk_space import RECORD, needed_bytes, require_room
from jdn_core.settings.search import SearchSettings
from jdn_core.settings.tracking import TrackingSettings
from jdn_core.settings.whole import Settings, parse
from jdn_core.space.teachers import SubnetSpace
from jdn_core.storage.durable import free_bytes
from tests.jdn_core.tiny import tiny_spec

BASE = tiny_spec()
SPACE = SubnetSpace(((1, 2),) * 4, (1.0, 2.0), width=1 / 8, neck=16, head=24)
ALL = frozenset({"base", "pool"})
TB = 10**12


def test_weights_are_taken_to_be_as_large_as_they_are_on_disk(tmp_path: Path) -> None:
    written = save_detector(build(BASE), tmp_path)
    needed = needed_bytes(Settings(), BASE, SPACE, pairs=0, copies=1)
    assert needed["base"] == pytest.approx(written.bytes, rel=0.1)


def test_what_is_there_already_needs_no_room() -> None:
    fresh = needed_bytes(Settings(), BASE, SPACE, pairs=10)
    later = needed_bytes(Settings(), BASE, SPACE, pairs=10, trained=ALL)
    done = needed_bytes(Settings(), BASE, SPACE, pairs=0, trained=ALL)
    assert (later["base"], later["pool"]) == (0, 0)
    assert later["pairs"] == fresh["pairs"]
    assert 0 < later["checkpoints"] < fresh["checkpoints"]
    assert not any(done.values())


def test_room_grows_with_pairs_copies_and_workers() -> None:
    few, many = (needed_bytes(Settings(), BASE, SPACE, pairs=n, trained=ALL) for n in (10, 20))
    once = needed_bytes(Settings(), BASE, SPACE, pairs=20, trained=ALL, copies=1)
    crowd = Settings(search=SearchSettings(workers=4))
    assert many["pairs"] == 2 * few["pairs"] == 2 * once["pairs"]
    assert many["teachers"] == 2 * few["teachers"]
    assert needed_bytes(crowd, BASE, SPACE, pairs=20, trained=ALL)["checkpoints"] == 4 * many["checkpoints"]


def test_a_lineage_keeps_raw_weights_and_momentum_too() -> None:
    constant = {"schedule": "constant", "average": 1.0}
    settings = parse({"base": constant, "evaluation": constant})
    plain, lineage = (needed_bytes(s, BASE, SPACE, pairs=10, copies=1) for s in (Settings(), settings))
    assert lineage["base"] == 3 * plain["base"]
    assert lineage["pairs"] - 10 * RECORD == 3 * (plain["pairs"] - 10 * RECORD)
    few, averaged = (needed_bytes(s, BASE, SPACE, pairs=10, trained=ALL) for s in (Settings(), settings))
    assert 2 * averaged["checkpoints"] == 3 * few["checkpoints"]


def test_weights_that_leave_the_disk_need_no_room_for_all_pairs() -> None:
    some = Settings(tracking=TrackingSettings(keep_weights="needed"))
    every, needed = (
        needed_bytes(settings, BASE, SPACE, pairs=1000, trained=ALL, copies=1)["pairs"]
        for settings in (Settings(), some)
    )
    assert needed < every / 2


def test_there_are_no_more_teachers_than_the_space_has() -> None:
    one = SubnetSpace(((1, 1),) * 4, (1.0,), width=1 / 8, neck=16, head=24)
    few, many = (needed_bytes(Settings(), BASE, one, pairs=n)["teachers"] for n in (2, 1000))
    assert few == many > 0


def test_a_disk_with_room_is_no_reason_to_stop(tmp_path: Path) -> None:
    require_room(tmp_path, {"pairs": 1})
    require_room(tmp_path / "not" / "yet" / "there", {"pairs": 1})
    require_room(tmp_path, {})
    assert free_bytes(tmp_path / "not" / "yet" / "there") > 0


def test_a_disk_without_room_is_an_error_with_both_numbers(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        require_room(tmp_path / "search", {"base": 0, "pairs": 5000 * TB, "pool": 2_340_000, "other": 12})
    numbers = (
        rf"needed {5000 * TB + 2_340_012} bytes \(pairs 5e\+03 TB, pool 2\.34 MB, other 12 bytes\), free \d+"
    )
    said = re.escape(f"{tmp_path / 'search'}: ") + numbers + "; make room, or lower search.iterations, .*"
    assert re.fullmatch(said, str(caught.value))
    assert caught.value.exit_code == 74


def test_the_estimate_needs_no_torch() -> None:
    code = "import jdn_core.run.disk_space, sys; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
