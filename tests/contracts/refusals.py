"""What a refused command answers: its exit code, nothing on standard output, a line for every problem."""

from __future__ import annotations

from collections.abc import Callable

Answer = tuple[int, str, str]
Jdn = Callable[..., Answer]


def refusal(code: int, *lines: str) -> Answer:
    """Exit code, standard output, standard error."""
    return code, "", "".join(f"ERROR {code} {line}\n" for line in lines)
