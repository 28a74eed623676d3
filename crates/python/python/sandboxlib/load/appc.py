"""App Container images (.aci)."""

import contextlib
import json
import os
import shutil
import tarfile
import tempfile

from sandboxlib import _native

#: What an App Container expects in its environment, besides AC_APP_NAME and its own.
BASE_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
}

#: A manifest is a page of text; what is larger is none.
_LARGEST_MANIFEST = 16 * 1024 * 1024


def is_app_container_image(path):
    """Whether ``path`` is named like an App Container image."""
    return os.fspath(path).endswith(".aci")


def _manifest(image_file):
    with tarfile.open(image_file) as archive:
        for member in archive:
            if os.path.normpath(member.name) != "manifest" or not member.isfile():
                continue
            if member.size > _LARGEST_MANIFEST:
                raise ValueError("the manifest of %s is too large" % image_file)
            return json.loads(archive.extractfile(member).read().decode("utf-8"))
    raise FileNotFoundError("no manifest in %s" % image_file)


@contextlib.contextmanager
def unpack_app_container_image(image_file):
    """Unpacks an image for as long as the context lasts: ``(rootfs path, manifest)``.

    The archive is unpacked by the library, one component of a path at a time and following no
    link, so what is in it cannot land elsewhere.
    """
    manifest = _manifest(image_file)
    place = tempfile.mkdtemp()
    try:
        rootfs = os.path.join(place, "rootfs")
        _native.unpack(os.fspath(image_file), rootfs)
        yield rootfs, manifest
    finally:
        shutil.rmtree(place, ignore_errors=True)
