"""One run of the classic API, for whichever backend."""

import contextlib
import errno
import os
import posixpath

import sandboxlib
from sandboxlib import _errors, _native, _plain
from sandboxlib.utils import check_parameter

#: What a backend with mounts of its own can do.
WITH_MOUNTS = {
    "network": ["isolated", "undefined"],
    "mounts": ["isolated", "undefined"],
    "filesystem_writable_paths": ["all", "any"],
}


def inside(path):
    """A path of the classic API, which is relative to the root with or without a slash."""
    path = os.fsdecode(path)
    return posixpath.normpath("/" + path.lstrip("/"))


def _access(filesystem_root, writable, mounts):
    """``filesystem_writable_paths``, as access and list of paths."""
    if writable == "all":
        return "read-write", []
    if writable is None or writable == "none" or writable == []:
        return "read-only", []
    assert isinstance(writable, list), (
        "'filesystem_writable_paths' is 'all', 'none' or a list, not %r" % (writable,)
    )
    # What is not there cannot be written to, which never was an error, and neither was a path that
    # a mount hides.
    covers = [os.fsdecode(mount["target"]) for mount in mounts]
    there = [
        path
        for path in map(inside, writable)
        if os.path.lexists(filesystem_root + path)
        and not any(path == target or path.startswith(target + "/") for target in covers)
    ]
    return ("except", there) if there else ("read-only", [])


def _tmpfs(target, options):
    size = mode = None
    for option in options:
        name, _, value = option.partition("=")
        if name == "size":
            units = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
            unit = units.get(value[-1:].lower())
            size = int(value[:-1]) * unit if unit else int(value)
        elif name == "mode":
            mode = int(value, 8)
    return _plain.mount("tmpfs", target, size=size, mode=mode)


def _extra_mounts(extra_mounts, filesystem_root, backend):
    """``extra_mounts``, as mounts of the library, in order."""
    mounts = []
    for source, target, kind, options in sandboxlib.validate_extra_mounts(extra_mounts):
        options = [o for o in options.split(",") if o]
        target = inside(target)
        if "remount" in options:
            # Said of a mount before, or of the root's own directory.
            said = [m for m in mounts if m["target"] == os.fsencode(target)]
            if said:
                said[-1]["writable"] = "ro" not in options
            else:
                own = filesystem_root.rstrip("/") + target
                mounts.append(_plain.mount("bind", target, own, writable="ro" not in options))
        elif kind in ("bind", "none", "") and ("bind" in options or "rbind" in options):
            mounts.append(_plain.mount("bind", target, source, writable="ro" not in options))
        elif kind == "tmpfs":
            mounts.append(_tmpfs(target, options))
        elif kind == "proc":
            mounts.append(_plain.mount("proc", target))
        elif kind == "devtmpfs":
            mounts.append(_plain.mount("dev", target))
        elif kind == "sysfs":
            mounts.append(_plain.mount("bind", target, "/sys"))
        else:
            raise AssertionError(
                "Unsupported mount type '%s' for %s backend." % (kind, backend)
            )
    for i, mount in enumerate(mounts):
        # Later mounts hid earlier ones without a word.
        mount["covers"] = any(
            earlier["target"].startswith(mount["target"].rstrip(b"/") + b"/")
            or earlier["target"] == mount["target"]
            for earlier in mounts[:i]
        )
    return mounts


def _make_mount_points(filesystem_root, mounts):
    """Makes what is missing of the mount points in the root, for a helper that does not. No link
    is followed, so nothing is made elsewhere."""
    for mount in mounts:
        names = [name for name in mount["target"].split(b"/") if name]
        is_file = mount["kind"] == "bind" and not os.path.isdir(mount["data"])
        here = os.open(filesystem_root, os.O_PATH | os.O_DIRECTORY)
        try:
            for i, name in enumerate(names):
                if is_file and i == len(names) - 1:
                    flags = os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_RDONLY
                    os.close(os.open(name, flags, 0o644, dir_fd=here))
                    break
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, 0o755, dir_fd=here)
                flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW
                below = os.open(name, flags, dir_fd=here)
                os.close(here)
                here = below
        except NotADirectoryError:
            # A link that is there is followed inside, by the helper, or it says why not.
            pass
        finally:
            os.close(here)


def _stream(stream, stdout_too=False):
    if stream is None:
        return _plain.DEVNULL
    if isinstance(stream, int):
        known = [sandboxlib.CAPTURE] + ([sandboxlib.STDOUT] if stdout_too else [])
        assert stream in known or stream >= 0, "no stream: %r" % stream
        return stream
    return stream.fileno()


@contextlib.contextmanager
def _as_before(filesystem_root):
    """The exceptions that callers of the classic module know."""
    try:
        yield
    except _errors.ExecError as error:
        name = error.filename
        raise OSError(error.errno, os.strerror(error.errno or errno.ENOEXEC), name) from error
    except _errors.WorkingDirectoryError as error:
        said = _errors.os_error(error.errno or errno.ENOENT, error.filename)
        raise RuntimeError("Unable to set current working directory: %s" % said) from error


def run(
    backend,
    capabilities,
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
):
    """Runs ``command`` by the backend of this name: ``(exit, out, err)``."""
    if isinstance(command, str):
        command = [command]
    argv = [os.fsencode(word) for word in command]
    argv[0]  # an empty list is an IndexError, as it was
    check_parameter("network", network, capabilities["network"])
    check_parameter("mounts", mounts, capabilities["mounts"])
    filesystem_root = os.path.abspath(os.fsdecode(filesystem_root))
    if capabilities["filesystem_writable_paths"] == ["all"]:
        assert filesystem_writable_paths == "all", (
            "'filesystem_writable_paths' can only be 'all' in the '%s' backend" % backend
        )
    extra = _extra_mounts(extra_mounts, filesystem_root, backend)
    access, writable = _access(filesystem_root, filesystem_writable_paths, extra)
    if not os.path.isdir(filesystem_root):
        code = errno.ENOTDIR if os.path.exists(filesystem_root) else errno.ENOENT
        raise RuntimeError("Unable to chroot: %s" % _errors.os_error(code, filesystem_root))
    if backend == "linux-user-chroot" and access != "read-only":
        _make_mount_points(filesystem_root, extra)
    is_root = os.geteuid() == 0
    description = _plain.description(
        root=None if os.path.realpath(filesystem_root) == "/" else filesystem_root,
        show_all=True,
        access=access,
        writable=writable,
        mounts=extra,
        network=network == "undefined",
        # Root was root, with root's rights to files, and still is.
        subordinate=is_root and backend == "userns",
        ids=(0, 0) if is_root and backend in ("chroot", "bubblewrap") else None,
        backends=[backend],
    )
    # In a chroot nothing but the root is isolated, and nothing ever was.
    if backend == "chroot":
        description["prefer"] += ["host-secrets", "network"]
    try:
        prepared = _native.prepare(description)
    except _errors.UnsupportedError as error:
        if backend == "chroot" and not is_root:
            said = _errors.os_error(errno.EPERM, filesystem_root)
            raise RuntimeError("Unable to chroot: %s" % said) from error
        raise
    environment = os.environ if env is None else env
    run = _plain.run(
        argv,
        env=environment,
        cwd=inside(cwd or "/"),
        stdin=_plain.INHERIT,
        stdout=_stream(stdout),
        stderr=_stream(stderr, stdout_too=True),
        gather=True,
    )
    with _as_before(filesystem_root):
        outcome, out, err = prepared.run(run)
    return (
        outcome["returncode"],
        out if stdout == sandboxlib.CAPTURE else None,
        err if stderr == sandboxlib.CAPTURE else None,
    )
