"""What a user can meet: every error that ends a command, with the exit code that scripts may rely on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

MOST_PROBLEMS = 50
_MOST_TEXT = 60
_PASSWORD = re.compile(r"(://[^/@\s:]*:)[^@]*@")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with an input, said so that it can be mended.

    Attributes:
        file: name of the file, or of the settings' source.
        where: place inside it, such as ``annotations[17].bbox`` or ``search.top_k``.
        what: the rule that does not hold, such as ``width must be > 0``.
        value: the offending value as text; empty where there is none.
        remedy: what the user can do about it; empty where nothing is known.
    """

    file: str
    where: str
    what: str
    value: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        place = f"{self.file}: {self.where}" if self.where else self.file
        got = f", got {self.value}" if self.value else ""
        remedy = f"; {self.remedy}" if self.remedy else ""
        line = f"{place}: {self.what}{got}{remedy}"
        return line if line.isprintable() else "".join(map(_printable, line))


def shown(value: object) -> str:
    """Shows a value in a problem: its ``repr`` without a URI's password, cut to what fits a line."""
    return cut(hidden(repr(value)))


def hidden(text: str) -> str:
    """Returns a text whose addresses have stars for passwords."""
    return _PASSWORD.sub(r"\1***@", text)


def cut(text: str) -> str:
    """Returns the beginning of a long text; a short one as it is."""
    return f"{text[: _MOST_TEXT - 3]}..." if len(text) > _MOST_TEXT else text


def _printable(letter: str) -> str:
    """Line breaks and terminal codes out of a file would look like words of ours."""
    return letter if letter.isprintable() else repr(letter)[1:-1]


class UserError(Exception):
    """The input's or the machine's fault, not the program's; it ends a command without traceback."""

    exit_code = 64

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.args, self.__dict__)

    @classmethod
    def of(cls, problems: Sequence[Problem]) -> Self:
        """Returns all problems at once, the first 50 of them by name."""
        lines = [str(problem) for problem in problems[:MOST_PROBLEMS]]
        if len(problems) > MOST_PROBLEMS:
            lines.append(f"... and {len(problems) - MOST_PROBLEMS} more")
        return cls("\n".join(lines), problems)


class UsageError(UserError):
    """The command itself was wrong: unknown option, value or name."""

    exit_code = 64


class DataError(UserError):
    """The dataset breaks a rule."""

    exit_code = 65


class CheckpointError(UserError):
    """A weights file is damaged, unsafe, or belongs to another architecture."""

    exit_code = 65


class FormatError(UserError):
    """A file was written by a newer version of jdn, or says nothing of its format."""

    exit_code = 65


class FingerprintError(UserError):
    """A search was resumed with other settings, data or code than it began with."""

    exit_code = 65


class InputMissing(UserError):
    """A file or folder that the user named is not there."""

    exit_code = 66


class ServiceUnavailable(UserError):
    """A server that was asked for does not answer."""

    exit_code = 69


class StorageError(UserError):
    """The disk is full, or a file could not be written or read back."""

    exit_code = 74


class OwnedByAnother(UserError):
    """Another process is running this search."""

    exit_code = 75


class SettingsError(UserError):
    """The settings break a rule."""

    exit_code = 78


class SearchFailed(UserError):
    """Too many pairs in a row failed; the settings do not suit the data or the device."""

    exit_code = 78


class JobFailed(UserError):
    """A stage that nothing can go on without met a crash, a hang or too little memory, again and again."""

    exit_code = 78


class Diverged(UserError):
    """A loss or a gradient stopped being finite; the step was not applied."""

    exit_code = 78

    def __init__(self, stage: str, *, epoch: int, step: int, rate: float, last_finite: float) -> None:
        place = f"epoch {epoch + 1} step {step + 1} lr {rate:.3g} last finite loss {last_finite:.4g}"
        super().__init__(f"{stage}: the loss is not finite at {place}; lower the learning rate or clip_norm")
        self.place = place


def _again(kind: type[UserError], args: tuple[Any, ...], state: dict[str, Any]) -> UserError:
    """Returns an error that another process raised, whatever its constructor asks for."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error
