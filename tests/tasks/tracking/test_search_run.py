"""What MLflow holds of a search, remembered by both sides at a cost that does not grow."""

from __future__ import annotations

from pathlib import Path
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from jdn_core.run.folder import Run
from tasks.tracking import sync
from tasks.tracking.search_run import PUBLISHED_FILE, Published, SearchRun


@given(st.lists(st.text(), unique=True), st.randoms(use_true_random=False))
def test_the_mark_is_that_of_the_set_whatever_the_order(identities: list[str], order: Random) -> None:
    first = Published(identities)
    order.shuffle(identities)
    assert Published(identities + identities[:1]).mark == first.mark
    assert first.mark.startswith(f"{len(identities)} ")


def test_other_sets_have_other_marks() -> None:
    sets = [set(), {"a"}, {"b"}, {"a", "b"}, {"ab"}, {"a", "c"}]
    assert len({Published(each).mark for each in sets}) == len(sets)
    assert Published(["a", "b"]).without(["b"]).mark == Published(["a"]).mark


def again(run: Run) -> SearchRun:
    found = SearchRun.find(run)
    assert found is not None
    return found


def test_both_sides_remember_what_was_sent(run: Run) -> None:
    assert sync(run, state="interrupted").sent == 6
    remembered = again(run).remembered()
    assert remembered is not None
    assert set(remembered) == {record.pair.key for record in run.records.all()} | {"base", "supernet"}


def test_a_file_that_is_cut_off_or_gone_is_not_believed(run: Run) -> None:
    sync(run, state="interrupted")
    file: Path = run.folder / PUBLISHED_FILE
    file.write_bytes(file.read_bytes()[:-9])
    assert again(run).remembered() is None
    file.unlink()
    assert again(run).remembered() is None
    assert sync(run, state="interrupted") == (6, 0, "", 0)
    assert again(run).remembered() is not None
