"""The number of its format that every kept file holds as ``schema``; formats are frozen once released."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jdn_core.errors import FormatError, shown


def require_schema(data: Mapping[str, Any], schema: int, file: object) -> None:
    """Refuses what this version cannot read.

    A later version that changes a format raises its number and goes on reading the numbers before it.

    Args:
        data: content of the file.
        schema: the number that this version writes and reads.
        file: name of the file, for the message.

    Raises:
        FormatError: the number is another one, or missing.
    """
    if (found := data.get("schema")) != schema:
        newer = isinstance(found, int) and found > schema
        remedy = "update jdn, a newer version wrote it" if newer else "it is no such file of jdn"
        raise FormatError(f"{file}: schema must be {schema}, got {shown(found)}; {remedy}")
