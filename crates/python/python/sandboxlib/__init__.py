"""Run commands, and Python code that you don't trust, in a sandbox.

:class:`Sandbox` runs commands in the habits of :mod:`subprocess`; :mod:`sandboxlib.python` runs
Python code. Beside them is the classic API of sandboxlib 0.3 and its successors, unchanged: a
backend is a module (``sandboxlib.chroot``, ``.linux_user_chroot``, ``.bubblewrap``, ``.userns``)
with a function ``run_sandbox``, and ``executor_for_platform()`` picks one.

>>> import sandboxlib
>>> sandbox = sandboxlib.Sandbox("/", limits={"wall": 60})
>>> sandbox.run(["echo", "hello"], capture_output=True, text=True).stdout
'hello\\n'
>>> sandboxlib.executor_for_platform().run_sandbox(["echo", "hello"])
(0, b'hello\\n', b'')
"""

import os
import shlex
import subprocess
import warnings

#: A stream that is gathered.
CAPTURE = subprocess.PIPE
#: Standard error that goes to where standard output goes.
STDOUT = subprocess.STDOUT
#: For :class:`Sandbox`: what they are in :mod:`subprocess`.
PIPE = subprocess.PIPE
DEVNULL = subprocess.DEVNULL


class ProgramNotFound(Exception):
    """The program that a backend drives is not in PATH."""


def degrade_config_for_capabilities(in_config, warn=True):
    """A function of each backend: the configuration, without what the backend cannot do."""
    raise NotImplementedError()


def run_sandbox(
    command,
    cwd=None,
    env=None,
    filesystem_root="/",
    filesystem_writable_paths="all",
    mounts="undefined",
    extra_mounts=None,
    network="undefined",
    stderr=CAPTURE,
    stdout=CAPTURE,
):
    """A function of each backend: runs ``command`` in a sandbox, ``(exit, out, err)``.

    ``command``: a list of words, or one word; it is looked up inside the root.
    ``cwd``: the working directory, inside.
    ``env``: the whole environment; None for the caller's.
    ``filesystem_root``: the directory that is ``/`` inside.
    ``filesystem_writable_paths``: 'all', 'none' or a list of paths inside.
    ``mounts``, ``network``: 'isolated' or 'undefined'.
    ``extra_mounts``: a list of ``(source, mount point, type, options)``, the last of which may be
    left out; see :func:`validate_extra_mounts`.
    ``stdout``, ``stderr``: CAPTURE, a file, None for nowhere, and for ``stderr`` STDOUT.
    """
    raise NotImplementedError()


def run_sandbox_with_redirection(command, **sandbox_config):
    """A function of each backend: as :func:`run_sandbox`, and returns the exit status alone."""
    raise NotImplementedError()


def validate_extra_mounts(extra_mounts):
    """``extra_mounts`` as lists of four strings; AssertionError for what is no mount entry."""
    entries = []
    for entry in extra_mounts or []:
        words = list(entry) if not isinstance(entry, str) else [entry]
        if len(words) == 3:
            words.append("")
        if len(words) != 4:
            raise AssertionError("Invalid mount entry in 'extra_mounts': %s" % (entry,))
        source, target, kind, options = ["" if word is None else word for word in words]
        if not target:
            raise AssertionError("Mount point empty in mount entry %s" % (entry,))
        entries.append([source, target, kind, options])
    return entries


def argv_to_string(argv):
    """A command line that a shell would read as ``argv``."""
    return " ".join(map(shlex.quote, argv))


#: The backends of the classic API, the best first.
_EXECUTORS = ("userns", "bubblewrap", "linux_user_chroot", "chroot")


def get_executor(name):
    """The backend of this name; KeyError if there is none."""
    name = name.replace("-", "_")
    if name not in _EXECUTORS:
        raise KeyError("%s is not a known executor in this version of 'sandboxlib'." % name)
    return globals()[name]


def executor_for_platform():
    """The best backend that works here, or the one that SANDBOXLIB_BACKEND names."""
    wanted = os.environ.get("SANDBOXLIB_BACKEND")
    if wanted is not None:
        try:
            return get_executor(wanted)
        except KeyError:
            warnings.warn(
                "SANDBOXLIB_BACKEND environment variable is set to an invalid value %s." % wanted
            )
    try:
        _native.prepare(_plain.description(root=None, show_all=True, backends=["userns"]))
        return userns
    except SandboxError:
        pass
    for executor, program in (
        (bubblewrap, bubblewrap.bubblewrap_program),
        (linux_user_chroot, linux_user_chroot.linux_user_chroot_program),
    ):
        try:
            program()
            return executor
        except ProgramNotFound:
            pass
    return chroot


from sandboxlib import _native, _plain  # noqa: E402
from sandboxlib._errors import (  # noqa: E402
    CalledProcessError,
    CommandNotFoundError,
    CommandPermissionError,
    ConfigError,
    ExecError,
    MountError,
    SandboxError,
    StartError,
    TimeoutExpired,
    UnsupportedError,
    WaitError,
    WorkingDirectoryError,
)
from sandboxlib import utils, load, chroot, linux_user_chroot, bubblewrap, userns  # noqa: E402
from sandboxlib._sandbox import (  # noqa: E402
    AsyncPopen,
    Enforcement,
    Limits,
    Mount,
    Popen,
    Prepared,
    Result,
    Sandbox,
    Usage,
)

__all__ = [
    "CAPTURE",
    "DEVNULL",
    "PIPE",
    "STDOUT",
    "AsyncPopen",
    "CalledProcessError",
    "CommandNotFoundError",
    "CommandPermissionError",
    "ConfigError",
    "Enforcement",
    "ExecError",
    "Limits",
    "Mount",
    "MountError",
    "Popen",
    "Prepared",
    "ProgramNotFound",
    "Result",
    "Sandbox",
    "SandboxError",
    "StartError",
    "TimeoutExpired",
    "UnsupportedError",
    "Usage",
    "WaitError",
    "WorkingDirectoryError",
    "argv_to_string",
    "bubblewrap",
    "chroot",
    "degrade_config_for_capabilities",
    "executor_for_platform",
    "get_executor",
    "linux_user_chroot",
    "load",
    "run_sandbox",
    "run_sandbox_with_redirection",
    "userns",
    "utils",
    "validate_extra_mounts",
]
