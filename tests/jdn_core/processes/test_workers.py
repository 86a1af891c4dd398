"""Real processes that finish, fail, hang, die and are replaced; nothing of it reaches the others."""

from __future__ import annotations

import logging
import multiprocessing.forkserver
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jdn_core.errors import Diverged, JobFailed
from jdn_core.processes.attempts import Failure, attempt, insist
from jdn_core.processes.child import MemoryShortage
from jdn_core.processes.children import ChildDied, ChildHung, Patience
from jdn_core.processes.devices import DeviceShare, shares
from jdn_core.processes.progress import listening
from jdn_core.processes.stopping import Stopped
from jdn_core.processes.workers import Workers
from tests.jdn_core.processes import misdeeds
from tests.processes import lives, until

# The fork server imports torch once, beside whatever else runs.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with Workers(shares(2, device="cpu", threads=1)) as two:
        yield two


def test_a_job_gives_its_result_and_the_process_stays_warm(workers: Workers) -> None:
    first = workers.run(misdeeds.pid)
    assert first != os.getpid()
    assert workers.run(misdeeds.pid) in workers.pids
    assert len(workers) == 2


def test_steps_and_log_lines_arrive_where_the_search_listens(
    workers: Workers, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[tuple[str, int, int, str]] = []
    with listening(lambda *step: heard.append(step)), caplog.at_level(logging.WARNING):
        assert workers.run(misdeeds.tell, 3) == 3
    assert heard == [("counting", step, 3, "note") for step in (1, 2, 3)]
    assert [(line.name, line.getMessage()) for line in caplog.records] == [
        ("jdn_core.counting", "counted to 3")
    ]


def test_an_error_of_the_users_comes_back_whole_and_the_process_is_used_again(workers: Workers) -> None:
    before = set(workers.pids) | {workers.run(misdeeds.pid)}
    with pytest.raises(Diverged, match=r"pair 3: the loss is not finite at epoch 2 step 17") as caught:
        workers.run(misdeeds.diverge)
    assert caught.value.place == "epoch 2 step 17 lr 0.01 last finite loss 3.2"
    assert workers.run(misdeeds.pid) in before


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_process_that_dies_is_named_and_replaced(workers: Workers, number: int, tmp_path: Path) -> None:
    name = signal.Signals(number).name
    with pytest.raises(ChildDied, match=rf"the worker ended with signal {number:d} \({name}\)"):
        workers.run(misdeeds.end_by, number, tmp_path / "tries", times=1)
    assert attempt(workers, misdeeds.end_by, number, tmp_path / "tries", times=3) == 4


def test_five_deaths_are_a_crash_loop_and_the_next_job_is_well(workers: Workers, tmp_path: Path) -> None:
    outcome = attempt(workers, misdeeds.end_by, signal.SIGKILL, tmp_path / "tries", times=99)
    assert outcome == Failure("crash_loop: the worker ended with signal 9 (SIGKILL)")
    assert (tmp_path / "tries").stat().st_size == 5
    assert workers.run(misdeeds.pid) in workers.pids


def test_a_process_that_does_not_start_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The fork server listens elsewhere for a while; what then ends the search is told, not hidden."""
    listener = multiprocessing.forkserver._forkserver
    with Workers(shares(1, device="cpu", threads=1)) as one:
        with monkeypatch.context() as astray:
            astray.setattr(listener, "_forkserver_address", str(tmp_path / "nobody"))
            with pytest.raises(ChildDied, match=r"the worker did not start: FileNotFoundError"):
                one.run(misdeeds.pid)
            assert attempt(one, misdeeds.pid) == Failure(
                "crash_loop: the worker did not start: FileNotFoundError(2, 'No such file or directory')"
            )
        assert one.pids == ()
        assert one.run(misdeeds.pid) in one.pids


def test_an_error_that_nobody_foresaw_ends_the_process_too(workers: Workers) -> None:
    used = workers.run(misdeeds.pid)
    with pytest.raises(ChildDied, match="RuntimeError: CUDA error: device-side assert triggered"):
        workers.run(misdeeds.break_down)
    with pytest.raises(JobFailed, match="break down failed: crash_loop: RuntimeError: CUDA error"):
        insist(workers, misdeeds.break_down)
    assert used not in workers.pids or len(workers.pids) == 2


def test_too_little_memory_is_tried_once_more(workers: Workers, tmp_path: Path) -> None:
    with pytest.raises(MemoryShortage, match=r"peak \d+\.\d\d of \d+\.\d\d GiB"):
        workers.run(misdeeds.want_too_much, tmp_path / "first")
    assert attempt(workers, misdeeds.want_too_much, tmp_path / "second") == "1 byte"


def test_the_second_try_after_too_little_memory_is_alone_on_the_device(
    workers: Workers, tmp_path: Path
) -> None:
    def both(run: Callable[..., bool], folder: Path) -> list[bool]:
        folder.mkdir()
        with ThreadPoolExecutor(2) as threads:
            jobs = [threads.submit(run, misdeeds.meet, folder, others=1) for _ in range(2)]
            return sorted(job.result() for job in jobs)

    assert both(workers.run, tmp_path / "together") == [True, True]
    # The one that comes second finds the trace of the first, which met nobody.
    assert both(workers.run_alone, tmp_path / "alone") == [False, True]


def test_a_process_that_falls_silent_is_killed_and_replaced(tmp_path: Path) -> None:
    with Workers(shares(1, device="cpu", threads=1), patience=Patience(medians=5, seconds=0.5)) as impatient:
        silent = r"no step for \d+ s \(a step takes 0\.\d\d s\)"
        with pytest.raises(ChildHung, match=silent):
            impatient.run(misdeeds.fall_silent, tmp_path / "first", times=1)
        assert attempt(impatient, misdeeds.fall_silent, tmp_path / "second", times=1) == 2
        outcome = attempt(impatient, misdeeds.fall_silent, tmp_path / "third", times=9)
        assert isinstance(outcome, Failure)
        assert outcome.reason.startswith("timeout: no step for ")


def test_a_stop_lets_the_job_save_its_state_first(tmp_path: Path) -> None:
    saved, begun = tmp_path / "saved", threading.Event()
    with Workers(shares(1, device="cpu", threads=1)) as one, listening(lambda *_: begun.set()):
        with ThreadPoolExecutor(1) as thread:
            job = thread.submit(one.run, misdeeds.step_until_stopped, saved)
            assert begun.wait(60)
            started = time.monotonic()
            one.stop()
            with pytest.raises(Stopped):
                job.result()
        assert time.monotonic() - started < 5
        assert int(saved.read_text()) > 0
        assert one.pids == ()
        with pytest.raises(Stopped):
            one.run(misdeeds.pid)


def test_a_process_that_comes_up_after_a_stop_is_ended_too(workers: Workers) -> None:
    workers.run(misdeeds.pid)  # the fork server is there
    server = multiprocessing.forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    one = Workers(shares(1, device="cpu", threads=1))
    with ThreadPoolExecutor(1) as search:
        os.kill(server, signal.SIGSTOP)
        try:
            job = search.submit(one.run, misdeeds.pid)
            until(lambda: not one._idle)
            one.stop(0)
        finally:
            os.kill(server, signal.SIGCONT)
        with pytest.raises(Stopped):
            job.result()
    assert one.pids == ()


def test_a_job_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    begun = threading.Event()
    with Workers(shares(1, device="cpu", threads=1)) as one, listening(lambda *_: begun.set()):
        with ThreadPoolExecutor(1) as thread:
            job = thread.submit(one.run, misdeeds.fall_silent, tmp_path / "tries", times=1)
            assert begun.wait(60)
            one.stop(grace=0.2)
            with pytest.raises(Stopped):
                job.result()
        assert one.pids == ()


def test_workers_die_with_the_search_even_in_the_middle_of_a_job(tmp_path: Path) -> None:
    script = """
        import sys
        from pathlib import Path
        from jdn_core.processes.progress import listening
        from jdn_core.processes.devices import shares
        from jdn_core.processes.workers import Workers
        from tests.jdn_core.processes import misdeeds
        if __name__ == "__main__":
            with Workers(shares(1, device="cpu", threads=1)) as one:
                with listening(lambda *_: print(*one.pids, flush=True)):
                    one.run(misdeeds.step_until_stopped, Path(sys.argv[1]))
    """
    file = tmp_path / "search.py"
    file.write_text(textwrap.dedent(script))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, str(file), str(tmp_path / "saved")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as search:
        assert search.stdout is not None
        worker = int(search.stdout.readline())
        search.kill()
    until(lambda: not lives(worker), patience=20)


def test_processes_share_the_threads_and_take_the_gpus_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shares(1, device="cpu", threads=None) == (DeviceShare("cpu", None),)
    assert shares(2, device="cpu", threads=3) == (DeviceShare("cpu", 3),) * 2
    shared = shares(64, device="cpu", threads=None)
    assert {share.threads for share in shared} == {max(1, len(os.sched_getaffinity(0)) // 64)}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    gpus = shares(3, device="cuda", threads=1)
    assert [share.device for share in gpus] == ["cuda:2", "cuda:5", "cuda:2"]
    assert gpus[1].environment == {"CUDA_VISIBLE_DEVICES": "5", "JDN_GPUS": "2,5"}


def test_a_worker_knows_the_gpus_of_its_whole_run(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"CUDA_VISIBLE_DEVICES": "5", "JDN_GPUS": "2,5"}.items():
        monkeypatch.setenv(name, value)
    assert [share.environment["CUDA_VISIBLE_DEVICES"] for share in shares(2, device="cuda", threads=1)] == [
        "2",
        "5",
    ]


def test_a_worker_computes_with_its_share() -> None:
    share = DeviceShare("cpu", 2, {"JDN_TEST_SHARE": "here"})
    with Workers([share]) as one:
        assert one.run(misdeeds.threads_and, "JDN_TEST_SHARE") == (2, "here")
    with pytest.raises(ValueError, match="workers need one share at least"):
        Workers([])
