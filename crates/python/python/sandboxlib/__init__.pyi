import dataclasses
import subprocess
from os import PathLike
from types import ModuleType
from typing import IO, Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple, Union

from sandboxlib import bubblewrap as bubblewrap
from sandboxlib import chroot as chroot
from sandboxlib import linux_user_chroot as linux_user_chroot
from sandboxlib import load as load
from sandboxlib import userns as userns
from sandboxlib import utils as utils

__all__: List[str]

Path = Union[str, bytes, PathLike[str], PathLike[bytes]]
Words = Union[Path, Sequence[Path]]
Environment = Mapping[Any, Any]
Stream = Union[None, int, IO[Any]]
Classic = Union[str, Sequence[Union[str, bytes]]]
ClassicStream = Union[None, int, IO[Any]]
MountEntry = Sequence[Optional[str]]

CAPTURE: int
STDOUT: int
PIPE: int
DEVNULL: int

class ProgramNotFound(Exception): ...

def degrade_config_for_capabilities(in_config: Dict[str, Any], warn: bool = ...) -> Dict[str, Any]: ...
def run_sandbox(
    command: Classic,
    cwd: Optional[str] = ...,
    env: Optional[Dict[str, str]] = ...,
    filesystem_root: str = ...,
    filesystem_writable_paths: Any = ...,
    mounts: str = ...,
    extra_mounts: Optional[List[MountEntry]] = ...,
    network: str = ...,
    stderr: ClassicStream = ...,
    stdout: ClassicStream = ...,
) -> Tuple[int, Optional[bytes], Optional[bytes]]: ...
def run_sandbox_with_redirection(command: Classic, **sandbox_config: Any) -> int: ...
def validate_extra_mounts(extra_mounts: Optional[Iterable[MountEntry]]) -> List[List[str]]: ...
def argv_to_string(argv: Iterable[str]) -> str: ...
def get_executor(name: str) -> ModuleType: ...
def executor_for_platform() -> ModuleType: ...

class SandboxError(RuntimeError):
    step: Optional[str]
    errno: Any
    hints: Tuple[str, ...]
    started: Optional[bool]

class UnsupportedError(SandboxError): ...
class MountError(SandboxError): ...
class StartError(SandboxError): ...
class WaitError(SandboxError): ...
class ConfigError(SandboxError, ValueError): ...

class WorkingDirectoryError(StartError):
    filename: Optional[str]

class ExecError(SandboxError, OSError):  # type: ignore[misc]
    message: str
    def __init__(self, message: str, errno: Optional[int] = ..., filename: Optional[str] = ...) -> None: ...

class CommandNotFoundError(ExecError, FileNotFoundError): ...  # type: ignore[misc]
class CommandPermissionError(ExecError, PermissionError): ...  # type: ignore[misc]

class TimeoutExpired(SandboxError, subprocess.TimeoutExpired):
    result: Optional[Result]
    def __init__(
        self,
        cmd: Words,
        timeout: Optional[float],
        output: Any = ...,
        stderr: Any = ...,
        result: Optional[Result] = ...,
    ) -> None: ...

class CalledProcessError(SandboxError, subprocess.CalledProcessError):
    result: Result
    def __init__(self, result: Result) -> None: ...

@dataclasses.dataclass(frozen=True)
class Limits:
    wall: Optional[float] = ...
    cpu_time: Optional[float] = ...
    memory: Optional[int] = ...
    processes: Optional[int] = ...
    file_size: Optional[int] = ...
    open_files: Optional[int] = ...
    stack: Optional[int] = ...
    core: Optional[int] = ...
    output: Optional[int] = ...
    kill_after: Optional[float] = ...
    @classmethod
    def of(cls, limits: Union[None, Limits, Mapping[str, Any]]) -> Limits: ...

class Mount(Dict[str, Any]):
    @classmethod
    def bind(cls, source: Path, target: Optional[Path] = ..., *, writable: bool = ..., covers: bool = ...) -> Mount: ...
    @classmethod
    def tmpfs(cls, target: Path, *, size: Optional[int] = ..., mode: int = ..., covers: bool = ...) -> Mount: ...
    @classmethod
    def proc(cls, target: Path = ..., *, covers: bool = ...) -> Mount: ...
    @classmethod
    def dev(cls, target: Path = ..., *, covers: bool = ...) -> Mount: ...
    @classmethod
    def file(cls, content: Union[str, bytes], target: Path, *, mode: int = ..., covers: bool = ...) -> Mount: ...
    @classmethod
    def symlink(cls, to: Path, target: Path, *, covers: bool = ...) -> Mount: ...
    @classmethod
    def dir(cls, target: Path, *, mode: int = ..., covers: bool = ...) -> Mount: ...
    @classmethod
    def mask(cls, target: Path, *, covers: bool = ...) -> Mount: ...

@dataclasses.dataclass(frozen=True)
class Enforcement:
    backend: str
    enforced: Tuple[str, ...]
    degraded: Dict[str, str]
    limits: Dict[str, str]
    created_on_host: Tuple[str, ...]
    hidden: Tuple[str, ...]
    seccomp: str
    landlock: Optional[int]
    kills_everything: bool

@dataclasses.dataclass(frozen=True)
class Usage:
    wall: float
    user: float
    system: float
    peak_memory: Optional[int]
    cpu_by: str
    memory_by: str

class Result(subprocess.CompletedProcess[Any]):
    limit: Optional[str]
    usage: Usage
    enforcement: Enforcement

class _Runs:
    def run(
        self,
        args: Words,
        *,
        input: Union[None, str, bytes] = ...,
        stdin: Stream = ...,
        stdout: Stream = ...,
        stderr: Stream = ...,
        capture_output: bool = ...,
        text: Optional[bool] = ...,
        encoding: Optional[str] = ...,
        errors: Optional[str] = ...,
        timeout: Optional[float] = ...,
        check: bool = ...,
        env: Optional[Environment] = ...,
        cwd: Optional[Path] = ...,
        pass_fds: Union[Sequence[int], Mapping[int, int]] = ...,
    ) -> Result: ...
    def popen(
        self,
        args: Words,
        *,
        stdin: Stream = ...,
        stdout: Stream = ...,
        stderr: Stream = ...,
        text: Optional[bool] = ...,
        encoding: Optional[str] = ...,
        errors: Optional[str] = ...,
        bufsize: int = ...,
        env: Optional[Environment] = ...,
        cwd: Optional[Path] = ...,
        pass_fds: Union[Sequence[int], Mapping[int, int]] = ...,
    ) -> Popen: ...
    async def run_async(self, args: Words, **options: Any) -> Result: ...
    async def popen_async(self, args: Words, **options: Any) -> AsyncPopen: ...

class Sandbox(_Runs):
    root: Path
    limits: Limits
    env: Dict[Any, Any]
    cwd: Path
    def __init__(
        self,
        root: Path = ...,
        *,
        writable: Union[None, bool, Iterable[Path]] = ...,
        readable: Iterable[Path] = ...,
        sockets: Iterable[Path] = ...,
        mounts: Iterable[Mount] = ...,
        usual_mounts: bool = ...,
        network: Union[bool, str] = ...,
        limits: Union[None, Limits, Mapping[str, Any]] = ...,
        user: Union[None, str, Tuple[int, int]] = ...,
        hostname: Union[None, str, bytes] = ...,
        env: Optional[Environment] = ...,
        cwd: Path = ...,
        seccomp: Optional[str] = ...,
        allow_nested: bool = ...,
        prefer: Iterable[str] = ...,
        backends: Union[None, str, Sequence[str]] = ...,
        cgroup: Optional[Path] = ...,
    ) -> None: ...
    def prepare(self) -> Prepared: ...
    def check(self) -> Enforcement: ...

class Prepared(_Runs):
    enforcement: Enforcement
    def __init__(self, sandbox: Sandbox, native: Any) -> None: ...

class Popen:
    args: Words
    pid: int
    returncode: Optional[int]
    enforcement: Enforcement
    result: Optional[Result]
    stdin: Optional[IO[Any]]
    stdout: Optional[IO[Any]]
    stderr: Optional[IO[Any]]
    def __init__(self, args: Words, child: Any, enforcement: Enforcement, codec: Any, bufsize: int) -> None: ...
    def poll(self) -> Optional[int]: ...
    def wait(self, timeout: Optional[float] = ...) -> int: ...
    def communicate(self, input: Any = ..., timeout: Optional[float] = ...) -> Tuple[Any, Any]: ...
    def send_signal(self, number: int) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...
    def close(self) -> None: ...
    def __enter__(self) -> Popen: ...
    def __exit__(self, kind: Any, value: Any, trace: Any) -> None: ...
    def __del__(self) -> None: ...

class AsyncPopen:
    popen: Popen
    pid: int
    args: Words
    def __init__(self, popen: Popen) -> None: ...
    @property
    def returncode(self) -> Optional[int]: ...
    @property
    def result(self) -> Optional[Result]: ...
    async def wait(self) -> int: ...
    async def communicate(self, input: Any = ...) -> Tuple[Any, Any]: ...
    def send_signal(self, number: int) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...
    async def __aenter__(self) -> AsyncPopen: ...
    async def __aexit__(self, kind: Any, value: Any, trace: Any) -> None: ...
