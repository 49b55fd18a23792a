"""Checked reading of what the page sends: numbers within bounds, names from a list, points."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, final

from quickstudy.runs.reading import short

Point = tuple[float, float]


class MessageError(ValueError):
    """A message that the page would not send; it is answered by status 400 and this sentence."""


@final
@dataclass(frozen=True)
class Message:
    """The fields of a message, each of which is read by its kind. All methods raise MessageError.

    >>> Message({"steps": 3}).whole("steps", 0, 20)
    3
    """

    fields: Mapping[str, Any]

    @classmethod
    def of(cls, content: Any) -> "Message":
        """A message from parsed JSON."""
        if not isinstance(content, dict):
            raise MessageError(f"the message is {short(content)}; expected a JSON object")
        return cls(content)

    def number(self, name: str, low: float, high: float, otherwise: float | None = None) -> float:
        """A number from `low` to `high`; `otherwise` if it is missing."""
        return _number(name, self._field(name, otherwise), low, high)

    def whole(self, name: str, low: int, high: int, otherwise: int | None = None) -> int:
        """A whole number from `low` to `high`; `otherwise` if it is missing."""
        value = self._field(name, otherwise)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise MessageError(f"{name} is {short(value)}; expected a whole number from {low} to {high}")
        return value

    def choice(self, name: str, known: Collection[str], otherwise: str | None = None) -> str:
        """One of the names in `known`; `otherwise` if it is missing."""
        value = self._field(name, otherwise)
        if not isinstance(value, str) or value not in known:
            raise MessageError(f"{name} is {short(value)}; expected one of {', '.join(known)}")
        return value

    def points(self, name: str, most: int, x: Point, y: Point) -> list[Point]:
        """At most `most` pairs, the first number of each within `x`, the second within `y`."""
        value = self._field(name, [])
        if not isinstance(value, list) or len(value) > most:
            raise MessageError(f"{name} is {short(value)}; expected a list of at most {most} points [x, y]")
        found = []
        for point in value:
            if not isinstance(point, list) or len(point) != 2:
                raise MessageError(f"{name} has the entry {short(point)}; expected a point [x, y]")
            found.append((_number(f"x in {name}", point[0], *x), _number(f"y in {name}", point[1], *y)))
        return found

    def numbers(self, name: str, count: int, low: float, high: float) -> list[float]:
        """A list of `count` numbers from `low` to `high`."""
        value = self._field(name, None)
        if not isinstance(value, list) or len(value) != count:
            raise MessageError(f"{name} is {short(value)}; expected a list of {count} numbers")
        return [_number(f"a number in {name}", number, low, high) for number in value]

    def wholes(self, name: str, most: int, low: int, high: int) -> list[int]:
        """A list of at most `most` whole numbers from `low` to `high`."""
        value = self._field(name, [])
        if not isinstance(value, list) or len(value) > most:
            raise MessageError(f"{name} is {short(value)}; expected a list of at most {most} whole numbers")
        for number in value:
            if isinstance(number, bool) or not isinstance(number, int) or not low <= number <= high:
                raise MessageError(
                    f"{name} has the entry {short(number)}; expected a whole number from {low} to {high}"
                )
        return value

    def rows(self, name: str, most: int, count: int, low: float, high: float) -> list[list[float]]:
        """A list of at most `most` lists of `count` numbers from `low` to `high`; none if it is missing."""
        value = self._field(name, [])
        if not isinstance(value, list) or len(value) > most:
            raise MessageError(f"{name} is {short(value)}; expected a list of at most {most} rows of {count} numbers")
        return [Message({f"a row of {name}": row}).numbers(f"a row of {name}", count, low, high) for row in value]

    def part(self, name: str) -> "Message":
        """A message within this message; an empty one if it is missing."""
        return Message.of(self._field(name, {}))

    def _field(self, name: str, otherwise: Any) -> Any:
        value = self.fields.get(name, otherwise)
        if value is None:
            raise MessageError(f"the message lacks {name!r}")
        return value


def _number(name: str, value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise MessageError(f"{name} is {short(value)}; expected a number")
    if not low <= value <= high:
        raise MessageError(f"{name} is {short(value)}; expected a number from {low:g} to {high:g}")
    return float(value)
