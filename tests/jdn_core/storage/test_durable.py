import errno
import hashlib
import json
import multiprocessing
import os
import re
from collections.abc import Callable
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jdn_core.errors import CheckpointError, OwnedByAnother, StorageError
from jdn_core.storage import durable

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def failing(monkeypatch: pytest.MonkeyPatch, name: str, code: int) -> None:
    """Makes one call to the system fail as a disk would."""

    def fail(*arguments: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, name, fail)


def test_what_was_written_is_what_is_read_with_its_hash(tmp_path: Path) -> None:
    data = bytes(range(256)) * 9000
    written = durable.write_bytes(tmp_path / "weights", data)
    assert written == durable.Written(hashlib.sha256(data).hexdigest(), len(data))
    assert durable.sha256_of(tmp_path / "weights") == written.sha256
    assert durable.read_verified(tmp_path / "weights", written.sha256) == data
    assert os.listdir(tmp_path) == ["weights"]


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    durable.write_text(tmp_path / "note", "a longer first text")
    assert durable.write_text(tmp_path / "note", "zwölf").bytes == 6
    assert (tmp_path / "note").read_text(encoding="utf-8") == "zwölf"


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_a_failing_disk_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    durable.write_text(tmp_path / "state", "old")
    with monkeypatch.context() as broken:
        failing(broken, call, code)
        with pytest.raises(StorageError) as caught:
            durable.write_text(tmp_path / "state", "new and longer")
    assert (tmp_path / "state").read_text() == "old"
    assert os.listdir(tmp_path) == ["state"]
    room = r": needed 14 bytes, free \d+" if code in (errno.ENOSPC, errno.EDQUOT) else ""
    assert re.fullmatch(re.escape(f"{tmp_path / 'state'}: {os.strerror(code)}") + room, str(caught.value))
    assert caught.value.exit_code == 74


def test_text_is_added_at_the_end_of_a_file_that_is_made_if_need_be(tmp_path: Path) -> None:
    for text in ("one\n", "zwölf\n"):
        durable.append_text(tmp_path / "lines", text)
    assert (tmp_path / "lines").read_text(encoding="utf-8") == "one\nzwölf\n"


def test_a_disk_that_fails_an_addition_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    durable.append_text(tmp_path / "lines", "one\n")
    failing(monkeypatch, "fsync", errno.ENOSPC)
    with pytest.raises(StorageError, match=r"lines: No space left on device: needed 4 bytes, free \d+"):
        durable.append_text(tmp_path / "lines", "two\n")


def test_a_write_into_a_missing_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        durable.write_text(tmp_path / "nowhere" / "state", "text")


@given(JSON)
def test_json_reads_back_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.getbasetemp() / "value.json"
    for indent in (None, 2):
        durable.write_json(path, value, indent=indent)
        assert durable.read_json(path) == value


def test_json_is_for_people_or_canonical(tmp_path: Path) -> None:
    durable.write_json(tmp_path / "people.json", {"b": [1], "a": "ü"})
    durable.write_json(tmp_path / "canonical.json", {"b": [1], "a": "ü"}, indent=None)
    assert (tmp_path / "people.json").read_text() == '{\n  "a": "ü",\n  "b": [\n    1\n  ]\n}\n'
    assert (tmp_path / "canonical.json").read_text() == '{"a":"ü","b":[1]}\n'


@pytest.mark.parametrize("indent", [None, 2])
def test_sealed_json_reads_back_without_its_seal_or_not_at_all(tmp_path: Path, indent: int | None) -> None:
    path = tmp_path / "sealed.json"
    durable.write_json(path, {"b": [1], "a": 12}, indent=indent, seal=True)
    assert durable.read_json(path) == {"a": 12, "b": [1]}
    assert list(json.loads(path.read_text())) == ["a", "b", "sha256"]
    path.write_text(path.read_text().replace("12", "13"))
    with pytest.raises(StorageError, match=r"sealed\.json: not valid JSON: damaged or edited: "):
        durable.read_json(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_no_number_is_written_that_json_does_not_know(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        durable.write_json(tmp_path / "value.json", {"ap": value})
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expecting value"),
        ('{"a": 1', "Expecting ',' delimiter"),
        ('{"a": NaN}', "NaN is not a number of JSON"),
        ("[-Infinity]", "-Infinity is not a number of JSON"),
        ('{"a": 1, "b": {"c": 1, "d": 2, "c": 3}}', "key 'c' occurs twice in one object"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_json_that_is_not_ours_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(StorageError, match=message) as caught:
        durable.read_json(tmp_path / "state.json")
    assert str(caught.value).startswith(f"{tmp_path / 'state.json'}: not valid JSON: ")


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(StorageError, match="not valid JSON"):
        durable.read_json(tmp_path / "state.json")


@pytest.mark.parametrize(
    "read", [durable.read_json, durable.sha256_of, lambda path: durable.read_verified(path, "0" * 64)]
)
def test_a_missing_file_stays_a_missing_file_and_a_folder_is_none(
    tmp_path: Path, read: Callable[[Path], object]
) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none")
    with pytest.raises(StorageError, match="Is a directory"):
        read(tmp_path)


def test_every_flipped_bit_and_every_lost_end_is_found(tmp_path: Path) -> None:
    data = b"safetensors"
    written = durable.write_bytes(tmp_path / "weights", data)
    flips = [
        bytes([*data[:i], data[i] ^ 1 << bit, *data[i + 1 :]]) for i in range(len(data)) for bit in range(8)
    ]
    for damaged in [*flips, *(data[:length] for length in range(len(data)))]:
        (tmp_path / "weights").write_bytes(damaged)
        with pytest.raises(CheckpointError, match=f"weights: damaged: SHA-256 must be {written.sha256}, got"):
            durable.read_verified(tmp_path / "weights", written.sha256)


def test_a_folder_takes_its_place_with_all_that_is_in_it(tmp_path: Path) -> None:
    staged = durable.stage_folder(tmp_path / "pairs" / "KEY")
    (staged / "figures").mkdir()
    (staged / "figures" / "one.png").write_bytes(b"png")
    durable.write_text(staged / "pair.json", "{}")
    assert durable.commit_folder(staged, tmp_path / "pairs" / "KEY")
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")) == [
        "pairs",
        "pairs/KEY",
        "pairs/KEY/figures",
        "pairs/KEY/figures/one.png",
        "pairs/KEY/pair.json",
    ]


@pytest.mark.parametrize("taken", ["folder", "file"])
def test_the_first_folder_wins_and_the_second_is_gone(tmp_path: Path, taken: str) -> None:
    final = tmp_path / "KEY"
    if taken == "folder":
        final.mkdir()
        (final / "pair.json").write_text("first")
    else:
        final.write_text("first")
    staged = durable.stage_folder(final)
    (staged / "pair.json").write_text("second")
    assert not durable.commit_folder(staged, final)
    assert os.listdir(tmp_path) == ["KEY"]
    assert (final / "pair.json" if taken == "folder" else final).read_text() == "first"


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_commit_on_a_failing_disk_commits_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    staged = durable.stage_folder(tmp_path / "KEY")
    (staged / "pair.json").write_text("{}")
    with monkeypatch.context() as broken:
        failing(broken, call, errno.EIO)
        with pytest.raises(StorageError, match="Input/output error"):
            durable.commit_folder(staged, tmp_path / "KEY")
    assert not (tmp_path / "KEY").exists()
    assert durable.commit_folder(staged, tmp_path / "KEY")


def test_a_folder_is_staged_afresh_every_time(tmp_path: Path) -> None:
    first, second = (durable.stage_folder(tmp_path / "KEY") for _ in range(2))
    assert first != second
    assert not os.listdir(first)
    assert first.parent == tmp_path


def test_what_is_set_aside_keeps_its_content_and_frees_its_name(tmp_path: Path) -> None:
    (tmp_path / "KEY").mkdir()
    (tmp_path / "KEY" / "pair.json").write_text("torn")
    aside = durable.set_aside(tmp_path / "KEY")
    assert not (tmp_path / "KEY").exists()
    assert (aside / "pair.json").read_text() == "torn"
    assert aside.name.startswith("KEY.damaged-")


def test_leftovers_are_removed_wherever_they_are_and_nothing_else(tmp_path: Path) -> None:
    durable.write_text(tmp_path / "settings.yaml", "kept")
    staged = durable.stage_folder(tmp_path / "pairs" / "KEY")
    (staged / ".weights.abcd.tmp").write_bytes(b"half")
    (tmp_path / ".state.json.0123.tmp").write_bytes(b"half")
    (tmp_path / ".hidden").write_bytes(b"kept")
    assert len(durable.clean_leftovers(tmp_path)) == 3
    assert durable.clean_leftovers(tmp_path) == ()
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".hidden", "pairs", "settings.yaml"]


def test_a_search_has_one_owner_at_a_time(tmp_path: Path) -> None:
    search = tmp_path / "shapes"
    search.mkdir()
    with durable.own(search):
        with pytest.raises(OwnedByAnother) as caught, durable.own(search):
            pass
        assert caught.value.exit_code == 75
        owner = rf"pid {os.getpid()} on \S+ since \d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00"
        assert re.fullmatch(f"search shapes is owned by {owner}", str(caught.value))
    with durable.own(search):
        assert (search / durable.LOCK_FILE).read_text().startswith(f"pid {os.getpid()} on ")
    assert (search / durable.LOCK_FILE).read_text() == ""


def test_an_owner_that_has_not_said_its_name_yet_is_another_process(tmp_path: Path) -> None:
    with durable.own(tmp_path):
        (tmp_path / durable.LOCK_FILE).write_text("")
        with pytest.raises(OwnedByAnother, match="is owned by another process"), durable.own(tmp_path):
            pass


def _hold(folder: Path, held: Event, release: Event) -> None:
    with durable.own(folder):
        held.set()
        release.wait(60)
        os._exit(1)


def test_the_death_of_the_owner_frees_the_search(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    owner = context.Process(target=_hold, args=(tmp_path, held, release))
    owner.start()
    assert held.wait(60)
    with pytest.raises(OwnedByAnother, match=f"pid {owner.pid} on"), durable.own(tmp_path):
        pass
    release.set()
    owner.join(60)
    with durable.own(tmp_path):
        assert json.dumps(owner.exitcode) == "1"


def test_a_search_without_a_folder_has_no_owner(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), durable.own(tmp_path / "none"):
        pass
