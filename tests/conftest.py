"""What every test stands on: quiet libraries, one thread, fixed seeds, nothing taken from the host."""

from __future__ import annotations

import atexit
import os
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

_SCRATCH = Path(tempfile.mkdtemp(prefix="jdn-tests-"))
atexit.register(shutil.rmtree, _SCRATCH, ignore_errors=True)

# Set before torch, prefect and mlflow are imported: they read them once. Child processes inherit them.
os.environ |= {
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_HOME": str(_SCRATCH / "prefect"),
    "MPLBACKEND": "Agg",
    "MPLCONFIGDIR": str(_SCRATCH / "matplotlib"),
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NO_COLOR": "1",
    "COLUMNS": "100",
    "TZ": "UTC",
}
for _name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "JDN_FAULT", "FORCE_COLOR"):
    os.environ.pop(_name, None)

# A shell lets a background job ignore Ctrl-C, and so would all that tests start, which some of it ends by.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

from hypothesis import settings as hypothesis_settings  # noqa: E402

from tests import tiers  # noqa: E402
from tests.processes import measuring_nothing  # noqa: E402

# Derandomized: a red test must be red again on the next machine. No deadline: machines differ.
hypothesis_settings.register_profile("jdn", derandomize=True, deadline=None, database=None, print_blob=True)
hypothesis_settings.load_profile("jdn")


@pytest.hookimpl(tryfirst=True)  # before `-m` leaves out what is of another tier
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    tiers.sort_into_tiers(items)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[object]:
    """Set-up and fixtures count too: a test of the fast tier starts no server."""
    if tiers.tiers_of(item):
        return (yield)
    with tiers.without_servers(item.nodeid):
        return (yield)


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    """Every test starts from the same generators; those of libraries that nobody imported stay unimported."""
    random.seed(0)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(0)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.fixture
def jdn(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command in this process; gives its exit code, standard output and standard error."""
    from flows.cli import main

    def run(*arguments: object) -> tuple[int, str, str]:
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            with pytest.raises(SystemExit) as ended:
                main.main([str(argument) for argument in arguments])
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        code = ended.value.code
        assert isinstance(code, int)
        return (code, *capfd.readouterr())

    return run


@pytest.fixture(scope="session")
def jdn_data() -> Path:
    """Folder of the real datasets (bccd, coco_mini, tricky); without one, tests that ask are skipped."""
    folder = os.environ.get("JDN_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("JDN_DATA names no folder with the real datasets")
    return Path(folder).resolve()


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """A Prefect server with an empty database for the tests that run flows; most call ``task.fn`` instead.

    It takes nine seconds to come up, once a session; without the heartbeat's thread a flow run then costs
    0.1 to 0.7 s instead of 1.1 s more.
    """
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    quick = temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None})
    with quick, ExitStack() as stack:
        with measuring_nothing():
            stack.enter_context(prefect_test_harness(server_startup_timeout=60))
        yield
