"""What the tests have in common."""

import os
import shutil
import tempfile
import unittest

BUSYBOX = "/bin/busybox"
PATH = {"PATH": "/bin:/usr/bin"}
IS_ROOT = os.geteuid() == 0


class TestCase(unittest.TestCase):
    """With a directory of its own, which is removed."""

    maxDiff = None

    def directory(self):
        path = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, path, ignore_errors=True)
        os.chmod(path, 0o755)
        return path

    def busybox_root(self):
        """A root with a shell and some tools."""
        if not os.path.exists(BUSYBOX):
            self.skipTest("no %s (package busybox-static)" % BUSYBOX)
        root = self.directory()
        for name in ("bin", "etc", "data", "data/below"):
            os.mkdir(os.path.join(root, name))
        shutil.copy(BUSYBOX, os.path.join(root, "bin"))
        for name in ("sh", "cat", "chown", "echo", "env", "id", "ls", "printf", "pwd", "sleep", "stat", "touch"):
            os.symlink("busybox", os.path.join(root, "bin", name))
        return root


def find(pattern):
    """The processes of the host whose command line has this text in it."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                with open("/proc/%s/cmdline" % name, "rb") as file:
                    if pattern.encode() in file.read():
                        found.append(int(name))
            except OSError:
                pass
    return found
