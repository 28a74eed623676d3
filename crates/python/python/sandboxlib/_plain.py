"""Plain data for the native half: bytes, numbers, lists and dictionaries."""

import os

PIPE = -1
STDOUT = -2
DEVNULL = -3
INHERIT = -4

LIMITS = (
    "wall",
    "cpu_time",
    "memory",
    "processes",
    "file_size",
    "open_files",
    "stack",
    "core",
    "output",
    "kill_after",
)


def mount(kind, target, data=None, *, size=None, mode=None, writable=False, covers=False):
    """A mount. ``data`` is the source of a bind, the content of a file, what a link says."""
    return {
        "kind": kind,
        "target": os.fsencode(target),
        "data": None if data is None else os.fsencode(data) if kind != "file" else bytes(data),
        "size": size,
        "mode": mode,
        "writable": writable,
        "covers": covers,
    }


def description(**what):
    """A sandbox, with the defaults of the library."""
    limits = what.pop("limits", None) or {}
    root, hostname = what.get("root"), what.get("hostname")
    groups = what.get("control_groups", "auto")
    return {
        "root": None if root is None else os.fsencode(root),
        "show_all": what.get("show_all", False),
        "access": what.get("access", "default"),
        "writable": [os.fsencode(path) for path in what.get("writable", ())],
        "readable": [os.fsencode(path) for path in what.get("readable", ())],
        "sockets": [os.fsencode(path) for path in what.get("sockets", ())],
        "mounts": list(what.get("mounts", ())),
        "network": bool(what.get("network", False)),
        "ids": what.get("ids"),
        "subordinate": what.get("subordinate", False),
        "hostname": None if hostname is None else os.fsencode(hostname),
        "limits": {name: limits.get(name) for name in LIMITS},
        "control_groups": os.fsencode(groups),
        "seccomp": what.get("seccomp"),
        "allow_nested": what.get("allow_nested", False),
        "prefer": list(what.get("prefer", ())),
        "backends": what.get("backends"),
    }


def run(
    argv,
    *,
    env=(),
    cwd="/",
    stdin=INHERIT,
    stdout=INHERIT,
    stderr=INHERIT,
    fds=(),
    input=None,
    gather=False,
    timeout=None,
    kill_after=None,
    output_limit=None,
):
    """One run."""
    return {
        "argv": [os.fsencode(word) for word in argv],
        "env": [(os.fsencode(name), os.fsencode(value)) for name, value in dict(env).items()],
        "cwd": os.fsencode(cwd),
        "stdin": stdin,
        "stdout": stdout,
        "stderr": stderr,
        "fds": list(fds),
        "input": input,
        "gather": gather,
        "timeout": timeout,
        "kill_after": kill_after,
        "output_limit": output_limit,
    }
