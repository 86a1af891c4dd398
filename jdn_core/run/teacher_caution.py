"""Whether a pool has anything to teach: its assessed subnets against the base, before the first pair."""

from __future__ import annotations

from itertools import chain

from jdn_core.reports import texts
from jdn_core.run.folder import Run
from jdn_core.search import phases
from jdn_core.search.standing import Standing
from jdn_core.search.subnets import SubnetRecord


def best_assessed(run: Run) -> SubnetRecord | None:
    """Returns the best subnet that was measured after the pool's last phase; none where none was."""
    found = phases.read(run.assessment(len(run.settings.pool.phases) - 1))
    return min(chain(*found.values()), key=lambda record: record.order) if found else None


def caution(run: Run, standing: Standing) -> str:
    """Says that no assessed teacher is better than the base at the same frame; empty where one is.

    Distillation then pulls students towards a detector that is no better than what they come from.
    """
    best, base = best_assessed(run), standing.records[0].evaluation
    if best is None or base is None:
        return ""
    known = {str(each.resolution): each.ap for each in base.measurements}
    ap, own = best.ap[best.resolution], known.get(best.resolution)
    if own is None or ap > own:
        return ""
    return (
        f"no assessed teacher is better than the base: the best has AP {texts.percent(ap)} % at "
        f"{best.resolution}, the base {texts.percent(own)} %; train the pool longer, "
        "or set distillation.when to better"
    )
