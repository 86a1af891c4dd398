"""Specifications out of strangers' files: the same value comes back, or an error that says why."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jdn_core.space.families import DEPTHS, Family, family
from jdn_core.space.reading import BROKEN, read_backbone, read_detector, reason
from tests.jdn_core.tiny import tiny_spec


@pytest.mark.parametrize("name", DEPTHS)
def test_what_was_written_is_read(name: Family) -> None:
    assert read_backbone(family(name).to_json()) == family(name)
    assert read_detector(tiny_spec(name).to_json()) == tiny_spec(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"neck": 1.5}, "neck: input should be a valid integer, got 1.5"),
        ({"mean": [0, "a", 0]}, "mean.1: input should be a valid number, got 'a'"),
        ({"std": [1, 1]}, "std.2: field required, got [1, 1]"),
        ({"schema": 9}, "detector.json: schema must be 1, got 9; update jdn, a newer version wrote it"),
        ({"resolution": "wide"}, "resolution must look like 1333x800, got 'wide'"),
    ],
)
def test_a_wrong_value_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(BROKEN) as caught:
        read_detector(tiny_spec().to_json() | change)
    assert reason(caught.value) == message


def test_a_missing_key_is_named() -> None:
    data = tiny_spec().to_json()
    del data["region"]
    with pytest.raises(KeyError) as caught:
        read_detector(data)
    assert reason(caught.value) == "'region' is missing"


VALUES: st.SearchStrategy[object] = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=2) | st.just([]) | st.just({})
)


@given(st.sampled_from(sorted(tiny_spec().to_json())), VALUES)
def test_no_value_in_any_place_breaks_the_reader(key: str, value: object) -> None:
    data = tiny_spec().to_json()
    with suppress(*BROKEN):
        assert read_detector(data | {key: value}).to_json().keys() == data.keys()
