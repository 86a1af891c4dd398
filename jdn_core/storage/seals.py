"""A JSON object that vouches for itself: its last member is the SHA-256 of all the text before it.

A flipped bit makes another digit of a digit, and the JSON is as valid as before; a seal tells.
"""

from __future__ import annotations

import hashlib
import re

_NAME = "sha256"
_SEAL = re.compile(rb',[ \n]*"([^"]{6})":[ ]?"([^"]{64})"[ \n]*\}[ \n]*\Z')
_LONGEST = 100  # bytes of a seal at the most, so that a long text is not searched for one


def sealed(text: str) -> str:
    """Returns the text of an object with its seal, laid out as the text is.

    Args:
        text: of an object that has other members than one of the seal's name.

    Raises:
        ValueError: the text is that of anything else than an object with members.
    """
    body = text[:-1].rstrip()
    if body == "{" or not text.endswith("}"):
        raise ValueError(f"only an object with members can be sealed, got {text[:100]!r}")
    comma, space, end = (",", "", "") if body == text[:-1] else (",\n  ", " ", "\n")
    return f'{body}{comma}"{_NAME}":{space}"{_hash(body.encode())}"{end}}}'


def unsealed(data: bytes) -> bytes | None:
    """Returns the object that a file's seal vouches for, without the seal; none where the file has no seal.

    Args:
        data: a text of ``sealed``, then one newline.

    Raises:
        ValueError: the seal does not hold, so the text is not what was sealed.
    """
    seal = _SEAL.search(data, max(0, len(data) - _LONGEST))
    if seal is None or _letters_off(seal[1]) > 1:
        return None
    body = data[: seal.start()]
    if (seal[1], seal[2]) != (_NAME.encode(), _hash(body).encode()) or not data.endswith(b"}\n"):
        raise ValueError(f"damaged or edited: the last member, {_NAME}, is not the hash of the text before")
    return body + b"}"


def _letters_off(name: bytes) -> int:
    """How many letters differ from the seal's name: a name with one off was hit, and is no other name."""
    return sum(a != b for a, b in zip(name, _NAME.encode(), strict=True))


def _hash(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
