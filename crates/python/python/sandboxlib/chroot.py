"""The classic backend that changes the root directory and nothing else; for root."""

import warnings

import sandboxlib
from sandboxlib import _classic

CAPABILITIES = {
    "mounts": ["undefined"],
    "network": ["undefined"],
    "filesystem_writable_paths": ["all"],
}


def degrade_config_for_capabilities(in_config, warn=True):
    """A copy in which what a chroot cannot do is left out, with a warning for each."""
    config = dict(in_config)
    for name, (only,) in CAPABILITIES.items():
        if name not in config or config[name] == only:
            continue
        if warn:
            warnings.warn(
                "Unable to set %s=%s in a chroot sandbox, falling back to %s=%s"
                % (name, config[name], name, only)
            )
        config[name] = only
    return config


def run_sandbox(
    command,
    cwd=None,
    env=None,
    filesystem_root="/",
    filesystem_writable_paths="all",
    mounts="undefined",
    extra_mounts=None,
    network="undefined",
    stdout=sandboxlib.CAPTURE,
    stderr=sandboxlib.CAPTURE,
):
    """Runs ``command``: ``(exit, out, err)``. See :func:`sandboxlib.run_sandbox`."""
    return _classic.run(
        "chroot",
        CAPABILITIES,
        command,
        cwd,
        env,
        filesystem_root,
        filesystem_writable_paths,
        mounts,
        extra_mounts,
        network,
        stdout,
        stderr,
    )


def run_sandbox_with_redirection(command, **sandbox_config):
    """Runs ``command`` as :func:`run_sandbox` does, and returns its exit status alone."""
    return run_sandbox(command, **sandbox_config)[0]
