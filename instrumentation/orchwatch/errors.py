"""The errors that reach a person: one line each, one exit code each."""


class OrchwatchError(Exception):
    """Something that a person has to mend; `str(error)` is one line naming the thing and the rule.

    Telemetry itself never raises: see `orchwatch.recording.losses`.
    """

    exit_code = 1


class MissingExtraError(OrchwatchError):
    """A library that an extra brings is not installed."""


class UsageError(OrchwatchError):
    """The command's own words are off."""

    exit_code = 2


class CheckFailedError(OrchwatchError):
    """The command ran, and what it checked does not hold."""

    exit_code = 3
