"""A record out of its canonical JSON, at a fraction of the time and memory that the whole of it would take.

Most of a record's text is architectures. A search of 10,000 pairs is resumed in two seconds because what
pairs have in common is read once, and prospects only of the few pairs that become parents.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from jdn_core.search.pairs import Evaluation, Pair, PairRecord
from jdn_core.space.architecture import SCHEMA_VERSION, DetectorSpec
from jdn_core.space.teachers import SubnetSpec

# In this order around the prospects and the student of a record that is done, since its keys are sorted. No
# string of JSON can hold them, because it would escape the quotes.
_PROSPECTS, _TIMING, _STUDENT, _TEACHER = '"prospects":', ',"timing":', '"student":', ',"teacher":'


def record_of(text: str) -> PairRecord:
    """What ``PairRecord.from_json`` makes of the canonical JSON of a record.

    Args:
        text: known to be what was written, since what is not read yet is not checked.

    Raises:
        ValueError, KeyError, TypeError: as ``from_json`` does.
    """
    try:
        return _quickly(text)
    except (ValueError, KeyError):  # a failed pair, another schema, or a loss that has the name of a mark
        return PairRecord.from_json(json.loads(text))


def _quickly(text: str) -> PairRecord:
    """The record, or ValueError or KeyError: a cut in another place than meant leaves an open brace."""
    head, _, rest = text.partition(_PROSPECTS)
    prospects, _, rest = rest.partition(_TIMING)
    middle, _, rest = rest.partition(_STUDENT)
    student, _, tail = rest.partition(_TEACHER)
    data = json.loads("".join((head, _PROSPECTS, "null", _TIMING, middle, _STUDENT, "null", _TEACHER, tail)))
    pair, evaluation = data["pair"], data["evaluation"]
    if data["schema"] != SCHEMA_VERSION:
        raise ValueError("another schema")
    teacher = pair["teacher"]
    pair["student"] = _student(student)
    pair["teacher"] = _teacher(
        tuple(teacher["depths"]), teacher["stem"], tuple(teacher["widths"]), teacher["neck"]
    )
    evaluation["prospects"] = Unread(prospects)
    proposal = Pair(**pair)
    vars(proposal)["key"] = data["key"]  # as good as computed, which takes as long as all the rest
    found = Evaluation.from_json(evaluation)
    return PairRecord(proposal, data["state"], found, data["reason"], data["files"])


class Unread(Mapping[str, Mapping[str, Any]]):
    """An object of JSON that is parsed when somebody looks into it.

    Args:
        text: of the object.
    """

    def __init__(self, text: str) -> None:
        self._text = text

    def __getitem__(self, key: str) -> Mapping[str, Any]:
        return _object(self._text)[key]

    def __iter__(self) -> Iterator[str]:
        return iter(_object(self._text))

    def __len__(self) -> int:
        return len(_object(self._text))

    def __repr__(self) -> str:
        return self._text


@lru_cache(maxsize=64)
def _object(text: str) -> dict[str, Mapping[str, Any]]:
    data: dict[str, Mapping[str, Any]] = json.loads(text)
    return data


@lru_cache(maxsize=1 << 14)
def _student(text: str) -> DetectorSpec:
    return DetectorSpec.from_json(json.loads(text))


_teacher = lru_cache(maxsize=1 << 14)(SubnetSpec)
