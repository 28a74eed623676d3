"""The backend that drives the program bwrap."""

import sandboxlib
from sandboxlib import _classic, utils

CAPABILITIES = dict(_classic.WITH_MOUNTS)


def bubblewrap_program():
    """The path of bwrap; raises ProgramNotFound if it is not in PATH."""
    return utils.find_program("bwrap")


def degrade_config_for_capabilities(in_config, warn=True):
    """The configuration itself: there is nothing that this backend cannot do."""
    return in_config


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
    bubblewrap_program()
    return _classic.run(
        "bubblewrap",
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
