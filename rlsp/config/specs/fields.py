"""Types of the fields of specs: bounds that hold for every value, and errors of one line."""

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, Strict
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

NAME = r"^(?!.*[.][.])[a-z0-9][a-z0-9.-]*\Z"
NAME_HINT = " (lower-case letters, digits, hyphens, single dots)"
LONGEST_TEXT = 4096  # characters; the longest path of Linux
LONGEST_QUOTE = 80  # characters of a value that an error quotes
LONGEST_NAME = 100  # characters; names are joined to file names, of which a file system takes 255


def mistake(message: str, key: str | None = None) -> PydanticCustomError:
    """Make the error of a validator: what was expected and what came, of the value or of one of its keys."""
    return PydanticCustomError("mistake", "{message}", {"message": message, "key": key})


def quoted(value: Any) -> str:
    """Quote a value in an error, cut where it is long."""
    text = repr(value)
    return text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}..."


class _Checked(ABC):
    """An annotation that checks a value with a function of its own, and tells editors the same bounds."""

    @abstractmethod
    def check(self, value: Any) -> Any:
        """Return the value, or raise a :func:`mistake`."""

    @abstractmethod
    def json_schema(self) -> dict[str, Any]:
        """Give the JSON schema that says the same."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Give pydantic the check."""
        return core_schema.no_info_plain_validator_function(self.check)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Give pydantic the JSON schema."""
        return self.json_schema()


@dataclass(frozen=True)
class Number(_Checked):
    """A finite number; a whole one is kept as it was written, since hashes are made of the text."""

    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None

    kind = "number"

    def check(self, value: Any) -> int | float:
        """Refuse what is no finite number within the bounds."""
        if type(value) not in (int, float):
            hint = " (YAML reads 1e-3 as text: write 0.001)" if isinstance(value, str) else ""
            raise mistake(f"expected {self.kind}, got {quoted(value)}{hint}")
        if not math.isfinite(value):
            raise mistake(f"expected a finite number, got {quoted(value)}")
        return self._bounded(value)

    def _bounded(self, value: Any) -> Any:
        if self.minimum is not None and value < self.minimum:
            raise mistake(f"expected a minimum of {self.minimum}, got {quoted(value)}")
        if self.above is not None and value <= self.above:
            raise mistake(f"expected more than the minimum {self.above}, got {quoted(value)}")
        if self.maximum is not None and value > self.maximum:
            raise mistake(f"expected a maximum of {self.maximum}, got {quoted(value)}")
        if self.below is not None and value >= self.below:
            raise mistake(f"expected less than the maximum {self.below}, got {quoted(value)}")
        return value

    def json_schema(self) -> dict[str, Any]:
        """Give type and bounds."""
        words = {"minimum": self.minimum, "exclusiveMinimum": self.above}
        words |= {"maximum": self.maximum, "exclusiveMaximum": self.below}
        return {"type": self.kind, **{word: bound for word, bound in words.items() if bound is not None}}


@dataclass(frozen=True)
class Whole(Number):
    """A whole number, also one written as a float such as ``1.0e+6``; both bounds are always given."""

    multiple_of: int = 1

    kind = "integer"

    def check(self, value: Any) -> int:
        """Refuse what is no whole number within the bounds."""
        if type(value) is float and value.is_integer():
            value = int(value)
        if type(value) is float and not math.isfinite(value):
            raise mistake(f"expected a finite number, got {quoted(value)}")
        if type(value) is not int:
            hint = " (YAML reads 1e-3 as text: write 0.001)" if isinstance(value, str) else ""
            raise mistake(f"expected {self.kind}, got {quoted(value)}{hint}")
        if value % self.multiple_of:
            raise mistake(f"expected a multiple of {self.multiple_of}, got {quoted(value)}")
        return self._bounded(value)

    def json_schema(self) -> dict[str, Any]:
        """Give type and bounds."""
        step = {"multipleOf": self.multiple_of} if self.multiple_of > 1 else {}
        return super().json_schema() | step


@dataclass(frozen=True)
class WholeOr(_Checked):
    """A whole number, or one word."""

    minimum: int
    maximum: int
    word: str

    def check(self, value: Any) -> int | str:
        """Refuse anything else."""
        if value == self.word and isinstance(value, str):
            return value
        if isinstance(value, str):
            raise mistake(f"text {quoted(value)} does not fit ^{self.word}$")
        return Whole(self.minimum, self.maximum).check(value)

    def json_schema(self) -> dict[str, Any]:
        """Give both."""
        return {"anyOf": [Whole(self.minimum, self.maximum).json_schema(), {"const": self.word}]}


@dataclass(frozen=True)
class Text(_Checked):
    """Text on one line, of bounded length, perhaps of a pattern."""

    pattern: str = ""
    hint: str = ""
    what: str = "text"
    longest: int = LONGEST_TEXT
    shortest: int = 1

    def check(self, value: Any) -> str:
        """Refuse what is no text, is too short or too long, holds control characters, or does not fit the pattern."""
        if not isinstance(value, str):
            hint = ' (YAML reads 011 as the number 9: write "011")' if type(value) is int else ""
            raise mistake(f"expected string, got {quoted(value)}{hint}")
        if self.pattern and not re.search(self.pattern, value):
            raise mistake(f"{self.what} {quoted(value)} does not fit {self.pattern}{self.hint}")
        if not self.shortest <= len(value) <= self.longest:
            raise mistake(f"expected {self.shortest} to {self.longest} characters, got {len(value)}")
        if any(ord(character) < 32 or ord(character) == 127 for character in value):
            raise mistake(f"expected text without control characters, got {quoted(value)}")
        return value

    def json_schema(self) -> dict[str, Any]:
        """Give type, pattern and length."""
        pattern = {"pattern": self.pattern.replace("\\Z", "$")} if self.pattern else {}
        return {"type": "string", "minLength": self.shortest, "maxLength": self.longest, **pattern}


@dataclass(frozen=True, eq=False)
class Ask(_Checked):
    """A value of a form of its own, checked by a function that raises a :func:`mistake`."""

    function: Callable[[Any], Any]
    schema: tuple[tuple[str, Any], ...]

    def check(self, value: Any) -> Any:
        """Ask the function."""
        return self.function(value)

    def json_schema(self) -> dict[str, Any]:
        """Give the schema."""
        return dict(self.schema)


Flag = Annotated[bool, Strict()]
Line = Annotated[str, Text()]
Name = Annotated[str, Text(NAME, NAME_HINT, "name", LONGEST_NAME)]
Location = Annotated[str, Text(r"^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*$")]
Digest = Annotated[str, Text(r"^[0-9a-f]{64}\Z")]
Scale = Annotated[int, Whole(1, 16)]
Seed = Annotated[int, Whole(0, 2**32 - 1)]
Threads = Annotated[int, Whole(1, 1024)]
Steps = Annotated[int, Whole(1, 10**9)]
Frames = Annotated[int, Whole(1, 10**6)]
Width = Annotated[int, Whole(1, 2**16)]
Pixels = Annotated[int, Whole(0, 2**16)]
Part = Annotated[float, Number(0, 1)]
Positive = Annotated[float, Number(above=0, maximum=3e38)]  # of float32
Finite = Annotated[float, Number(-1e9, 1e9)]
FrameNumber = Annotated[int, Whole(0, 10**9)]
Shot = tuple[FrameNumber, FrameNumber]


def _several(value: Any) -> Any:
    """Take one name for a list of one."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, (list, tuple)) or not names:
        raise mistake(f"expected a name or a list of names, got {quoted(value)}")
    return tuple(Text().check(name) for name in names)


_LINES = {"type": "array", "minItems": 1, "items": {"type": "string"}}
OneOrSeveral = Annotated[tuple[str, ...], Ask(_several, (("anyOf", [{"type": "string"}, _LINES]),))]
