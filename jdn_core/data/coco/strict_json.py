"""JSON as its standard says: no NaN or Infinity, no key twice, one value that ends where the file ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jdn_core.errors import DataError, InputMissing, Problem, cut

_AGAIN = "fetch or write the file again"
_GZIP = b"\x1f\x8b"


def read_bytes(path: Path) -> bytes:
    """Returns a file's bytes, read once for both its content and its fingerprint.

    Raises:
        InputMissing: there is no such file.
        DataError: it cannot be read.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for, a device has no end
            raise DataError.of([Problem(path.name, "", "must be a regular file")])
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise InputMissing(f"{path}: no such file") from None
    except OSError as error:
        raise DataError.of([Problem(path.name, "", f"cannot be read ({error.strerror})")]) from None


def parse(content: bytes, name: str) -> Any:
    """Returns the value that these bytes hold; ``name`` is what a problem calls them.

    Python's reader takes ``NaN`` and keeps the last of two equal keys without a word; here both are problems,
    and all of them are reported at once.

    Raises:
        DataError: the bytes are not strict JSON.
    """
    problems: list[Problem] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            seen: set[str] = set()
            for key, _ in pairs:
                if key in seen:
                    problems.append(
                        Problem(name, cut(key), "key occurs twice in one object", remedy="keep one of them")
                    )
                seen.add(key)
        return value

    def constant(text: str) -> None:
        problems.append(Problem(name, "", "JSON has finite numbers only", text, "replace it"))

    def refuse(where: str, what: str, remedy: str = _AGAIN) -> None:
        problems.append(Problem(name, where, f"not valid JSON: {what}", remedy=remedy))

    try:
        value = json.loads(content.decode("utf-8-sig"), object_pairs_hook=unique, parse_constant=constant)
    except json.JSONDecodeError as error:
        refuse(f"line {error.lineno}, column {error.colno}", error.msg)
    except UnicodeDecodeError:
        zipped = content.startswith(_GZIP)
        refuse("", "is compressed" if zipped else "must be UTF-8", "unpack it" if zipped else "convert it")
    except RecursionError:
        refuse("", "nested too deeply")
    except ValueError:  # there is no other; Python reads numbers of 4300 digits at the most
        refuse("", "holds a number of thousands of digits")
    if problems:
        raise DataError.of(problems)
    return value
