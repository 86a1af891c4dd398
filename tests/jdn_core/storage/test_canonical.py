import pytest

from jdn_core.storage.canonical import canonical_json, content_key


def test_the_canonical_text_does_not_depend_on_the_order_of_keys() -> None:
    assert canonical_json({"b": [1, 2.5], "a": "ü"}) == '{"a":"ü","b":[1,2.5]}'
    assert content_key({"a": 1, "b": 2}) == content_key({"b": 2, "a": 1}) != content_key({"a": 1, "b": 3})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_key_is_made_of_what_is_not_finite(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        content_key({"ap": value})
