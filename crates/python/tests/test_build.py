"""A build tool of the Baserock kind, as it calls the classic module: on a real Debian root, on the
source of a real package. `SANDBOXLIB_LAB` has both (`cargo xtask lab`)."""

import os
import shutil
import unittest

import sandboxlib
from support import IS_ROOT, TestCase


class Build(TestCase):
    def setUp(self):
        lab = os.environ.get("SANDBOXLIB_LAB")
        if not lab or not os.path.isdir(os.path.join(lab, "root")):
            self.skipTest(os.environ.get("SANDBOXLIB_LAB_MISSING", "no SANDBOXLIB_LAB"))
        self.root = os.path.join(lab, "root")
        self.source = os.path.join(lab, "src")

    def test_a_package_is_configured_compiled_and_tested(self):
        place = self.directory()
        work, cache = os.path.join(place, "zlib.build"), os.path.join(place, "ccache")
        install = os.path.join(place, "zlib.inst")
        shutil.copytree(self.source, work, symlinks=True)
        os.mkdir(cache)
        os.mkdir(install)
        log = os.path.join(place, "log")
        env = {
            "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
            "LC_ALL": "C",
            "HOME": "/tmp",
            "DESTDIR": "/zlib.inst",
        }
        # An ordinary user cannot open the devices of a root.
        devices = [] if IS_ROOT else [(None, "/dev", "devtmpfs")]
        mounts = devices + [
            ("tmpfs", "/dev/shm", "tmpfs"),
            ("tmpfs", "/tmp", "tmpfs"),
            ("proc", "/proc", "proc"),
            (work, "zlib.build", None, "bind"),
            (install, "zlib.inst", None, "bind"),
            (cache, "tmp/ccache", None, "bind"),
        ]
        executor = sandboxlib.executor_for_platform()
        for command in (
            "./configure --prefix=/usr",
            "make -j2",
            "make check",
            "make install",
            "touch /tmp/ccache/used; ! touch /usr/bin/new; ! ls /root/.ssh",
            "cat /proc/net/dev > /zlib.inst/net",
        ):
            config = dict(
                cwd="zlib.build",
                filesystem_root=self.root,
                filesystem_writable_paths=["zlib.build", "zlib.inst", "/dev", "/proc", "/tmp"],
                mounts="isolated",
                extra_mounts=mounts,
                network="isolated",
            )
            # As YBD does: a chroot isolates less, and the caller knows.
            if sandboxlib.chroot == executor:
                self.assertTrue(IS_ROOT)
            config = executor.degrade_config_for_capabilities(config, warn=False)
            with open(log, "a") as logfile:
                exit_code = executor.run_sandbox_with_redirection(
                    ["sh", "-c", "-e", command],
                    stdout=logfile,
                    stderr=sandboxlib.STDOUT,
                    env=env,
                    **config
                )
            if exit_code != 0:
                with open(log, errors="replace") as logfile:
                    self.fail("%s: %s\n%s" % (command, exit_code, logfile.read()[-3000:]))
        with open(os.path.join(install, "net")) as file:
            self.assertEqual(len(file.read().splitlines()), 3)  # Two lines of head, and lo.
        self.assertTrue(os.path.exists(os.path.join(install, "usr/include/zlib.h")))
        self.assertEqual(os.listdir(cache), ["used"])
        for name in ("zlib.build", "zlib.inst"):
            self.assertFalse(os.path.lexists(os.path.join(self.root, name)), name)
        self.assertFalse(os.path.lexists(os.path.join(self.root, "tmp/ccache")))


if __name__ == "__main__":
    unittest.main()
