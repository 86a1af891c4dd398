"""`jdn doctor`: what works on this machine, and what to do about what does not."""

from __future__ import annotations

import typer

from flows.cli import options
from flows.console import Answer, answering, table


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command("doctor", epilog="Example: jdn doctor")(answering(doctor))


def doctor(json: options.Json = False) -> Answer:
    """Say what works on this machine. Ends 69 when something here cannot work."""
    from rich.console import Console

    from flows.servers.examination import examine

    checks = examine()
    ok = all(check.state != "fail" for check in checks)

    def show(screen: Console) -> None:
        rows = [(check.name, check.state, check.found) for check in checks]
        screen.print(table(["check", "state", "found"], rows, left=3))
        for check in checks:
            if check.remedy:
                screen.print(f"{check.name}: {check.remedy}", markup=False)

    data = {"ok": ok, "checks": [check._asdict() for check in checks]}
    return Answer(data, show, exit_code=0 if ok else 69)
