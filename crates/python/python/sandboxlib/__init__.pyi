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

_Path = Union[str, bytes, PathLike[str], PathLike[bytes]]
_Words = Union[_Path, Sequence[_Path]]
_Environment = Mapping[Any, Any]
_Stream = Union[None, int, IO[Any]]
_Classic = Union[str, Sequence[Union[str, bytes]]]
_ClassicStream = Union[None, int, IO[Any]]
_MountEntry = Sequence[Optional[str]]

CAPTURE: int
STDOUT: int
PIPE: int
DEVNULL: int

class ProgramNotFound(Exception): ...

def degrade_config_for_capabilities(in_config: Dict[str, Any], warn: bool = ...) -> Dict[str, Any]: ...
def run_sandbox(
    command: _Classic,
    cwd: Optional[str] = ...,
    env: Optional[Dict[str, str]] = ...,
    filesystem_root: str = ...,
    filesystem_writable_paths: Any = ...,
    mounts: str = ...,
    extra_mounts: Optional[List[_MountEntry]] = ...,
    network: str = ...,
    stderr: _ClassicStream = ...,
    stdout: _ClassicStream = ...,
) -> Tuple[int, Optional[bytes], Optional[bytes]]: ...
def run_sandbox_with_redirection(command: _Classic, **sandbox_config: Any) -> int: ...
def validate_extra_mounts(extra_mounts: Optional[Iterable[_MountEntry]]) -> List[List[str]]: ...
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

class ExecError(SandboxError, OSError):
    message: str
    def __init__(self, message: str, errno: Optional[int] = ..., filename: Optional[str] = ...) -> None: ...

class CommandNotFoundError(ExecError, FileNotFoundError): ...
class CommandPermissionError(ExecError, PermissionError): ...

class TimeoutExpired(SandboxError, subprocess.TimeoutExpired):
    result: Optional[Result]
    def __init__(
        self,
        cmd: _Words,
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
    def bind(cls, source: _Path, target: Optional[_Path] = ..., *, writable: bool = ..., covers: bool = ...) -> Mount: ...
    @classmethod
    def tmpfs(cls, target: _Path, *, size: Optional[int] = ..., mode: int = ..., covers: bool = ...) -> Mount: ...
    @classmethod
    def proc(cls, target: _Path = ..., *, covers: bool = ...) -> Mount: ...
    @classmethod
    def dev(cls, target: _Path = ..., *, covers: bool = ...) -> Mount: ...
    @classmethod
    def file(cls, content: Union[str, bytes], target: _Path, *, mode: int = ..., covers: bool = ...) -> Mount: ...
    @classmethod
    def symlink(cls, to: _Path, target: _Path, *, covers: bool = ...) -> Mount: ...
    @classmethod
    def dir(cls, target: _Path, *, mode: int = ..., covers: bool = ...) -> Mount: ...
    @classmethod
    def mask(cls, target: _Path, *, covers: bool = ...) -> Mount: ...

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
    def __init__(
        self, args: _Words, outcome: Dict[str, Any], stdout: Any, stderr: Any, enforcement: Enforcement
    ) -> None: ...

class _Runs:
    def run(
        self,
        args: _Words,
        *,
        input: Union[None, str, bytes] = ...,
        stdin: _Stream = ...,
        stdout: _Stream = ...,
        stderr: _Stream = ...,
        capture_output: bool = ...,
        text: Optional[bool] = ...,
        encoding: Optional[str] = ...,
        errors: Optional[str] = ...,
        timeout: Optional[float] = ...,
        check: bool = ...,
        env: Optional[_Environment] = ...,
        cwd: Optional[_Path] = ...,
        pass_fds: Union[Sequence[int], Mapping[int, int]] = ...,
    ) -> Result: ...
    def popen(
        self,
        args: _Words,
        *,
        stdin: _Stream = ...,
        stdout: _Stream = ...,
        stderr: _Stream = ...,
        text: Optional[bool] = ...,
        encoding: Optional[str] = ...,
        errors: Optional[str] = ...,
        bufsize: int = ...,
        env: Optional[_Environment] = ...,
        cwd: Optional[_Path] = ...,
        pass_fds: Union[Sequence[int], Mapping[int, int]] = ...,
    ) -> Popen: ...
    async def run_async(self, args: _Words, **options: Any) -> Result: ...
    async def popen_async(self, args: _Words, **options: Any) -> AsyncPopen: ...

class Sandbox(_Runs):
    root: _Path
    limits: Limits
    env: Dict[Any, Any]
    cwd: _Path
    def __init__(
        self,
        root: _Path = ...,
        *,
        writable: Union[None, bool, Iterable[_Path]] = ...,
        readable: Iterable[_Path] = ...,
        sockets: Iterable[_Path] = ...,
        mounts: Iterable[Mount] = ...,
        usual_mounts: bool = ...,
        network: Union[bool, str] = ...,
        limits: Union[None, Limits, Mapping[str, Any]] = ...,
        user: Union[None, str, Tuple[int, int]] = ...,
        hostname: Union[None, str, bytes] = ...,
        env: Optional[_Environment] = ...,
        cwd: _Path = ...,
        seccomp: Optional[str] = ...,
        allow_nested: bool = ...,
        prefer: Iterable[str] = ...,
        backends: Union[None, str, Sequence[str]] = ...,
        cgroup: Optional[_Path] = ...,
    ) -> None: ...
    def prepare(self) -> Prepared: ...
    def check(self) -> Enforcement: ...

class Prepared(_Runs):
    enforcement: Enforcement
    def __init__(self, sandbox: Sandbox, native: Any) -> None: ...
    def warm(self, count: int) -> None: ...
    @property
    def warmed(self) -> int: ...
    def __enter__(self) -> Prepared: ...
    def __exit__(self, kind: Any, value: Any, trace: Any) -> None: ...

class Popen:
    args: _Words
    pid: int
    returncode: Optional[int]
    enforcement: Enforcement
    result: Optional[Result]
    stdin: Optional[IO[Any]]
    stdout: Optional[IO[Any]]
    stderr: Optional[IO[Any]]
    def __init__(self, args: _Words, child: Any, enforcement: Enforcement, codec: Any, bufsize: int) -> None: ...
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
    args: _Words
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
