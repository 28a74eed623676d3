from typing import Any, Dict, List, Optional, Tuple

from sandboxlib import _Classic, _ClassicStream, _MountEntry

CAPABILITIES: Dict[str, List[str]]

def linux_user_chroot_program() -> str: ...
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
    stdout: _ClassicStream = ...,
    stderr: _ClassicStream = ...,
) -> Tuple[int, Optional[bytes], Optional[bytes]]: ...
def run_sandbox_with_redirection(command: _Classic, **sandbox_config: Any) -> int: ...
