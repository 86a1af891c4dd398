"""Imported by the fork server alone, once: what every job needs, so that a new worker is there in a blink."""

from __future__ import annotations

from jdn_core.processes.child import die_with_parent, serve
from jdn_core.run import steps

__all__ = ["serve", "steps"]

die_with_parent()
