"""Markdown about pairs: the best of a running search, and the card of a registered detector."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jdn_core.reports import texts
from jdn_core.reports.contest import HEADS, Line, cells, headline
from jdn_core.reports.curves import action_text
from jdn_core.reports.tables import NO_PAIR, Candidate
from jdn_core.search.held_out import HeldOut

_HEADS = (
    "pair", "action", "H", "AP (%)", "teacher's AP (%)", "computation", "parameters", "latency", "resolution"
)  # fmt: skip
_LONGEST_CLASSES = 1500  # characters of a card; MLflow takes 5000 in all


def best_pairs(base: Candidate, best: Sequence[Candidate], *, page: Callable[[str], str] | None) -> str:
    """Sets the base against the best pair in a line, then lists the best pairs, each with its link.

    Args:
        base: row of the base.
        best: rows of the best pairs, best first, one at least.
        page: address of a pair by its key; none where pairs have no pages.
    """
    then = f"base AP {texts.percent(base.ap)} % at {texts.macs(base.macs)}"
    now = f"best AP {texts.percent(best[0].ap)} % at {texts.macs(best[0].macs)}"
    score = f"H {texts.score(base.score)} -> {texts.score(best[0].score)} (pair {best[0].index})"
    rows = [_line(_cells(row, page)) for row in best]
    return "\n".join([f"{then}; {now}, {score}", "", _line(_HEADS), _line(["---"] * len(_HEADS)), *rows])


def contest(lines: Sequence[Line], held_out: HeldOut | None, said: Sequence[str]) -> str:
    """Says which detector is the result, then lists base, controls and winner, held-out numbers first.

    Args:
        lines: of the table, one of them the result's.
        held_out: what was measured on photos that the search never saw.
        said: what a reader of the numbers must know.
    """
    rows = [_line(cells(line)) for line in lines]
    notes = [f"- {sentence}" for sentence in said]
    return "\n".join(
        [headline(lines, held_out), "", _line(HEADS), _line(["---"] * len(HEADS)), *rows, "", *notes]
    )


def model_card(
    row: Candidate,
    base: Candidate,
    *,
    classes: Sequence[str],
    model: str,
    search: str,
    digest: str,
    said: Sequence[str] = (),
) -> str:
    """Describes a registered detector: base against student, how to use it, where it comes from.

    Args:
        row: of the pair.
        base: row of the base.
        classes: names of what it detects.
        model: name of the registered model.
        search: name of the search.
        digest: of its settings.
        said: sentences about held-out photos, which come before all other numbers.
    """
    who = "the result" if row.index == NO_PAIR else f"pair {row.index}"
    parent = "" if row.parent is None else f", from pair {row.parent}"
    names = ", ".join(classes)
    if len(names) > _LONGEST_CLASSES:
        names = f"{names[: _LONGEST_CLASSES - 3]}..."
    lines = [
        f"Object detector (Faster R-CNN with FPN), {who} of search {search} "
        f"({action_text(row.action)}{parent}).",
        "",
        *(text for sentence in said for text in (sentence, "")),
        "| | base | this detector | |",
        "| --- | --- | --- | --- |",
        *_against(base, row),
        "",
        "AP in the table is COCO's, over IoU 0.50:0.95, on the validation data that the search optimised. "
        f"Classes: {names}.",
        "",
        "```python",
        "import mlflow, pandas",
        f'detector = mlflow.pyfunc.load_model("models:/{model}@ALIAS")',
        'photos = pandas.DataFrame({"image": [open("photo.jpg", "rb").read()]})',
        'boxes = detector.predict(photos, params={"score": 0.5})',
        "```",
        "",
        "`boxes` is in COCO's results form; `image_id` is the row. `mlflow models serve` takes base64: "
        '`{"dataframe_split": {"columns": ["image"], "data": [["..."]]}, "params": {"score": 0.5}}`.',
        "",
        f"Weights: SHA-256 `{row.sha256}`. Settings: `{digest}`. Teacher: {row.teacher}.",
    ]
    return "\n".join(lines)


def _cells(row: Candidate, page: Callable[[str], str] | None) -> list[str]:
    return [
        f"[{row.index}]({page(row.key)})" if page else str(row.index),
        action_text(row.action),
        texts.score(row.score),
        texts.percent(row.ap),
        texts.percent(row.teacher_ap),
        texts.macs(row.macs),
        texts.params(row.params),
        texts.milliseconds(row.latency_ms),
        row.resolution or texts.DASH,
    ]


def _against(base: Candidate, row: Candidate) -> list[str]:
    """Returns the lines of the card's table: name, base, student, change."""
    latencies = texts.milliseconds(base.latency_ms), texts.milliseconds(row.latency_ms)
    return [
        _line(cells)
        for cells in (
            ("input", str(base.resolution), str(row.resolution), ""),
            ("AP (%)", texts.percent(base.ap), texts.percent(row.ap), _points(base.ap, row.ap)),
            ("computation", texts.macs(base.macs), texts.macs(row.macs), _share(base.macs, row.macs)),
            (
                "parameters",
                texts.params(base.params),
                texts.params(row.params),
                _share(base.params, row.params),
            ),
            ("latency", *latencies, _share(base.latency_ms, row.latency_ms)),
            ("H", texts.score(base.score), texts.score(row.score), ""),
        )
    ]


def _points(before: float | None, after: float | None) -> str:
    return "" if before is None or after is None else texts.signed(100 * (after - before))


def _share(before: float | None, after: float | None) -> str:
    return "" if not before or after is None else texts.signed(100 * (after / before - 1), " %", digits=0)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
