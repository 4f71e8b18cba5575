"""Why a job runs again: changed params named key by key in what Snakemake prints, instead of both maps in full."""

import ast
import logging
import re
from collections.abc import Mapping
from typing import Any

# persistence.ParamsChange.__str__ and jobs.Reason.__str__ of Snakemake 9; of each side it gives the values of params
# without their names, in Python's notation
_CHANGED = re.compile(
    r"(Params have changed since last execution: )Union of exclusive params before and now across all output: "
    r"before: (?P<before>.*) now: (?P<now>.*?) (?=; Software environment|$)",
    re.DOTALL,
)
_NOTHING = "<nothing exclusive>"
_LONGEST = 60  # characters of a value
_MOST = 12  # keys that are named
_ABSENT = object()


class ShortReasons(logging.Filter):
    """Of Snakemake's logger: names the keys of params that have changed, as ``learning_rate: 0.003 -> 0.002``."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Shorten the reason of a record in place; none is held back."""
        reason = getattr(record, "reason", None)
        if isinstance(reason, str):
            record.reason = shorten_reason(reason)
        return True


def shorten_reason(reason: str) -> str:
    """Replace what Snakemake says of changed params by the keys that differ; what cannot be read stays as it is."""

    def shorten(match: re.Match[str]) -> str:
        try:
            before, now = (_values(match[side]) for side in ("before", "now"))
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return match[0]
        return match[1] + "; ".join(_changes(before, now))

    return _CHANGED.sub(shorten, reason)


def _values(text: str) -> list[Any]:
    return [] if text == _NOTHING else ast.literal_eval(f"[{text}]")


def _changes(before: list[Any], now: list[Any]) -> list[str]:
    """Pair the params of both sides that are most alike, and list what differs."""
    alike = [(_likeness(old, new), o, n) for o, old in enumerate(before) for n, new in enumerate(now)]
    partner: dict[int, int] = {}
    for likeness, o, n in sorted(alike, key=lambda pair: -pair[0]):
        if likeness >= 0 and n not in partner and o not in partner.values():
            partner[n] = o
    pairs = [(before[partner[n]] if n in partner else _ABSENT, new) for n, new in enumerate(now)]
    pairs += [(old, _ABSENT) for o, old in enumerate(before) if o not in partner.values()]
    changes = [line for old, new in pairs for line in _differences(old, new, "")]
    more = len(changes) - _MOST
    return changes if more <= 0 else [*changes[:_MOST], f"and {more} more"]


def _likeness(old: Any, new: Any) -> float:
    """Say how many keys two maps share, and values of one type or equal ones; others are alike where of one type."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        shared = [(old[key], new[key]) for key in old.keys() & new.keys()]
        return sum(1 + (type(a) is type(b)) + (a == b) for a, b in shared) - 0.5
    return 0.0 if type(old) is type(new) else -1.0


def _differences(old: Any, new: Any, path: str) -> list[str]:
    if old is not _ABSENT and repr(old) == repr(new):  # 1 and 1.0 differ, as for Snakemake
        return []
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        return [f"{path}{': ' if path else ''}{_shown(old)} -> {_shown(new)}"]
    lines = []
    for key in [*old, *(key for key in new if key not in old)]:
        inner = f"{path}.{key}" if path else str(key)
        lines += _differences(old.get(key, _ABSENT), new.get(key, _ABSENT), inner)
    return lines


def _shown(value: Any) -> str:
    if value is _ABSENT:
        return "(none)"
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
