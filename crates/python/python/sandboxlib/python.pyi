from typing import Any, Callable, Dict, Iterable, Mapping, Optional, Sequence, Union

from sandboxlib import Enforcement, _Environment, Limits, Mount, _Path, SandboxError

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

DEFAULT_LIMITS: Limits
HOME: str

class NotData(ValueError): ...

class CodeError(SandboxError):
    type: str
    message: str
    traceback: str
    stdout: str
    stderr: str
    def __init__(self, type: str, message: str, traceback: str, stdout: str, stderr: str) -> None: ...

class LimitExceeded(SandboxError):
    limit: str
    stdout: str
    stderr: str
    def __init__(self, limit: str, stdout: str = ..., stderr: str = ...) -> None: ...

class Died(SandboxError):
    returncode: int
    stdout: str
    stderr: str
    def __init__(self, returncode: int, stdout: str = ..., stderr: str = ...) -> None: ...

class BadAnswer(SandboxError): ...

class Reply:
    value: Any
    stdout: str
    stderr: str
    seconds: float
    def __init__(self, value: Any, stdout: str, stderr: str, seconds: float) -> None: ...

class _Calls:
    def eval(self, expression: str, names: Optional[Dict[str, Any]] = ..., *, timeout: Optional[float] = ...) -> Any: ...
    def exec(self, code: str, names: Optional[Dict[str, Any]] = ..., *, returns: Optional[Iterable[str]] = ..., timeout: Optional[float] = ...) -> Dict[str, Any]: ...
    def call(self, function: Union[str, Callable[..., Any]], *args: Any, timeout: Optional[float] = ..., **kwargs: Any) -> Any: ...
    @property
    def last(self) -> Optional[Reply]: ...

class PythonSandbox(_Calls):
    limits: Limits
    def __init__(
        self,
        modules: Optional[Iterable[str]] = ...,
        deny: Iterable[str] = ...,
        files: Optional[Mapping[Any, Any]] = ...,
        network: bool = ...,
        limits: Union[None, Limits, Mapping[str, Any]] = ...,
        interpreter: Optional[str] = ...,
        *,
        site_packages: bool = ...,
        preload: Iterable[str] = ...,
        root: Optional[_Path] = ...,
        writable: Iterable[_Path] = ...,
        mounts: Iterable[Mount] = ...,
        env: Optional[_Environment] = ...,
        prefer: Iterable[str] = ...,
        backends: Union[None, str, Sequence[str]] = ...,
        ahead: int = ...,
        largest: int = ...,
    ) -> None: ...
    @property
    def enforcement(self) -> Enforcement: ...
    def session(self) -> Session: ...
    def close(self) -> None: ...
    def __enter__(self) -> PythonSandbox: ...
    def __exit__(self, kind: Any, value: Any, trace: Any) -> None: ...

class Session(_Calls):
    def __init__(self, sandbox: PythonSandbox, interpreter: Any) -> None: ...
    def close(self) -> None: ...
    def __enter__(self) -> Session: ...
    def __exit__(self, kind: Any, value: Any, trace: Any) -> None: ...
