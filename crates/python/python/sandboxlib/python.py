"""Python code that you don't trust, run in a sandbox.

>>> from sandboxlib.python import PythonSandbox
>>> with PythonSandbox() as sandbox:
...     sandbox.eval("sum(range(10))")
...     sandbox.exec("import math; x = math.factorial(5)")["x"]
...     sandbox.call("def f(a, b): return a + b", 1, 2)
45
120
3

Each call has an interpreter of its own, in a sandbox of its own: without network, with an empty
home directory, and of the host's files with the interpreter's own installation alone, read-only.
A :meth:`session <PythonSandbox.session>` keeps one for many calls.

The wall is the operating system's: namespaces, a system call filter, Landlock and limits. The
lists of modules are no part of it. They tell honest code what it can count on, and keep nobody
in: code that wants to gets around them, and then is still in the sandbox.

Values cross as data: None, booleans, numbers, strings, bytes, lists, tuples, sets and
dictionaries, nested as you like. Nothing that comes out is ever unpickled or executed.
"""

import contextlib
import functools
import inspect
import json
import os
import select
import subprocess
import sys
import textwrap
import threading
import time
import weakref

from sandboxlib import _data, _layout, _plain
from sandboxlib._errors import SandboxError
from sandboxlib._sandbox import Limits, Mount, Sandbox

__all__ = [
    "BadAnswer",
    "CodeError",
    "Died",
    "LimitExceeded",
    "NotData",
    "PythonSandbox",
    "Reply",
    "Session",
]

NotData = _data.NotData

#: What holds where nothing else is said. ``wall`` and ``output`` are those of a call; the others
#: those of an interpreter.
DEFAULT_LIMITS = Limits(wall=60, memory=1 << 30, processes=64, output=16 << 20, core=0)

#: Where things are inside.
HOME = "/home"
_GUEST = "/run/sandboxlib"
#: A root in which nothing is seen. It is a part of the package, so that there is none to be made,
#: and none to be left behind by a caller who is killed.
_ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_root")
#: The descriptors inside.
_REQUESTS, _ANSWERS = 3, 4
#: For how long an interpreter may take to be gone when it has stopped to answer.
_GRACE = 0.5
#: What Python raises when the kernel refuses a process, a thread or memory, and for how long a
#: verdict of the library may take then.
_REFUSED = ("BlockingIOError", "MemoryError", "OSError", "RuntimeError")
_VERDICT = 0.1


class CodeError(SandboxError):
    """The code raised an exception. ``type`` is the name of its class, ``message`` its text,
    ``traceback`` the lines that Python would print; ``stdout`` and ``stderr`` what was printed."""

    started = True

    def __init__(self, type, message, traceback, stdout, stderr):
        super().__init__("%s: %s" % (type, message) if message else type)
        self.type, self.message, self.traceback = type, message, traceback
        self.stdout, self.stderr = stdout, stderr


class LimitExceeded(SandboxError):
    """The code came to a limit, and everything in its sandbox was killed. ``limit`` is the name
    of it, ``stdout`` and ``stderr`` what was printed."""

    started = True

    def __init__(self, limit, stdout="", stderr=""):
        super().__init__("the code came to its limit: %s" % limit)
        self.limit, self.stdout, self.stderr = limit, stdout, stderr


class Died(SandboxError):
    """The interpreter ended without an answer. ``returncode`` is as in subprocess."""

    started = True

    def __init__(self, returncode, stdout="", stderr=""):
        super().__init__("the interpreter ended without an answer, with status %s" % returncode)
        self.returncode, self.stdout, self.stderr = returncode, stdout, stderr


class BadAnswer(SandboxError):
    """What came out of the sandbox is no answer, or is too large: the code has meddled."""

    started = True


class Reply:
    """The answer to a call: ``value``, ``stdout``, ``stderr``, and ``seconds`` it took."""

    def __init__(self, value, stdout, stderr, seconds):
        self.value, self.stdout, self.stderr = value, stdout, stderr
        self.seconds = seconds

    def __repr__(self):
        return "Reply(value=%r, stdout=%r, stderr=%r)" % (self.value, self.stdout, self.stderr)


@functools.lru_cache(maxsize=None)
def _layout_of(interpreter):
    done = subprocess.run(
        [interpreter, "-I", "-B", _layout.__file__],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=True,
        env={"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"},
    )
    return json.loads(done.stdout.decode("utf-8", "surrogateescape"))


#: Directories that hold shared libraries, and nothing that is anybody's own.
_LIBRARY_DIRECTORIES = ("/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64")


def _is_library_directory(path):
    parent, name = os.path.split(path)
    return path in _LIBRARY_DIRECTORIES or (
        parent in _LIBRARY_DIRECTORIES and ("-linux-" in name or name.endswith("-linux"))
    )


def _installation(layout, site_packages):
    """The mounts that show an interpreter its own installation, each where it is outside."""
    binds = list(layout["directories"])
    if site_packages:
        binds += layout["packages"]
    real = os.path.realpath(layout["executable"])
    binds.append(real)
    if layout["venv"]:
        binds.append(layout["venv"])
    for library in layout["libraries"]:
        directory = os.path.dirname(library)
        binds.append(directory if _is_library_directory(directory) else library)
    # The loader is named by its path in each program: /lib64/ld-linux-x86-64.so.2.
    binds += ["/usr/lib64", "/etc/ld.so.cache", "/usr/share/zoneinfo"]
    mounts = []
    for path in ("/lib", "/lib32", "/lib64"):
        if os.path.islink(path):
            mounts.append(Mount.symlink(os.readlink(path), path))
        elif path == "/lib64":
            binds.append(path)
    shown = []
    for path in sorted(dict.fromkeys(map(os.path.realpath, binds)), key=lambda p: p.count("/")):
        if os.path.exists(path) and not any(path.startswith(up + "/") for up in shown):
            shown.append(path)
            mounts.append(Mount.bind(path, path))
    # A directory that goes by another name, as with a link in the way, and the interpreter's name.
    for path in [layout["executable"]] + layout["directories"] + layout["packages"]:
        resolved = os.path.realpath(path)
        known = [up for up in shown if resolved == up or resolved.startswith(up + "/")]
        if path != resolved and known and not os.path.islink(os.path.dirname(path)):
            if not any(path.startswith(up + "/") for up in shown):
                mounts.append(Mount.symlink(resolved, path))
    return mounts


_NETWORK = ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/ssl/certs")


def _files(files):
    mounts = []
    for target, content in (files or {}).items():
        target = os.path.join(HOME, os.fspath(target))
        if isinstance(content, os.PathLike):
            mounts.append(Mount.bind(os.fspath(content), target))
        else:
            mounts.append(Mount.file(content, target))
    return mounts


def _source(function):
    """The text of a function, or a text as it is."""
    if isinstance(function, str):
        return function
    return textwrap.dedent(inspect.getsource(function))


class _Calls:
    """What can be asked of an interpreter; ``_ask`` does it."""

    def eval(self, expression, names=None, *, timeout=None):
        """The value of an expression. ``names`` are variables for it."""
        return self._ask({"do": "eval", "source": expression, "names": names or {}}, timeout)

    def exec(self, code, names=None, *, returns=None, timeout=None):
        """Runs code, and returns the variables that it leaves behind: those that are data and do
        not begin with two underscores, or exactly those of the list ``returns``, which saves
        carrying out what nobody wants."""
        request = {"do": "exec", "source": code, "names": names or {}}
        request["returns"] = None if returns is None else list(returns)
        return self._ask(request, timeout)

    def call(self, function, *args, timeout=None, **kwargs):
        """The value of a function, of which only the source goes in: a function, the source of
        one, ``"module:name"``, or in a session the name of one that is defined there."""
        request = {"do": "call", "source": _source(function), "args": args, "kwargs": kwargs}
        return self._ask(request, timeout)

    @property
    def last(self):
        """The :class:`Reply` to this thread's last call that was answered."""
        return getattr(self._local, "last", None)

    def _ask(self, request, timeout):
        raise NotImplementedError


class PythonSandbox(_Calls):
    """Runs Python code, each call in a fresh interpreter in a sandbox of its own.

    ``modules``: the modules that the code may import by name, None: all that there are. ``deny``:
    modules that nothing in the interpreter can import. Both are convenience and no wall.
    ``files``: a dictionary from names (in the home directory, which the code is in, or absolute)
    to contents, or to a :class:`pathlib.Path` of the host, shown read-only. What is named
    ``*.py`` can be imported.
    ``network``: True for the caller's network.
    ``limits``: a :class:`sandboxlib.Limits` or a dictionary; what it does not say is as in
    ``DEFAULT_LIMITS``, and None there is no limit. ``wall`` and ``output`` are those of a call.
    ``interpreter``: the path of another Python, 3.6 or newer. ``site_packages``: whether what is
    installed for it is to be had. ``preload``: modules that are imported ahead of time.
    ``root``: a directory that is ``/`` to the code, read-only but for the paths ``writable``; None
    for one with nothing in it.
    ``mounts``, ``env``, ``prefer``, ``backends``: as for :class:`sandboxlib.Sandbox`.
    ``ahead``: how many interpreters wait, started, for calls to come.
    ``largest``: how many bytes a value may have on its way out.
    """

    def __init__(
        self,
        modules=None,
        deny=(),
        files=None,
        network=False,
        limits=None,
        interpreter=None,
        *,
        site_packages=True,
        preload=(),
        root=None,
        writable=(),
        mounts=(),
        env=None,
        prefer=(),
        backends=None,
        ahead=1,
        largest=16 << 20,
    ):
        if modules is not None and deny:
            raise ValueError("modules and deny cannot both be said")
        given = limits if isinstance(limits, Limits) else dict(limits or {})
        if isinstance(given, dict):
            defaults = {name: getattr(DEFAULT_LIMITS, name) for name in _plain.LIMITS}
            given = Limits(**dict(defaults, **given))
        self.limits = given
        self._largest = largest
        self._ahead = ahead
        self._local = threading.local()
        self._lock = threading.Lock()
        self._spare = []
        self._setup = {
            "modules": None if modules is None else list(modules),
            "deny": list(deny),
            "preload": list(preload),
            "home": HOME,
            "path": any(os.fspath(name).endswith(".py") for name in files or {}),
        }
        layout = _layout_of(interpreter or sys.executable)
        site = [] if site_packages else ["-S"]
        utf8 = ["-X", "utf8"] if layout["version"] >= [3, 7] else []
        self._argv = [layout["executable"], "-I", "-B"] + site + utf8
        self._argv += [_GUEST + "/_guest.py", str(_REQUESTS), str(_ANSWERS)]
        if root is None:
            if writable:
                raise ValueError("writable is about a root of yours, and none is said")
            root = _ROOT
        self._finalizer = weakref.finalize(self, _clean, self._spare, self._lock)
        user = "user:x:%d:%d:user:%s:/bin/sh\n" % (os.geteuid(), os.getegid(), HOME)
        inside = [
            Mount.tmpfs(HOME, mode=0o777),
            Mount.file(user, "/etc/passwd"),
            Mount.file("user:x:%d:\n" % os.getegid(), "/etc/group"),
        ]
        for name in ("_guest.py", "_data.py"):
            with open(os.path.join(os.path.dirname(__file__), name), "rb") as file:
                inside.append(Mount.file(file.read(), _GUEST + "/" + name))
        if network:
            inside += [Mount.bind(os.path.realpath(p), p) for p in _NETWORK if os.path.exists(p)]
        if os.path.exists("/etc/localtime"):
            inside.append(Mount.bind(os.path.realpath("/etc/localtime"), "/etc/localtime"))
        environment = {"HOME": HOME, "LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"}
        held = {name: getattr(given, name) for name in _plain.LIMITS}
        # A call has those, and an interpreter may wait for one for ever.
        held["wall"] = held["output"] = held["kill_after"] = None
        sandbox = Sandbox(
            os.path.abspath(root),
            writable=list(writable) or False,
            mounts=_installation(layout, site_packages) + inside + _files(files) + list(mounts),
            network=network,
            limits=Limits(**held),
            env=dict(environment, **(env or {})),
            cwd=HOME,
            prefer=prefer,
            backends=backends,
        )
        try:
            self._prepared = sandbox.prepare()
            self._fill()
        except BaseException:
            self.close()
            raise

    @property
    def enforcement(self):
        """What holds for every call: a :class:`sandboxlib.Enforcement`."""
        return self._prepared.enforcement

    def session(self):
        """One interpreter for many calls, each of which sees what those before it left."""
        return Session(self, self._take())

    def close(self):
        """Ends the interpreters that wait for calls. Sessions go on."""
        self._ahead = 0
        self._finalizer()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.close()

    def _start(self):
        return _Interpreter(self._prepared, self._argv, self._setup)

    def _fill(self):
        # An interpreter that has started is ahead of a sandbox that merely stands ready
        # (`Prepared.warm`), by most of what a call would take.
        while True:
            with self._lock:
                if len(self._spare) >= self._ahead:
                    return
            interpreter = self._start()
            with self._lock:
                if len(self._spare) < self._ahead:
                    self._spare.append(interpreter)
                    continue
            interpreter.close()

    def _fill_quietly(self):
        with contextlib.suppress(SandboxError, OSError):
            self._fill()

    def _take(self):
        while True:
            with self._lock:
                if not self._spare:
                    break
                interpreter = self._spare.pop(0)
            if interpreter.is_alive():
                return interpreter
            interpreter.close()
        if not self._finalizer.alive:
            raise ValueError("the sandbox is closed")
        return self._start()

    def _ask(self, request, timeout):
        data = _data.dumps(request)
        interpreter = self._take()
        try:
            reply = interpreter.ask(data, self.limits, timeout, self._largest)
        finally:
            interpreter.close()
            # The caller does not wait for the next one. If it cannot be started, the next call
            # says why.
            threading.Thread(target=self._fill_quietly, daemon=True).start()
        self._local.last = reply
        return reply.value


def _clean(spare, lock):
    with lock:
        waiting, spare[:] = list(spare), []
    for interpreter in waiting:
        interpreter.close()


class Session(_Calls):
    """One interpreter that stays up for many calls. What ends it by force (a limit, the end of
    the process, Ctrl-C) ends the session."""

    def __init__(self, sandbox, interpreter):
        self._sandbox = sandbox
        self._interpreter = interpreter
        self._local = threading.local()
        self._lock = threading.Lock()

    def _ask(self, request, timeout):
        data = _data.dumps(request)
        box = self._sandbox
        with self._lock:
            reply = self._interpreter.ask(data, box.limits, timeout, box._largest)
        self._local.last = reply
        return reply.value

    def close(self):
        """Ends the interpreter and everything in its sandbox."""
        self._interpreter.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.close()


class _Interpreter:
    """A process that answers, in its sandbox. What comes from it is bytes of an enemy."""

    def __init__(self, prepared, argv, setup):
        theirs, self._requests = os.pipe()
        self._answers, back = os.pipe()
        try:
            run = _plain.run(
                argv,
                env=prepared._sandbox.env,
                cwd=prepared._sandbox.cwd,
                stdin=_plain.DEVNULL,
                stdout=_plain.PIPE,
                stderr=_plain.PIPE,
                fds=[(theirs, _REQUESTS), (back, _ANSWERS)],
            )
            self._child = prepared._native.start(run)
        except BaseException:
            os.close(self._requests)
            os.close(self._answers)
            raise
        finally:
            os.close(theirs)
            os.close(back)
        _, self._stdout, self._stderr = self._child.fds
        for fd in (self._requests, self._answers, self._stdout, self._stderr):
            os.set_blocking(fd, False)
        self._pending = _frame(_data.dumps(setup))
        self._closed = False

    def is_alive(self):
        return not self._closed and self._child.wait(0) is None

    def close(self):
        if not self._closed:
            self._closed = True
            self._child.kill()
            for fd in (self._requests, self._answers, self._stdout, self._stderr):
                os.close(fd)

    def ask(self, data, limits, timeout, largest):
        """The reply to a request. Whatever goes wrong ends the interpreter, but for an exception
        that the code itself raised."""
        if self._closed:
            raise SandboxError("the session has ended")
        began = time.monotonic()
        wall = [time for time in (limits.wall, timeout) if time is not None]
        call = _Call(self, _frame(data), limits.output, largest)
        try:
            answer = call.answer(began + min(wall) if wall else None)
            answer = _data.loads(answer)
            out, err = call.text()
            self._look_for_a_limit(answer, out, err)
            reply = _reply(answer, out, err, time.monotonic() - began)
        except CodeError:
            raise
        except NotData as error:
            self.close()
            raise BadAnswer("the answer is no data: %s" % error) from error
        except BaseException:
            self.close()
            raise
        return reply

    def _look_for_a_limit(self, answer, out, err):
        """Whoever is refused a process or memory by a limit gets to say so before everything is
        killed for it; the limit is what happened."""
        error = answer.get("error") if isinstance(answer, dict) else None
        if isinstance(error, dict) and error.get("type") in _REFUSED:
            told = self._child.wait(_VERDICT)
            if told is not None and told[0]["limit"]:
                raise LimitExceeded(told[0]["limit"], out, err)

    def outcome(self):
        """How it ended; it is ended, if it is not about to by itself."""
        told = self._child.wait(_GRACE)
        if told is None:
            self._child.kill()
            told = self._child.wait(None)
        return told[0]


def _frame(data):
    return len(data).to_bytes(8, "big") + data


def _reply(answer, out, err, seconds):
    if isinstance(answer, dict) and "value" in answer:
        return Reply(answer["value"], out, err, seconds)
    error = answer.get("error") if isinstance(answer, dict) else None
    parts = [error.get(n) for n in ("type", "message", "traceback")] if error else [None]
    if not all(isinstance(part, str) for part in parts):
        raise BadAnswer("the answer is neither a value nor an error")
    raise CodeError(*parts, out, err)


class _Call:
    """One request on its way in, and what comes out meanwhile."""

    def __init__(self, interpreter, frame, most, largest):
        self._of = interpreter
        self._to_write = memoryview(interpreter._pending + frame)
        interpreter._pending = b""
        self._most = most
        self._largest = largest
        self._got = {fd: bytearray() for fd in (interpreter._stdout, interpreter._stderr)}
        self._frame = bytearray()

    def text(self):
        """What was printed."""
        return tuple(bytes(data).decode("utf-8", "replace") for data in self._got.values())

    def answer(self, deadline):
        """The bytes of the answer."""
        of = self._of
        poll = select.poll()
        for fd in (of._answers, of._stdout, of._stderr):
            poll.register(fd, select.POLLIN)
        if self._to_write:
            poll.register(of._requests, select.POLLOUT)
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise LimitExceeded("wall", *self.text())
            for fd, _ in poll.poll(None if left is None else left * 1000 + 1):
                if fd == of._requests:
                    if not self._write():
                        poll.unregister(fd)
                elif fd == of._answers:
                    if self._read_answer():
                        self._rest()
                        return self._frame[8:]
                elif not self._read(fd):
                    poll.unregister(fd)

    def _write(self):
        """Writes a piece of the request; whether there is more to write."""
        try:
            self._to_write = self._to_write[os.write(self._of._requests, self._to_write) :]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            return False  # It has ended, as its answer is going to tell.
        return len(self._to_write) > 0

    def _read(self, fd):
        """Takes what was printed; whether there may be more."""
        try:
            data = os.read(fd, 1 << 16)
        except BlockingIOError:
            return True
        got = self._got[fd]
        got += data
        if self._most is not None and len(got) > self._most:
            del got[self._most :]
            raise LimitExceeded("output", *self.text())
        return bool(data)

    def _read_answer(self):
        """Takes a piece of the answer; whether that was the last."""
        try:
            data = os.read(self._of._answers, 1 << 20)
        except BlockingIOError:
            return False
        if not data:
            self._ended()
        self._frame += data
        if len(self._frame) < 8:
            return False
        size = int.from_bytes(self._frame[:8], "big")
        if size > self._largest:
            raise BadAnswer("an answer of %d bytes is larger than %d" % (size, self._largest))
        if len(self._frame) > 8 + size:
            raise BadAnswer("there is more than one answer")
        return len(self._frame) == 8 + size

    def _rest(self):
        """Takes what was printed before the answer was given."""
        for fd in list(self._got):
            while select.select([fd], [], [], 0)[0] and self._read(fd):
                pass

    def _ended(self):
        """There will be no answer."""
        outcome = self._of.outcome()
        self._rest()
        if outcome["limit"]:
            raise LimitExceeded(outcome["limit"], *self.text())
        raise Died(outcome["returncode"], *self.text())
