import pytest

from jdn_core import errors
from jdn_core.errors import DataError, Diverged, Problem, SettingsError, UserError, shown


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("UsageError", 64),
        ("DataError", 65),
        ("CheckpointError", 65),
        ("FormatError", 65),
        ("FingerprintError", 65),
        ("InputMissing", 66),
        ("ServiceUnavailable", 69),
        ("StorageError", 74),
        ("OwnedByAnother", 75),
        ("SettingsError", 78),
        ("Diverged", 78),
    ],
)
def test_scripts_may_rely_on_the_exit_codes(kind: str, code: int) -> None:
    found = getattr(errors, kind)
    assert found.exit_code == code
    assert issubclass(found, UserError)


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem("train.json", "", "is empty"), "train.json: is empty"),
        (Problem("train.json", "images", "is missing"), "train.json: images: is missing"),
        (
            Problem("train.json", "annotations[17].bbox", "width must be > 0", "-3", "drop the box"),
            "train.json: annotations[17].bbox: width must be > 0, got -3; drop the box",
        ),
    ],
)
def test_a_problem_says_where_what_got_and_what_to_do(problem: Problem, text: str) -> None:
    assert str(problem) == text


def test_a_problem_is_one_line_whatever_the_file_holds() -> None:
    problem = Problem("a\nb.json", "x\r\nERROR 0 fine", "bad", "\x1b[2J", "mend \ud800 it")
    assert str(problem) == r"a\nb.json: x\r\nERROR 0 fine: bad, got \x1b[2J; mend \ud800 it"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (-3, "-3"),
        ("http://me:secret@host", "'http://me:***@host'"),
        (list(range(1000)), f"{str(list(range(1000)))[:57]}..."),
    ],
)
def test_a_value_is_shown_short_and_without_its_password(value: object, text: str) -> None:
    assert shown(value) == text


@pytest.mark.parametrize(
    ("count", "lines", "last"),
    [(1, 1, "f: x[0]: bad"), (50, 50, "f: x[49]: bad"), (53, 51, "... and 3 more")],
)
def test_all_problems_are_told_at_once_and_fifty_by_name(count: int, lines: int, last: str) -> None:
    error = DataError.of([Problem("f", f"x[{number}]", "bad") for number in range(count)])
    assert isinstance(error, DataError)
    assert len(error.problems) == count
    assert len(str(error).splitlines()) == lines
    assert str(error).splitlines()[-1] == last


def test_an_error_without_problems_is_its_message() -> None:
    assert (str(SettingsError("no")), SettingsError("no").problems) == ("no", ())


def test_a_divergence_names_its_step_counted_from_one() -> None:
    error = Diverged("pair 7", epoch=1, step=16, rate=0.01, last_finite=3.2)
    assert error.place == "epoch 2 step 17 lr 0.01 last finite loss 3.2"
    assert str(error).startswith(f"pair 7: the loss is not finite at {error.place}; lower the learning rate")
