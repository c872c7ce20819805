"""Errors a user can meet. Each message names what was received, where, and what to do."""


class So3kratesError(Exception):
    """Base of every error this package raises on purpose; the command line prints it as one sentence."""


class InputError(So3kratesError, ValueError):
    """An argument, a structure or a label that cannot be used as given."""


class ConfigError(InputError):
    """A configuration with an unknown key, a wrong type or an impossible combination."""


class FileError(So3kratesError):
    """A file that is missing, truncated, damaged, of the wrong kind, or cannot be written."""


class CapacityError(So3kratesError):
    """A neighbour list that kept overflowing although its capacity was raised."""


class SimulationStopped(So3kratesError):
    """A dynamics run ended by the monitor; carries the reason code and the step."""

    def __init__(self, message: str, reason: str, step: int) -> None:
        super().__init__(message)
        self.reason = reason
        self.step = step


class SimulationUnfinished(So3kratesError):
    """A dynamics run that ended early and can go on: its wall time was over, or the process was told to terminate."""
