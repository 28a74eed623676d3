"""Sandboxes for commands, in the habits of subprocess."""

import asyncio
import dataclasses
import io
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from typing import Optional

from sandboxlib import _native, _plain
from sandboxlib._errors import CalledProcessError, TimeoutExpired


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a run may use at most; None: no limit.

    Time in seconds, sizes in bytes. Time, memory and processes are those of everything in the
    sandbox together; ``file_size``, ``open_files``, ``stack`` and ``core`` those of each process
    (setrlimit(2)); ``output`` that of each of standard output and error. With ``kill_after`` a
    command whose time is up gets SIGTERM, and so many seconds to clean up.
    """

    wall: Optional[float] = None
    cpu_time: Optional[float] = None
    memory: Optional[int] = None
    processes: Optional[int] = None
    file_size: Optional[int] = None
    open_files: Optional[int] = None
    stack: Optional[int] = None
    core: Optional[int] = None
    output: Optional[int] = None
    kill_after: Optional[float] = None

    @classmethod
    def of(cls, limits):
        """Limits as they are, from a dictionary, or none."""
        if isinstance(limits, cls):
            return limits
        return cls(**(limits or {}))


class Mount(dict):
    """One thing to put at one place inside. It is made by one of these functions:

    >>> Mount.bind("/usr/share/doc", "/doc")["kind"]
    'bind'
    >>> Mount.file(b"127.0.0.1 localhost", "/etc/hosts")["kind"]
    'file'

    With ``covers=True`` it may hide what was mounted there before.
    """

    @classmethod
    def bind(cls, source, target=None, *, writable=False, covers=False):
        """The host's file or directory ``source`` at ``target`` (the same path, if that is
        None), with everything mounted below it; read-only unless it is ``writable``."""
        target = os.path.abspath(source) if target is None else target
        return cls(_plain.mount("bind", target, source, writable=writable, covers=covers))

    @classmethod
    def tmpfs(cls, target, *, size=None, mode=0o1777, covers=False):
        """An empty file system in memory, of at most ``size`` bytes."""
        return cls(_plain.mount("tmpfs", target, size=size, mode=mode, covers=covers))

    @classmethod
    def proc(cls, target="/proc", *, covers=False):
        """The processes of the sandbox."""
        return cls(_plain.mount("proc", target, covers=covers))

    @classmethod
    def dev(cls, target="/dev", *, covers=False):
        """The devices that are harmless."""
        return cls(_plain.mount("dev", target, covers=covers))

    @classmethod
    def file(cls, content, target, *, mode=0o644, covers=False):
        """A file with this content (bytes, or str in UTF-8), read-only. It is in memory alone."""
        content = content.encode() if isinstance(content, str) else content
        return cls(_plain.mount("file", target, content, mode=mode, covers=covers))

    @classmethod
    def symlink(cls, to, target, *, covers=False):
        """A symbolic link at ``target`` that says ``to``."""
        return cls(_plain.mount("symlink", target, to, covers=covers))

    @classmethod
    def dir(cls, target, *, mode=0o755, covers=False):
        """A directory, made if it is missing."""
        return cls(_plain.mount("dir", target, mode=mode, covers=covers))

    @classmethod
    def mask(cls, target, *, covers=False):
        """Nothing: the path answers EACCES."""
        return cls(_plain.mount("mask", target, covers=covers))


@dataclasses.dataclass(frozen=True)
class Enforcement:
    """What holds for every command of a sandbox.

    ``enforced``: the names of the features that were asked for and are enforced. ``degraded``:
    those that are not, each with the reason. ``limits``: each limit with what holds it.
    ``kills_everything``: whether every process is certain to be dead when a run is over.
    """

    backend: str
    enforced: tuple
    degraded: dict
    limits: dict
    created_on_host: tuple
    hidden: tuple
    seccomp: str
    landlock: Optional[int]
    kills_everything: bool


@dataclasses.dataclass(frozen=True)
class Usage:
    """What a run used: seconds and bytes, and how they were measured. ``peak_memory`` is None
    where the system does not tell."""

    wall: float
    user: float
    system: float
    peak_memory: Optional[int]
    cpu_by: str
    memory_by: str


class Result(subprocess.CompletedProcess):
    """How a run ended: a CompletedProcess with more to tell.

    ``returncode`` is negative for a signal, as in subprocess. ``limit``: the name of the limit
    that ended it, or None. ``usage``: a :class:`Usage`. ``enforcement``: an :class:`Enforcement`.
    """

    def __init__(self, args, outcome, stdout, stderr, enforcement):
        super().__init__(args, outcome["returncode"], stdout, stderr)
        self.limit = outcome["limit"]
        self.enforcement = enforcement
        self._outcome = outcome

    @property
    def usage(self):
        """What it used: a :class:`Usage`."""
        return Usage(*(self._outcome[field.name] for field in dataclasses.fields(Usage)))

    def __repr__(self):
        limit = ", limit=%r" % self.limit if self.limit else ""
        return super().__repr__()[:-1] + limit + ")"

    def check_returncode(self):
        """Raises :class:`CalledProcessError` unless the command ended with status 0."""
        if self.returncode != 0 or self.limit:
            raise CalledProcessError(self)


def _words(args):
    one = isinstance(args, (str, bytes, os.PathLike))
    words = [args] if one else list(args)
    if not words:
        raise ValueError("there is no command")
    return words


def _stream(stream):
    if stream is None:
        return _plain.INHERIT
    return stream if isinstance(stream, int) else stream.fileno()


def _text(text, encoding, errors):
    """How to read output, or None for bytes."""
    if text or encoding or errors:
        return encoding or "utf-8", errors or "strict"
    return None


def _decoded(data, codec):
    if data is None or codec is None:
        return data
    return data.decode(*codec).replace("\r\n", "\n").replace("\r", "\n")


class _Runs:
    """What can be done with a sandbox, ready or not: ``_ready()`` gives a :class:`Prepared`."""

    def run(
        self,
        args,
        *,
        input=None,
        stdin=None,
        stdout=None,
        stderr=None,
        capture_output=False,
        text=None,
        encoding=None,
        errors=None,
        timeout=None,
        check=False,
        env=None,
        cwd=None,
        pass_fds=(),
    ):
        """Runs a command to its end: a :class:`Result`.

        ``args``: the words of the command; the program is a path inside, or is looked up by the
        PATH of ``env``, or the usual one. ``env``: the whole environment; None for that of the
        sandbox. ``pass_fds``: descriptors that the command has too, under the same numbers, or a
        dictionary from numbers of the caller's to those of the command's. The rest is as in
        :func:`subprocess.run`, but that standard input is empty where output is captured and
        nothing else was said. Whatever ends the waiting, Ctrl-C included, ends everything in the
        sandbox. A ``timeout`` raises :class:`TimeoutExpired`; to come to a limit of the sandbox
        does not, and is in ``limit`` of the result.
        """
        ready = self._ready()
        job = ready._job(
            args, input, stdin, stdout, stderr, capture_output, timeout, env, cwd, pass_fds
        )
        codec = _text(text, encoding, errors)
        job["input"] = _encoded(input, codec)
        return ready._finish(args, job, codec, check, timeout)

    def popen(
        self,
        args,
        *,
        stdin=None,
        stdout=None,
        stderr=None,
        text=None,
        encoding=None,
        errors=None,
        bufsize=-1,
        env=None,
        cwd=None,
        pass_fds=(),
    ):
        """Starts a command: a :class:`Popen`."""
        ready = self._ready()
        job = ready._job(args, None, stdin, stdout, stderr, False, None, env, cwd, pass_fds)
        job["gather"] = False
        child = ready._native.start(job)
        codec = _text(text, encoding, errors)
        return Popen(args, child, ready.enforcement, codec, bufsize)

    async def run_async(self, args, **options):
        """As :meth:`run`. Cancelling it ends everything in the sandbox."""
        ready = self._ready()
        plain = {"text", "encoding", "errors", "check", "timeout", "input"}
        codec = _text(options.get("text"), options.get("encoding"), options.get("errors"))
        timeout, given = options.get("timeout"), options.get("input")
        rest = {name: value for name, value in options.items() if name not in plain}
        streams = ("stdin", "stdout", "stderr", "capture_output", "env", "cwd", "pass_fds")
        unknown = set(rest) - set(streams)
        if unknown:
            raise TypeError("run_async() got an unexpected argument %r" % unknown.pop())
        job = ready._job(
            args,
            given,
            rest.get("stdin"),
            rest.get("stdout"),
            rest.get("stderr"),
            rest.get("capture_output", False),
            timeout,
            rest.get("env"),
            rest.get("cwd"),
            rest.get("pass_fds", ()),
        )
        job["input"] = _encoded(given, codec)
        finish = ready._native.start(job)
        told = await _in_thread(finish)
        return ready._result(args, job, told, codec, options.get("check", False), timeout)

    async def popen_async(self, args, **options):
        """As :meth:`popen`: an :class:`AsyncPopen`."""
        return AsyncPopen(self.popen(args, **options))


def _encoded(input, codec):
    if isinstance(input, str):
        return input.encode(*(codec or ("utf-8",)))
    return None if input is None else bytes(input)


async def _in_thread(child):
    """Waits for a child of the native half, beside the event loop."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()

    def tell(result, error):
        if not future.done():
            future.set_exception(error) if error else future.set_result(result)

    def wait():
        result = error = None
        try:
            result = child.wait(None)
        except BaseException as raised:
            error = raised
        try:
            loop.call_soon_threadsafe(tell, result, error)
        except RuntimeError:
            pass  # The loop is closed, and nobody wants to know.

    threading.Thread(target=wait, daemon=True).start()
    try:
        return await future
    except asyncio.CancelledError:
        child.kill()
        raise


class Sandbox(_Runs):
    """A description of a sandbox, in which commands are run.

    ``root``: the directory that is ``/`` inside. The host's own, ``"/"``, is read-only and shows
    no home directories, no /run, no /tmp and nothing else that is private.
    ``writable``: paths inside that can be changed, and nothing besides; True: everything, False:
    nothing, None: everything, but nothing of the host's own root.
    ``readable``, ``sockets``: what to show of a place of the host's root that is hidden; unix
    sockets that can be connected to.
    ``mounts``: a list of :class:`Mount`. ``usual_mounts``: /proc, a minimal /dev and an empty
    /tmp, where nothing else was mounted.
    ``network``: True for the caller's network; otherwise there is a loopback interface alone.
    ``limits``: a :class:`Limits` or a dictionary.
    ``user``: ``"root"``, ``"subordinate"`` (root, with a range of further ids), a pair of ids, or
    None for the caller's own.
    ``env``, ``cwd``: of commands for which nothing else is said. The environment is empty.
    ``seccomp``: ``"build"``, ``"strict-io"`` or ``"none"``. ``allow_nested``: lets the command
    make sandboxes. ``prefer``: features of which less will do; otherwise what cannot be enforced
    is an error. ``backends``: names of backends to try. ``cgroup``: a directory of cgroup v2 for
    the limits, None: no control groups.

    Each run plans the sandbox anew; :meth:`prepare` does it once for many.
    """

    def __init__(
        self,
        root="/",
        *,
        writable=None,
        readable=(),
        sockets=(),
        mounts=(),
        usual_mounts=True,
        network=False,
        limits=None,
        user=None,
        hostname=None,
        env=None,
        cwd="/",
        seccomp=None,
        allow_nested=False,
        prefer=(),
        backends=None,
        cgroup="auto",
    ):
        self.root = root
        self.limits = Limits.of(limits)
        self.env = dict(env or {})
        self.cwd = cwd
        if network in ("isolated", "shared"):
            network = network == "shared"
        access, paths = _access(writable)
        ids = {"root": (0, 0), "subordinate": None, None: None}.get(user, user)
        mounts = list(mounts)
        is_host = os.fsencode(root) == b"/"
        if usual_mounts and sys.platform == "linux":
            named = {mount["target"] for mount in mounts}
            usual = [Mount.proc(), Mount.dev()]
            if not is_host:
                # /tmp of the host's own is hidden, but for what is named of it.
                usual.append(Mount.tmpfs("/tmp"))
            mounts = [mount for mount in usual if mount["target"] not in named] + mounts
        self._description = _plain.description(
            root=None if is_host else os.path.abspath(root),
            access=access,
            writable=paths,
            readable=readable,
            sockets=sockets,
            mounts=mounts,
            network=network,
            limits=dataclasses.asdict(self.limits),
            control_groups="none" if cgroup is None else cgroup,
            ids=ids,
            subordinate=user == "subordinate",
            hostname=hostname,
            seccomp=seccomp,
            allow_nested=allow_nested,
            prefer=prefer,
            backends=[backends] if isinstance(backends, str) else backends,
        )

    def prepare(self):
        """Plans the sandbox once for many runs: a :class:`Prepared`. Nothing is run."""
        return Prepared(self, _native.prepare(self._description))

    _ready = prepare

    def check(self):
        """What would be enforced: an :class:`Enforcement`. Nothing is run."""
        return self.prepare().enforcement

    def __repr__(self):
        return "Sandbox(%r)" % (self.root,)


def _access(writable):
    if writable is None:
        return "default", ()
    if writable is True:
        return "read-write", ()
    if writable is False or not writable:
        return "read-only", ()
    return "except", list(writable)


class Prepared(_Runs):
    """A sandbox that is ready to run commands, one after another or side by side, from any
    thread. They share nothing writable but what the description shares."""

    def __init__(self, sandbox, native):
        self._sandbox = sandbox
        self._native = native
        told = native.enforcement()
        for name in ("enforced", "created_on_host", "hidden"):
            told[name] = tuple(told[name])
        #: What holds for every command.
        self.enforcement = Enforcement(**told)

    def warm(self, count):
        """Keeps up to ``count`` sandboxes set up in the background, and has runs take one of them
        where they can: a run then takes little longer than that of the bare program. 0 ends them,
        and so does the end of a ``with`` block, of this object and of the caller."""
        self._native.warm(count)

    @property
    def warmed(self):
        """How many sandboxes stand ready."""
        return self._native.warmed()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.warm(0)

    def _ready(self):
        return self

    def _job(self, args, input, stdin, stdout, stderr, capture, timeout, env, cwd, pass_fds):
        if capture:
            if stdout is not None or stderr is not None:
                raise ValueError("stdout and stderr cannot be said along with capture_output")
            stdout = stderr = _plain.PIPE
        if input is not None:
            if stdin is not None:
                raise ValueError("stdin and input cannot both be said")
            stdin = _plain.PIPE
        elif stdin is None and stdout == _plain.PIPE:
            stdin = _plain.DEVNULL
        fds = pass_fds.items() if isinstance(pass_fds, dict) else [(fd, fd) for fd in pass_fds]
        return _plain.run(
            _words(args),
            env=self._sandbox.env if env is None else env,
            cwd=self._sandbox.cwd if cwd is None else cwd,
            stdin=_stream(stdin),
            stdout=_stream(stdout),
            stderr=_stream(stderr),
            fds=fds,
            gather=True,
            timeout=timeout,
        )

    def _finish(self, args, job, codec, check, timeout):
        told = self._native.run(job)
        return self._result(args, job, told, codec, check, timeout)

    def _result(self, args, job, told, codec, check, timeout):
        outcome, out, err = told
        out = _decoded(out, codec) if job["stdout"] == _plain.PIPE else None
        err = _decoded(err, codec) if job["stderr"] == _plain.PIPE else None
        result = Result(args, outcome, out, err, self.enforcement)
        if result.limit == "wall" and timeout is not None:
            raise TimeoutExpired(args, timeout, out, err, result)
        if check:
            result.check_returncode()
        return result

    def __repr__(self):
        return "<%s by %s>" % (self._sandbox, self.enforcement.backend)


class Popen:
    """A command that runs in a sandbox, in the habits of :class:`subprocess.Popen`.

    When it is closed, or collected, everything in the sandbox is killed; and so it is at the
    latest when the caller ends, however that is.
    """

    def __init__(self, args, child, enforcement, codec, bufsize):
        self.args = args
        self.pid = child.pid
        self.returncode = None
        self.enforcement = enforcement
        #: The :class:`Result`, when there is one.
        self.result = None
        self._child = child
        self._codec = codec
        files = [None, None, None]
        for i, (fd, mode) in enumerate(zip(child.fds, ("wb", "rb", "rb"))):
            if fd is None:
                continue
            files[i] = io.open(fd, mode, bufsize)
            if codec is not None:
                encoding, errors = codec
                files[i] = io.TextIOWrapper(files[i], encoding, errors, write_through=i == 0)
        self.stdin, self.stdout, self.stderr = files

    def poll(self):
        """The exit status, or None while the command runs."""
        return self._waited(0)

    def wait(self, timeout=None):
        """Waits for the end of everything in the sandbox: the exit status. After ``timeout``
        seconds it raises :class:`TimeoutExpired`, and kills nothing."""
        if self._waited(timeout) is None:
            raise TimeoutExpired(self.args, timeout)
        return self.returncode

    def _waited(self, timeout):
        if self.result is None:
            told = self._child.wait(timeout)
            if told is not None:
                self.result = Result(self.args, told[0], None, None, self.enforcement)
                self.returncode = self.result.returncode
        return self.returncode

    def communicate(self, input=None, timeout=None):
        """Sends ``input``, reads both streams to their ends and waits: ``(stdout, stderr)``."""
        deadline = None if timeout is None else time.monotonic() + timeout
        got = {}

        def read(name, file):
            try:
                got[name] = file.read()
            finally:
                file.close()

        def write():
            try:
                if input:
                    self.stdin.write(input)
                self.stdin.close()
            except (BrokenPipeError, ValueError):
                pass

        if not hasattr(self, "_threads"):
            threads = [
                threading.Thread(target=read, args=(name, file), daemon=True)
                for name, file in (("stdout", self.stdout), ("stderr", self.stderr))
                if file is not None
            ]
            if self.stdin is not None:
                threads.append(threading.Thread(target=write, daemon=True))
            for thread in threads:
                thread.start()
            self._threads, self._got = threads, got
        for thread in self._threads:
            thread.join(None if deadline is None else max(0, deadline - time.monotonic()))
            if thread.is_alive():
                raise TimeoutExpired(self.args, timeout)
        self.wait(None if deadline is None else max(0, deadline - time.monotonic()))
        return self._got.get("stdout"), self._got.get("stderr")

    def send_signal(self, number):
        """Sends a signal to the command."""
        if self.poll() is None:
            self._child.signal(int(number))

    def terminate(self):
        """Sends the command SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self):
        """Kills everything in the sandbox."""
        self._child.kill()

    def close(self):
        """Kills everything in the sandbox, if it runs still, and closes the pipes."""
        if self.result is None:
            self._child.kill()
            try:
                self._child.wait(None)
            except Exception:
                pass  # Why it could not be waited for matters to nobody any more.
        for file in (self.stdin, self.stdout, self.stderr):
            try:
                if file is not None:
                    file.close()
            except BrokenPipeError:
                pass

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        # As in subprocess, the end of the block waits; an exception does not.
        try:
            if kind is None:
                if self.stdin is not None:
                    try:
                        self.stdin.close()
                    except BrokenPipeError:
                        pass
                self.wait()
        finally:
            self.close()

    def __del__(self):
        if getattr(self, "result", self) is None and self._child.wait(0) is None:
            warnings.warn(
                "sandboxed process %s is still running, and is killed" % self.pid,
                ResourceWarning,
                source=self,
            )

    def __repr__(self):
        return "<Popen: returncode: %s args: %r>" % (self.returncode, self.args)


class AsyncPopen:
    """A :class:`Popen` whose ``wait`` and ``communicate`` are awaited."""

    def __init__(self, popen):
        #: The :class:`Popen` itself; its file objects block.
        self.popen = popen
        self.pid, self.args = popen.pid, popen.args

    @property
    def returncode(self):
        """The exit status, or None while the command is not known to have ended."""
        return self.popen.returncode

    @property
    def result(self):
        """The :class:`Result`, when there is one."""
        return self.popen.result

    async def wait(self):
        """Waits for the end of everything in the sandbox: the exit status. Cancelling the wait
        kills nothing."""
        while self.popen.poll() is None:
            # The thread ends with the command, whoever waits.
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, self.popen._child.wait, 0.2)
        return self.popen.returncode

    async def communicate(self, input=None):
        """Sends ``input``, reads both streams and waits: ``(stdout, stderr)``. Cancelling it
        ends everything in the sandbox."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(None, self.popen.communicate, input)
        except asyncio.CancelledError:
            self.kill()
            raise

    def send_signal(self, number):
        """Sends a signal to the command."""
        self.popen.send_signal(number)

    def terminate(self):
        """Sends the command SIGTERM."""
        self.popen.terminate()

    def kill(self):
        """Kills everything in the sandbox."""
        self.popen.kill()

    async def __aenter__(self):
        return self

    async def __aexit__(self, kind, value, trace):
        self.popen.close()
