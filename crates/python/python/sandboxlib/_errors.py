"""What can go wrong, as exceptions."""

import os
import subprocess
from typing import Any


class SandboxError(RuntimeError):
    """A sandbox could not be made, or a command could not be started or waited for.

    ``step`` says which step of the start failed, if one did; ``errno`` what the operating system
    said; ``hints`` what to do about it, the likeliest cure first; ``started`` whether the command
    ran (None: nobody can tell).
    """

    step = None
    errno: Any = None
    hints = ()
    started = False

    def __str__(self):
        text = super().__str__()
        return "".join([text] + ["\nhint: " + hint for hint in self.hints])


class UnsupportedError(SandboxError):
    """No backend can enforce here what was asked for."""


class MountError(SandboxError):
    """The mounts cannot be planned on this host."""


class StartError(SandboxError):
    """A step of the set-up failed. Nothing of the sandbox is left."""


class WaitError(SandboxError):
    """The command ran, and waiting for it failed."""


class ConfigError(SandboxError, ValueError):
    """What was asked for contradicts itself."""


class WorkingDirectoryError(StartError):
    """The working directory does not exist inside, or cannot be entered."""

    filename = None


class ExecError(SandboxError, OSError):
    """The command itself could not be executed."""

    def __init__(self, message, errno=None, filename=None):
        OSError.__init__(self, errno, message, filename)
        self.message = message
        self.errno = errno
        self.filename = filename

    def __str__(self):
        return "".join([self.message] + ["\nhint: " + hint for hint in self.hints])


class CommandNotFoundError(ExecError, FileNotFoundError):
    """There is no such command inside the root."""


class CommandPermissionError(ExecError, PermissionError):
    """The command may not be executed."""


class TimeoutExpired(SandboxError, subprocess.TimeoutExpired):
    """The ``timeout`` of a run has passed; everything in the sandbox has been killed.

    ``result`` is the :class:`sandboxlib.Result` of what happened until then, None where the
    command still runs.
    """

    def __init__(self, cmd, timeout, output=None, stderr=None, result=None):
        subprocess.TimeoutExpired.__init__(self, cmd, timeout, output, stderr)
        self.result = result

    def __str__(self):
        return subprocess.TimeoutExpired.__str__(self)


class CalledProcessError(SandboxError, subprocess.CalledProcessError):
    """With ``check=True``: the command did not end with status 0. ``result`` has the rest."""

    def __init__(self, result):
        subprocess.CalledProcessError.__init__(
            self, result.returncode, result.args, result.stdout, result.stderr
        )
        self.result = result

    def __str__(self):
        text = subprocess.CalledProcessError.__str__(self)
        if self.result.limit:
            text += " It came to its limit: %s." % self.result.limit
        return text


_KINDS = {
    "config": ConfigError,
    "unsupported": UnsupportedError,
    "plan": MountError,
    "start": StartError,
    "cwd": WorkingDirectoryError,
    "wait": WaitError,
}


def from_native(parts):
    """The exception for what the native half tells."""
    message, errno, kind = parts["message"], parts["errno"], parts["kind"]
    if kind == "exec":
        cls = ExecError
        if errno is not None:
            same = {FileNotFoundError: CommandNotFoundError, PermissionError: CommandPermissionError}
            cls = same.get(type(OSError(errno, "")), ExecError)
        error = cls(message, errno, parts.get("path"))
    else:
        error = _KINDS[kind](message)
        error.errno = errno
        if kind == "cwd":
            error.filename = parts.get("path")
    error.step = parts.get("step")
    error.hints = tuple(parts["hints"])
    error.started = parts["started"]
    return error


def os_error(errno, path):
    """The words that Python itself has for this."""
    return str(OSError(errno, os.strerror(errno), path))
