"""The command line, `jdn`: parses, hands over to a command, and turns every ending into an exit code."""

from __future__ import annotations

import io
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from types import FrameType
from typing import Annotated, NoReturn

import typer

from flows import console
from flows.cli import (
    arch,
    benchmark,
    compare,
    copies,
    data,
    deploy,
    detectors,
    doctor,
    export,
    finetune,
    init,
    latency,
    pool,
    publish,
    show,
    study,
    train,
    ui,
)
from jdn_core.errors import ServiceUnavailable
from jdn_core.processes.stopping import Stopped

app = typer.Typer(
    name="jdn",
    help="Upgrade an object detector: architecture search, pruning and distillation in one (Joint-DetNAS).",
    epilog="Start with: jdn demo",
    rich_markup_mode=None,  # plain help is 0.3 s faster
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"max_content_width": console.WIDTH, "help_option_names": ["-h", "--help"]},
)
for room in (
    init,
    train,
    show,
    latency,
    compare,
    copies,
    finetune,
    publish,
    arch,
    pool,
    study,
    data,
    detectors,
    export,
    benchmark,
    ui,
    deploy,
    doctor,
):
    room.add_to(app)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        typer.echo(f"jdn {metadata.version('jdn')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def jdn(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; JDN_DEBUG=1 does the same.")
    ] = False,
) -> None:
    """Upgrade an object detector: architecture search, pruning and distillation in one (Joint-DetNAS)."""
    if debug:
        os.environ["JDN_DEBUG"] = "1"
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs one command and ends the process with its exit code (RELIABILITY lists them)."""
    # Threads that wait by spinning take the core that the others, servers among them, are waiting for: beside
    # three busy processes on two cores a training step took 4.2 s instead of 0.35 s.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if arguments is None:
        _prepare_process()
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    as_json = "--json" in arguments
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    try:
        code = app(list(arguments), prog_name="jdn", standalone_mode=False)
    except (Exception, Stopped) as error:
        code = console.report_error(_ours(error), as_json=as_json)
        if _is_urgent(error):
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    sys.exit(code or 0)


def _prepare_process() -> None:
    """Lets any text be printed on any terminal, and keeps warnings that libraries mean for programmers away.

    Warnings of ours go through logging. ``python -W`` and ``PYTHONWARNINGS`` decide where they are given.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if not sys.warnoptions:
        os.environ["PYTHONWARNINGS"] = "ignore"  # for the processes that this one starts
        warnings.simplefilter("ignore")


def _is_urgent(error: BaseException) -> bool:
    """Checks whether Prefect's threads must not delay the end.

    They would try for minutes to reach a server that is gone, and for seconds to send the last lines of a log
    while a spot machine's time runs out. The embedded server needs them, to end with this process.
    """
    return isinstance(error, ServiceUnavailable) or (
        isinstance(error, Stopped) and bool(os.environ.get("PREFECT_API_URL"))
    )


def _ours(error: BaseException) -> BaseException:
    """Typer's complaints about the command itself as a UsageError; any other error as it is."""
    if not hasattr(error, "format_message"):
        return error
    from jdn_core.errors import UsageError

    context = getattr(error, "ctx", None)
    what = " ".join(error.format_message().split()).rstrip(".")
    return UsageError(f"{what}; `{context.command_path if context else 'jdn'} --help` shows what it takes")


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise Stopped(number)


if __name__ == "__main__":
    main()
