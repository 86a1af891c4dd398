"""One text per value, and its hash: what names records, folders and formats."""

from __future__ import annotations

import hashlib
import json


def canonical_json(value: object) -> str:
    """Writes JSON with sorted keys and without spaces; raises ValueError where a number is not finite."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def content_key(value: object) -> str:
    """Returns the SHA-256 of the canonical JSON, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
