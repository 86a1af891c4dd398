"""Imported by the fork server alone, once: what every job needs, so that a new worker is there in a blink."""

from __future__ import annotations

from jdn_core import jobs
from jdn_core.workers.child import die_with_parent, serve

__all__ = ["jobs", "serve"]

die_with_parent()
