"""How an estimate is told: stages and their time, disk, and what to change where it is too long."""

from __future__ import annotations

from flows.console import duration, say
from jdn_core.reports import texts
from jdn_core.run.estimates import Estimate
from jdn_core.settings.whole import Settings

_LONG = 8 * 3600.0  # seconds: a night
_HALF = 2


def announce(estimate: Estimate | None) -> None:
    """Says in one line what is to be expected of a run; nothing where it is not known."""
    if estimate is not None:
        say(f"estimate: {in_words(estimate)}")


def in_words(estimate: Estimate) -> str:
    """Returns time and disk in one line."""
    stages = ", ".join(f"{name} {duration(seconds)}" for name, seconds in estimate.seconds.items())
    disk = texts.size(sum(estimate.bytes.values()))
    whole = duration(sum(estimate.seconds.values()))
    return f"{whole} on {estimate.device} ({stages}), {disk} of disk at the most"


def rows(estimate: Estimate) -> list[tuple[str, str]]:
    """Returns stage and time, the whole last."""
    found = [(name, duration(seconds)) for name, seconds in estimate.seconds.items()]
    return [*found, ("whole upgrade", duration(sum(estimate.seconds.values())))]


def step_rows(estimate: Estimate) -> list[tuple[str, str]]:
    """Returns each kind of step and its measured seconds for one photo."""
    return [(kind, f"{seconds:.3g}") for kind, seconds in estimate.steps.items()]


def advice(estimate: Estimate, settings: Settings) -> list[str]:
    """Says what to change where an upgrade takes longer than a night, and about what each change saves."""
    whole = sum(estimate.seconds.values())
    if whole <= _LONG:
        return []
    stages, search, frames = estimate.seconds, settings.search, settings.data.frames
    fewer = max(1, search.iterations // _HALF)
    saved = {f"search.iterations={fewer}": stages["pairs"] * (1 - fewer / search.iterations)}
    if search.controls:
        saved["search.controls=[]"] = stages["controls"]
    if len(frames) > 1:
        mean, smaller = (sum(f.pixels for f in some) / len(some) for some in (frames, frames[:-1]))
        named = ",".join(map(str, frames[:-1]))
        saved[f"data.resolutions=[{named}]"] = (whole - stages["start"]) * (1 - smaller / mean)
    lines = [f"--set '{change}' saves about {duration(seconds)}" for change, seconds in saved.items()]
    return [f"{duration(whole)} is longer than a night; what makes it shorter:", *lines]
