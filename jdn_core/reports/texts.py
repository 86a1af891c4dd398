"""Numbers as people read them; a dash where there is none."""

from __future__ import annotations

DASH = "–"
_UNITS = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))  # of bytes


def percent(fraction: float | None) -> str:
    """Returns ``48.1`` for 0.4812."""
    return DASH if fraction is None else f"{100 * fraction:.1f}"


def macs(number: float | None) -> str:
    """Returns ``215 GMACs`` or ``350 MMACs``."""
    if number is None:
        return DASH
    return f"{_three(number / 1e9)} GMACs" if number >= 1e9 else f"{_three(number / 1e6)} MMACs"


def params(number: float | None) -> str:
    """Returns ``41.8 M`` or ``820 k``."""
    if number is None:
        return DASH
    return f"{_three(number / 1e6)} M" if number >= 1e6 else f"{_three(number / 1e3)} k"


def milliseconds(number: float | None) -> str:
    """Returns ``12.3 ms``."""
    return DASH if number is None else f"{_three(number)} ms"


def duration(seconds: float) -> str:
    """Returns ``2:05`` or ``1:02:05``."""
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def size(number: int) -> str:
    """Returns ``1.5 GB``."""
    unit, name = next(((unit, name) for unit, name in _UNITS if number >= unit), (1, "bytes"))
    return f"{number / unit:.3g} {name}"


def score(number: float | None) -> str:
    """Returns ``0.5123``: values of H differ in the fourth digit."""
    return DASH if number is None else f"{number:.4f}"


def gain(number: float | None) -> str:
    """Returns ``+0.0123`` or ``−0.0045``."""
    return DASH if number is None else signed(number, digits=4)


def signed(number: float, unit: str = "", *, digits: int = 1) -> str:
    """Returns ``+1.5 points`` or ``−34 %``, with a real minus sign."""
    return f"{number:+.{digits}f}{unit}".replace("-", "−")


def _three(number: float) -> str:
    """Returns three digits, but never an exponent."""
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"
