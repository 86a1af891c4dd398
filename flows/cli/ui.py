"""`jdn ui`: the dashboards of Prefect and MLflow on this machine, and a worker that runs what they start."""

from __future__ import annotations

import json as jsonlib
import shlex
import signal
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli import options
from flows.console import console, say

if TYPE_CHECKING:
    from flows.servers.dashboards import Addresses


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command("ui", epilog="Example: jdn ui --with-worker")(ui)


def ui(
    with_worker: Annotated[
        bool, typer.Option("--with-worker", help="Also run, on this machine, what the dashboards start.")
    ] = False,
    prefect_port: Annotated[
        int | None, typer.Option(min=1, max=65535, metavar="PORT", help="[default: 4200, or a free one]")
    ] = None,
    mlflow_port: Annotated[
        int | None, typer.Option(min=1, max=65535, metavar="PORT", help="[default: 5000, or a free one]")
    ] = None,
    json: options.Json = False,
) -> None:
    """Start the dashboards on this machine. Ctrl-C ends all of it.

    Data lie in JDN_HOME, ~/jdn if it is not set. Prefect asks once for the password that is printed here.
    """
    from flows.inputs.folders import home, writable
    from flows.servers.dashboards import Addresses, alone, environment, servers, workers
    from flows.servers.services import Services
    from jdn_core.processes.stopping import Stopped

    folder = writable(home())
    with alone(folder):
        place = Addresses.choose(folder, prefect_port=prefect_port, mlflow_port=mlflow_port)
        say("starting the servers, about twenty seconds ...")
        try:
            with Services(environment(place), logs=folder / "logs") as services:
                services.start(servers(place))
                services.run(["deploy", "--json"])
                services.start(workers() if with_worker else ())
                _tell(place, as_json=json, with_worker=with_worker)
                services.watch()
        except Stopped as stopped:
            if stopped.number != signal.SIGINT:
                raise
    say("all of it has ended")


def _tell(place: Addresses, *, as_json: bool, with_worker: bool) -> None:
    """Prints the addresses, now that both answer; a script goes on when it has read them."""
    if as_json:
        found = {
            "prefect": place.prefect,
            "mlflow": place.mlflow,
            "home": str(place.home),
            "auth_file": str(place.auth_file),
            "with_worker": with_worker,
        }
        sys.stdout.write(jsonlib.dumps(found) + "\n")
        sys.stdout.flush()
        return
    screen = console()
    secret = shlex.quote(str(place.auth_file))
    lines = [
        f"Prefect  {place.prefect}   password {place.auth_file.read_text()}",
        f"MLflow   {place.mlflow}",
        "",
        "Other commands use these servers, not their own, after",
        f"  export MLFLOW_TRACKING_URI={place.mlflow}",
        f'  export PREFECT_API_URL={place.prefect}/api PREFECT_API_AUTH_STRING="$(cat {secret})"',
        "",
        "Ctrl-C ends all of it.",
    ]
    screen.print("\n".join(lines), markup=False, soft_wrap=True)
