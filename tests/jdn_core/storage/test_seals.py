import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jdn_core.storage.seals import sealed, unsealed

OBJECTS = st.dictionaries(
    st.text(), st.floats(allow_nan=False) | st.text() | st.lists(st.integers()), min_size=1
)
TEXTS = ('{"ap":0.5,"name":"sha256"}', json.dumps({"ap": 0.5, "weights": {"sha256": "0" * 64}}, indent=2))


def flips(data: bytes) -> list[bytes]:
    """Every single flipped bit."""
    numbers = [(at, bit) for at in range(len(data)) for bit in range(8)]
    return [data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :] for at, bit in numbers]


def is_found(data: bytes) -> bool:
    """Whether a reader that asks for the seal first and for strict JSON then refuses the data."""
    try:
        if unsealed(data) is None:
            json.loads(data)
    except ValueError:
        return True
    return False


@pytest.mark.parametrize("indent", [None, 2])
@given(value=OBJECTS)
def test_what_was_sealed_is_what_comes_back(indent: int | None, value: dict[str, object]) -> None:
    text = json.dumps(value, indent=indent)
    found = unsealed(sealed(text).encode() + b"\n")
    assert found is not None
    assert json.loads(found) == value


@pytest.mark.parametrize("text", TEXTS)
def test_the_seal_is_the_last_member_and_laid_out_as_the_others(text: str) -> None:
    value = json.loads(sealed(text))
    body, _, _ = sealed(text).rpartition(",")
    assert list(value) == [*json.loads(text), "sha256"]
    assert value["sha256"] == hashlib.sha256(body.encode()).hexdigest()
    layout = {"indent": 2} if "\n" in text else {"separators": (",", ":")}
    assert sealed(text) == json.dumps(value, **layout)


@pytest.mark.parametrize("text", TEXTS)
def test_every_flipped_bit_is_found(text: str) -> None:
    data = sealed(text).encode() + b"\n"
    assert not is_found(data)
    assert [damaged for damaged in flips(data) if not is_found(damaged)] == []


@pytest.mark.parametrize("text", TEXTS)
def test_every_lost_end_is_found(text: str) -> None:
    data = sealed(text).encode() + b"\n"
    assert [length for length in range(len(data)) if not is_found(data[:length])] == []


@pytest.mark.parametrize(
    "text", ["", "[1]", '{"val": "%s"}' % ("0" * 64), '{"digest":"%s","a":1}' % ("0" * 64), *TEXTS]
)
def test_a_text_without_a_seal_has_none(text: str) -> None:
    assert unsealed(text.encode() + b"\n") is None


@pytest.mark.parametrize("text", ["{}", "[1]", "1", ""])
def test_only_an_object_with_members_can_be_sealed(text: str) -> None:
    with pytest.raises(ValueError, match="only an object with members can be sealed, got"):
        sealed(text)
