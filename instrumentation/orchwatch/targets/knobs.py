"""The runtime's settings that can be tuned: what each one is, its default, and its bounds.

`[tuning]` in `orchwatch.toml` sets them, and `orchwatch tune` looks for better ones.
"""

from __future__ import annotations

from dataclasses import dataclass

_MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A value for each knob; these are the defaults.

    Attributes:
        cache_bytes: What the kept results of a `QueryAPI` may take; 0 keeps none.
        flush_interval_s: Seconds after which an `EventWriter` writes what waits, at the latest.
        batch_size: Events that it writes at once.
        checkpoint_pages: Pages of a WAL after which SQLite writes them back into its file, for
            which it waits for the disk three times: of 1 KiB in a session's state, 4 KiB elsewhere.
        pool_size: Agents of an `AgentPool` that run at once.
    """

    cache_bytes: int = 16 * _MIB
    flush_interval_s: float = 0.05
    batch_size: int = 256
    checkpoint_pages: int = 4000
    pool_size: int = 16


@dataclass(frozen=True)
class Knob:
    """One setting that can be turned.

    Attributes:
        name: The key in `[tuning]`, and the field of `Settings`.
        lowest: The least that it may be.
        highest: The most that it may be.
    """

    name: str
    lowest: float
    highest: float

    @property
    def default(self) -> float:
        """What it is where nobody says otherwise."""
        return self.of(Settings())

    @property
    def is_whole(self) -> bool:
        """Whether it must be a whole number."""
        return type(self.default) is int

    def of(self, settings: Settings) -> float:
        """Its value among those of all."""
        value: float = getattr(settings, self.name)
        return value

    def broken_rule(self, value: object) -> str | None:
        """What a value must be, where it is not that."""
        fits = type(value) is int or (type(value) is float and not self.is_whole)
        if fits and self.lowest <= value <= self.highest:  # type: ignore[operator]
            return None
        number = "whole number" if self.is_whole else "number"
        return f"must be a {number} from {shown(self.lowest)} to {shown(self.highest)}"


KNOBS = (
    Knob("cache_bytes", 0, 1024 * _MIB),
    Knob("flush_interval_s", 0.001, 60.0),
    Knob("batch_size", 1, 100_000),
    Knob("checkpoint_pages", 1, 1_000_000),
    Knob("pool_size", 1, 1024),
)


def shown(value: float) -> str:
    """A value as it is written in `orchwatch.toml`."""
    return str(value) if isinstance(value, int) else f"{value:g}"
