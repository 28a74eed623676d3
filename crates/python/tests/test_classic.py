"""The classic API: names, defaults, types and semantics of sandboxlib 0.3 and its successor."""

import importlib
import inspect
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import unittest
import warnings
from unittest import mock

import sandboxlib
from support import IS_ROOT, PATH, TestCase

PROGRAMS = {"bubblewrap": "bubblewrap_program", "linux_user_chroot": "linux_user_chroot_program"}
BACKENDS = ("chroot", "linux_user_chroot", "bubblewrap", "userns")


class Interface(TestCase):
    def test_run_sandbox_has_the_parameters_and_defaults_it_had(self):
        wanted = {
            "command": inspect.Parameter.empty,
            "cwd": None,
            "env": None,
            "filesystem_root": "/",
            "filesystem_writable_paths": "all",
            "mounts": "undefined",
            "extra_mounts": None,
            "network": "undefined",
            "stdout": -1,
            "stderr": -1,
        }
        for module in [sandboxlib] + [getattr(sandboxlib, name) for name in BACKENDS]:
            signature = inspect.signature(module.run_sandbox)
            self.assertEqual({n: p.default for n, p in signature.parameters.items()}, wanted)
            # They may be given by position. The package has the last two the other way round.
            order = list(wanted)
            if module is sandboxlib:
                order[-2:] = reversed(order[-2:])
            self.assertEqual(list(signature.parameters), order)
            self.assertRaises(TypeError, module.run_sandbox, ["true"], bogus=1)
            redirected = inspect.signature(module.run_sandbox_with_redirection)
            self.assertEqual(str(redirected), "(command, **sandbox_config)")
            degrade = inspect.signature(module.degrade_config_for_capabilities)
            self.assertEqual(str(degrade), "(in_config, warn=True)")
        self.assertEqual((sandboxlib.CAPTURE, sandboxlib.STDOUT), (-1, -2))

    def test_the_modules_have_the_names_they_had(self):
        for module, names in (
            (
                sandboxlib,
                "CAPTURE STDOUT ProgramNotFound argv_to_string chroot linux_user_chroot bubblewrap load "
                "degrade_config_for_capabilities executor_for_platform get_executor run_sandbox "
                "run_sandbox_with_redirection utils validate_extra_mounts",
            ),
            (sandboxlib.utils, "check_parameter find_program"),
            (sandboxlib.load, "appc"),
            (
                sandboxlib.load.appc,
                "BASE_ENVIRONMENT is_app_container_image unpack_app_container_image",
            ),
            (sandboxlib.linux_user_chroot, "linux_user_chroot_program"),
        ):
            for name in names.split():
                self.assertTrue(hasattr(module, name), (module, name))
        for name in BACKENDS:
            # As they are imported by those who know which they want.
            module = importlib.import_module("sandboxlib." + name)
            self.assertIs(module, getattr(sandboxlib, name))
            self.assertIsInstance(module.CAPABILITIES, dict)
        self.assertEqual(sandboxlib.ProgramNotFound.__bases__, (Exception,))

    def test_the_package_itself_runs_nothing(self):
        for call in (
            lambda: sandboxlib.run_sandbox(["true"]),
            lambda: sandboxlib.run_sandbox_with_redirection(["true"]),
            lambda: sandboxlib.degrade_config_for_capabilities({}),
        ):
            self.assertRaises(NotImplementedError, call)

    def test_executors_go_by_name(self):
        for name in BACKENDS:
            self.assertIs(sandboxlib.get_executor(name), getattr(sandboxlib, name))
            self.assertIs(
                sandboxlib.get_executor(name.replace("_", "-")), getattr(sandboxlib, name)
            )
        self.assertRaises(KeyError, sandboxlib.get_executor, "nonesuch")
        self.assertRaises(KeyError, sandboxlib.get_executor, "utils")

    def test_the_environment_names_a_backend(self):
        for value, module in (("chroot", "chroot"), ("linux-user-chroot", "linux_user_chroot")):
            with mock.patch.dict(os.environ, SANDBOXLIB_BACKEND=value):
                self.assertIs(sandboxlib.executor_for_platform(), getattr(sandboxlib, module))
        for value in ("nonesuch", "utils", "Chroot", "chroot ", ""):
            with mock.patch.dict(os.environ, SANDBOXLIB_BACKEND=value):
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    self.assertIs(sandboxlib.executor_for_platform(), sandboxlib.userns)
            self.assertEqual(
                [(w.category, str(w.message)) for w in caught],
                [
                    (
                        UserWarning,
                        "SANDBOXLIB_BACKEND environment variable is set to an invalid value %s." % value,
                    )
                ],
            )

    def test_which_backend_is_preferred(self):
        environment = {n: v for n, v in os.environ.items() if n != "SANDBOXLIB_BACKEND"}
        programs = self.directory()
        environment["PATH"] = programs

        def best():
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                return sandboxlib.executor_for_platform()

        with mock.patch.dict(os.environ, environment, clear=True):
            self.assertIs(best(), sandboxlib.userns)
            # Where there are no user namespaces it is the first whose program is in PATH.
            refused = mock.Mock(side_effect=sandboxlib.UnsupportedError("no"))
            with mock.patch.object(sandboxlib._native, "prepare", refused):
                self.assertIs(best(), sandboxlib.chroot)
                for program, module in (
                    ("linux-user-chroot", sandboxlib.linux_user_chroot),
                    ("bwrap", sandboxlib.bubblewrap),
                ):
                    with open(os.path.join(programs, program), "w") as file:
                        os.fchmod(file.fileno(), 0o755)
                    self.assertIs(best(), module)

    def test_capabilities(self):
        self.assertEqual(
            sandboxlib.chroot.CAPABILITIES,
            {
                "mounts": ["undefined"],
                "network": ["undefined"],
                "filesystem_writable_paths": ["all"],
            },
        )
        for name in BACKENDS[1:]:
            self.assertEqual(
                getattr(sandboxlib, name).CAPABILITIES["network"], ["isolated", "undefined"]
            )

    def test_degrade(self):
        config = {
            "mounts": "isolated",
            "network": "isolated",
            "filesystem_writable_paths": ["/a"],
            "other": 1,
        }
        before = dict(config)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            degraded = sandboxlib.chroot.degrade_config_for_capabilities(config)
        self.assertEqual({w.category for w in caught}, {UserWarning})
        self.assertEqual(
            sorted(str(w.message) for w in caught),
            [
                "Unable to set filesystem_writable_paths=['/a'] in a chroot sandbox, "
                "falling back to filesystem_writable_paths=all",
                "Unable to set mounts=isolated in a chroot sandbox, falling back to mounts=undefined",
                "Unable to set network=isolated in a chroot sandbox, "
                "falling back to network=undefined",
            ],
        )
        self.assertEqual(
            degraded,
            {
                "mounts": "undefined",
                "network": "undefined",
                "filesystem_writable_paths": "all",
                "other": 1,
            },
        )
        self.assertEqual(config, before)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            again = sandboxlib.chroot.degrade_config_for_capabilities(config, warn=False)
            self.assertEqual(again, degraded)
            self.assertEqual(sandboxlib.chroot.degrade_config_for_capabilities({}), {})
        for name in BACKENDS[1:]:
            module = getattr(sandboxlib, name)
            self.assertIs(module.degrade_config_for_capabilities(config), config)

    def test_mount_entries(self):
        check = sandboxlib.validate_extra_mounts
        self.assertEqual(check(None), [])
        self.assertEqual(check([("a", "b", "c")]), [["a", "b", "c", ""]])
        self.assertEqual(check([(None, "b", None, None)]), [["", "b", "", ""]])
        for bad in (("a", "b"), ["a", "b"], ("a", "b", "c", "d", "e")):
            with self.assertRaises(AssertionError) as caught:
                check([bad])
            self.assertEqual(
                str(caught.exception), "Invalid mount entry in 'extra_mounts': %s" % (bad,)
            )
        for bad in ([None, None, "proc"], ("tmpfs", "", "tmpfs")):
            with self.assertRaises(AssertionError) as caught:
                check([bad])
            self.assertEqual(str(caught.exception), "Mount point empty in mount entry %s" % (bad,))

    def test_utils(self):
        self.assertEqual(sandboxlib.utils.find_program("sh"), shutil.which("sh"))
        with self.assertRaises(sandboxlib.ProgramNotFound) as caught:
            sandboxlib.utils.find_program("nonesuch")
        self.assertIn("Did not find 'nonesuch' in PATH", str(caught.exception))
        self.assertIsNone(sandboxlib.utils.check_parameter("n", "a", ["a"]))
        self.assertEqual(sandboxlib.utils.find_program("/bin/sh"), "/bin/sh")
        with self.assertRaises(AssertionError) as caught:
            sandboxlib.utils.check_parameter("name", "v", ["a", "b"])
        self.assertEqual(
            str(caught.exception),
            "'v' is an unsupported value for 'name' in this backend. Supported values: a, b",
        )
        with mock.patch.dict(os.environ, PATH="/nonesuch:/other"):
            with self.assertRaises(sandboxlib.ProgramNotFound) as caught:
                sandboxlib.utils.find_program("sh")
        self.assertEqual(
            str(caught.exception), "Did not find 'sh' in PATH. Searched '/nonesuch:/other'"
        )
        self.assertEqual(sandboxlib.argv_to_string(["a b", "c"]), "'a b' c")

    def test_a_missing_helper_is_told(self):
        with mock.patch.dict(os.environ, PATH="/nonesuch"):
            for name in ("bubblewrap", "linux_user_chroot"):
                module = getattr(sandboxlib, name)
                self.assertRaises(sandboxlib.ProgramNotFound, module.run_sandbox, ["true"])
                run = module.run_sandbox_with_redirection
                self.assertRaises(sandboxlib.ProgramNotFound, run, ["true"])
                # Whatever else is wrong.
                wrong = {"mounts": "bogus", "extra_mounts": [["a"]]}
                self.assertRaises(sandboxlib.ProgramNotFound, module.run_sandbox, [], **wrong)
                self.assertRaises(sandboxlib.ProgramNotFound, getattr(module, PROGRAMS[name]))

    def test_keys_that_nobody_knows_are_no_matter_of_degrading(self):
        config = {"cwd": "/x", "bogus": None}
        for name in BACKENDS:
            module = getattr(sandboxlib, name)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                self.assertEqual(module.degrade_config_for_capabilities(config), config)


class Runs:
    """What every backend does. ``backend`` is its module."""

    backend = None
    #: The status of a command that SIGKILL ended, which helpers tell in their own ways.
    killed = -9

    def fails(self, exception, run):
        """``run`` raises this; linux-user-chroot says 1, whatever it is."""
        self.assertRaises(exception, run)

    def run_in(self, root, command, **config):
        if isinstance(command, str):
            command = ["sh", "-c", command]
        config.setdefault("env", PATH)
        return self.backend.run_sandbox(command, filesystem_root=root, **config)

    def test_exit_out_and_err(self):
        root = self.busybox_root()
        self.assertEqual(
            self.run_in(root, "echo a; echo b >&2; exit 3"), (3, b"a\n", b"b\n")
        )
        self.assertEqual(self.run_in(root, "kill -9 $$")[0], self.killed)

    def test_streams(self):
        root = self.busybox_root()
        both = "echo a; echo b >&2"
        run = self.run_in
        self.assertEqual(run(root, both, stdout=None, stderr=None), (0, None, None))
        self.assertEqual(run(root, both, stderr=sandboxlib.STDOUT), (0, b"a\nb\n", None))
        self.assertEqual(run(root, both, stderr=None), (0, b"a\n", None))
        with tempfile.TemporaryFile() as file:
            self.assertEqual(run(root, both, stdout=file, stderr=sandboxlib.STDOUT), (0, None, None))
            file.seek(0)
            self.assertEqual(file.read(), b"a\nb\n")

    def test_types(self):
        root = self.busybox_root()
        exit, out, err = self.run_in(root, "printf '\\377'")
        self.assertEqual((type(exit), type(out), type(err)), (int, bytes, bytes))
        self.assertEqual((exit, out, err), (0, b"\xff", b""))
        status = self.backend.run_sandbox_with_redirection(
            ["sh", "-c", "exit 7"], filesystem_root=root, env=PATH
        )
        self.assertEqual((type(status), status), (int, 7))
        self.assertEqual(self.run_in(root, ("echo", "a"))[1], b"a\n")

    def test_arguments_by_position(self):
        root = self.busybox_root()
        run = self.backend.run_sandbox
        words = ["sh", "-c", "pwd; echo $A >&2"]
        env = {"A": "b", **PATH}
        args = (words, "data", env, root, "all", "undefined", None, "undefined")
        self.assertEqual(run(*args), (0, b"/data\n", b"b\n"))
        self.assertEqual(run(*args, None), (0, None, b"b\n"))
        self.assertEqual(run(*args, sandboxlib.CAPTURE, None), (0, b"/data\n", None))

    def test_a_stream_of_none_is_nowhere_and_not_the_callers(self):
        root = self.busybox_root()
        program = (
            "import sys, sandboxlib\n"
            "executor = sandboxlib.get_executor(%r)\n"
            "words = ['sh', '-c', 'echo seen; echo seen >&2']\n"
            "config = dict(filesystem_root=%r, env=%r, stdout=None, stderr=None)\n"
            "print(executor.run_sandbox(words, **config))\n"
            "print(executor.run_sandbox_with_redirection(words, **config))\n"
        ) % (self.backend.__name__.split(".")[1], root, PATH)
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        self.assertEqual((done.stdout, done.stderr), ("(0, None, None)\n0\n", ""))

    def test_where_output_goes(self):
        root = self.busybox_root()
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            # Files, descriptors, and one of each.
            both = "echo a; echo b >&2"
            self.assertEqual(self.run_in(root, both, stdout=out, stderr=err), (0, None, None))
            status = self.run_in(root, both, stdout=out.fileno(), stderr=sandboxlib.CAPTURE)
            self.assertEqual(status, (0, None, b"b\n"))
            for file, wanted in ((out, b"a\na\n"), (err, b"b\n")):
                file.seek(0)
                self.assertEqual(file.read(), wanted)
        with self.assertRaises(io.UnsupportedOperation):
            self.run_in(root, ["true"], stdout=io.BytesIO())

    def test_a_source_may_be_none_and_the_fourth_left_out(self):
        root = self.busybox_root()
        mounts = [(None, "/dev/shm", "tmpfs"), [None, "proc", "proc", None]]
        exit, out, err = self.run_in(
            root, "echo x > /dev/shm/x; cat /dev/shm/x; ls -d /proc/self", extra_mounts=mounts
        )
        self.assertEqual((exit, out, err), (0, b"x\n/proc/self\n", b""))

    def test_a_wrong_mount_is_told_by_its_words(self):
        root = self.busybox_root()
        for entry, words in (
            (["proc", None, "tmpfs"], "Mount point empty in mount entry ['proc', None, 'tmpfs']"),
            (["proc"], "Invalid mount entry in 'extra_mounts': ['proc']"),
        ):
            with self.assertRaises(AssertionError) as caught:
                self.run_in(root, ["true"], extra_mounts=[entry])
            self.assertEqual(str(caught.exception), words)

    def test_redirection_returns_the_status_alone(self):
        root = self.busybox_root()
        run = self.backend.run_sandbox_with_redirection
        with tempfile.TemporaryFile() as file:
            status = run(
                ["sh", "-c", "-e", "echo log; exit 4"],
                stdout=file,
                stderr=sandboxlib.STDOUT,
                env=PATH,
                filesystem_root=root,
            )
            file.seek(0)
            self.assertEqual((status, file.read()), (4, b"log\n"))

    def test_a_string_is_one_word(self):
        root = self.busybox_root()
        self.assertEqual(self.run_in(root, ["pwd"])[1], b"/\n")
        self.assertEqual(self.backend.run_sandbox("pwd", filesystem_root=root, env=PATH)[1], b"/\n")
        self.fails(FileNotFoundError, lambda: self.run_in(root, ["echo a"]))

    def test_the_environment_is_replaced_or_inherited(self):
        root = self.busybox_root()
        out = self.run_in(root, ["env"], env={"A": "b", **PATH})[1]
        # bwrap sets PWD, whatever it is asked.
        said = sorted(set(out.split()) - {b"PWD=/"})
        self.assertEqual(said, [b"A=b", b"PATH=/bin:/usr/bin"])
        with mock.patch.dict(os.environ, SEEN="yes", PATH="/bin:" + os.environ["PATH"]):
            self.assertIn(b"SEEN=yes", self.run_in(root, ["env"], env=None)[1])

    def test_cwd_is_inside_and_may_be_relative_to_the_root(self):
        root = self.busybox_root()
        for cwd in ("data/below", "/data/below"):
            self.assertEqual(self.run_in(root, ["pwd"], cwd=cwd)[1], b"/data/below\n")
        self.fails(RuntimeError, lambda: self.run_in(root, ["pwd"], cwd="/nonesuch"))

    def test_a_root_that_is_not_there(self):
        with self.assertRaises(RuntimeError):
            self.run_in("/nonesuch", ["true"])

    def test_unsupported_values(self):
        root = self.busybox_root()
        for wrong in (
            {"mounts": "bogus"},
            {"network": "bogus"},
            {"filesystem_writable_paths": "bogus"},
            {"extra_mounts": [("a", "/b", "ext4")]},
            {"extra_mounts": [("a", "/b")]},
        ):
            with self.assertRaises(AssertionError):
                self.run_in(root, ["true"], **wrong)

    def test_the_caller_has_no_mount_and_no_open_file_inside(self):
        root = self.busybox_root()
        read, write = os.pipe()
        os.set_inheritable(write, True)
        self.addCleanup(os.close, read)
        self.addCleanup(os.close, write)
        with open("/proc/self/mountinfo") as file:
            before = file.read()
        exit, out, err = self.run_in(
            root,
            "ls /proc/self/fd; ls /mnt/here",
            extra_mounts=[("proc", "/proc", "proc"), (self.source(), "/mnt/here", None, "bind")],
        )
        fds, _, names = out.partition(b"3\n")
        self.assertEqual((exit, fds.split(), names, err), (0, [b"0", b"1", b"2"], b"there\n", b""))
        with open("/proc/self/mountinfo") as file:
            self.assertEqual(file.read(), before)

    def source(self):
        source = self.directory()
        open(os.path.join(source, "there"), "w").close()
        return source

    def test_extra_mounts(self):
        root = self.busybox_root()
        source = self.source()
        mounts = [
            ("tmpfs", "/dev/shm", "tmpfs"),
            (source, "in", "", "bind"),
            (source, "/ro", None, "bind"),
            (None, "/ro", None, "remount,ro"),
        ]
        exit, out, err = self.run_in(
            root, "touch /dev/shm/x /in/new && echo fine; touch /ro/new", extra_mounts=mounts
        )
        self.assertEqual((exit, out), (1, b"fine\n"))
        self.assertIn(b"Read-only", err)
        self.assertTrue(os.path.exists(os.path.join(source, "new")))
        self.assertTrue(os.path.isdir(os.path.join(root, "dev/shm")))
        self.assertEqual(os.listdir(os.path.join(root, "dev/shm")), [])


class Isolates(Runs):
    """What every backend but chroot does besides."""

    def test_writable_paths(self):
        root = self.busybox_root()
        touch = "for f in /etc /data /data/below; do touch $f/x && echo $f; done"
        for value, wanted in (
            ("all", b"/etc\n/data\n/data/below\n"),
            ("none", b""),
            (None, b""),
            ([], b""),
            (["data"], b"/data\n/data/below\n"),
            (["/data/below"], b"/data/below\n"),
            (["nonesuch", "/dev", "/proc", "data/below"], b"/data/below\n"),
        ):
            out = self.run_in(root, touch, filesystem_writable_paths=value)[1]
            self.assertEqual(out, wanted, value)

    def test_network(self):
        root = self.busybox_root()
        proc = [("proc", "/proc", "proc")]
        out = self.run_in(root, "cat /proc/net/dev", network="isolated", extra_mounts=proc)[1]
        self.assertEqual([line.split(b":")[0].strip() for line in out.splitlines()[2:]], [b"lo"])
        out = self.run_in(root, "cat /proc/net/dev", extra_mounts=proc)[1]
        with open("/proc/net/dev", "rb") as file:
            self.assertEqual(out.count(b"\n"), file.read().count(b"\n"))


class Chroot(*([Runs] if IS_ROOT else []), TestCase):
    """For root. What an ordinary user gets is said below."""

    backend = sandboxlib.chroot

    def test_isolation_is_refused(self):
        for wrong in (
            {"network": "isolated"},
            {"mounts": "isolated"},
            {"filesystem_writable_paths": ["/a"]},
        ):
            with self.assertRaises(AssertionError):
                sandboxlib.chroot.run_sandbox(["true"], **wrong)


class ChrootWithoutRoot(TestCase):
    def test_an_ordinary_user_is_told(self):
        if IS_ROOT:
            return  # Root's half has the class above.
        with self.assertRaises(RuntimeError) as caught:
            sandboxlib.chroot.run_sandbox(["true"])
        self.assertIn("Unable to chroot: [Errno 1]", str(caught.exception))


class Userns(Isolates, TestCase):
    backend = sandboxlib.userns

    def test_root_can_give_files_away(self):
        if not IS_ROOT:
            return  # Nobody else ever could.
        root = self.busybox_root()
        out = self.run_in(root, "chown 1234:567 /data && stat -c %u:%g /data")[1]
        self.assertEqual(out, b"1234:567\n")
        self.assertEqual(os.stat(os.path.join(root, "data")).st_uid, 1234)

    def test_nothing_that_was_left_running_lives_on(self):
        from support import find

        root = self.busybox_root()
        self.assertEqual(self.run_in(root, "sleep 7654 & echo left")[1], b"left\n")
        self.assertEqual(find("sleep\0007654"), [])


class Bubblewrap(Isolates, TestCase):
    backend = sandboxlib.bubblewrap
    killed = 128 + 9

    def fails(self, exception, run):
        with self.assertRaises(RuntimeError) as caught:
            run()
        self.assertIn("bwrap: ", str(caught.exception))

    def setUp(self):
        if not shutil.which("bwrap"):
            self.skipTest("no bwrap (package bubblewrap)")


class LinuxUserChroot(Isolates, TestCase):
    """By the program of this repository, which `cargo xtask test` builds, as an ordinary user or
    root: it needs no set-user-id bit."""

    backend = sandboxlib.linux_user_chroot
    killed = 1

    def fails(self, exception, run):
        status, _, err = run()
        self.assertEqual(status, 1)
        self.assertIn(b"linux-user-chroot: ", err)

    def test_no_mount_point_is_made_behind_a_link(self):
        root, outside = self.busybox_root(), self.directory()
        os.symlink(outside, os.path.join(root, "link"))
        try:
            self.run_in(root, ["true"], extra_mounts=[("tmpfs", "/link/made", "tmpfs")])
        except sandboxlib.SandboxError:
            pass
        self.assertEqual(os.listdir(outside), [])

    def setUp(self):
        ours = os.environ.get("RUN_SANDBOX")
        ours = ours and os.path.dirname(ours)
        if not ours or not os.path.exists(os.path.join(ours, "linux-user-chroot")):
            self.skipTest("no linux-user-chroot beside RUN_SANDBOX")
        path = ours + os.pathsep + os.environ["PATH"]
        patch = mock.patch.dict(os.environ, PATH=path)
        patch.start()
        self.addCleanup(patch.stop)


class AppContainers(TestCase):
    MANIFEST = {
        "acKind": "ImageManifest",
        "acVersion": "0.8.11",
        "name": "example.com/app",
        "labels": [{"name": "os", "value": "linux"}, {"name": "arch", "value": "amd64"}],
    }

    def image(self, entries, mode="w"):
        path = os.path.join(self.directory(), "app.aci")
        with tarfile.open(path, mode) as archive:
            for name, content in entries:
                entry = tarfile.TarInfo(name)
                if content is None:
                    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                    archive.addfile(entry)
                else:
                    entry.size = len(content)
                    archive.addfile(entry, io.BytesIO(content))
        return path

    def test_an_image_is_there_for_as_long_as_the_context(self):
        appc = sandboxlib.load.appc
        manifest = json.dumps(self.MANIFEST).encode()
        entries = [("manifest", manifest), ("rootfs", None), ("rootfs/file", b"hello")]
        for mode in ("w", "w:gz", "w:bz2", "w:xz"):
            path = self.image(entries, mode)
            self.assertTrue(appc.is_app_container_image(path))
            with appc.unpack_app_container_image(path) as (rootfs, told):
                self.assertEqual(told, self.MANIFEST)
                with open(os.path.join(rootfs, "file"), "rb") as file:
                    self.assertEqual(file.read(), b"hello")
            self.assertFalse(os.path.exists(rootfs))
        self.assertFalse(appc.is_app_container_image("x.tar"))
        self.assertIn("PATH", appc.BASE_ENVIRONMENT)

    def test_what_is_no_image_is_an_error_and_leaves_nothing(self):
        unpack = sandboxlib.load.appc.unpack_app_container_image
        with self.assertRaises(FileNotFoundError):
            unpack("/nonesuch.aci").__enter__()
        outside = os.path.join(self.directory(), "outside")
        manifest = json.dumps(self.MANIFEST).encode()
        climbing = os.path.relpath(outside, "/tmp/xxxxxxxx/rootfs")
        for entries in (
            [("rootfs", None)],
            [("manifest", b"{x"), ("rootfs", None)],
            [("manifest", manifest), ("rootfs", None), ("rootfs/" + climbing, b"out")],
        ):
            with self.assertRaises((ValueError, OSError)):
                unpack(self.image(entries)).__enter__()
        self.assertFalse(os.path.exists(outside))


if __name__ == "__main__":
    unittest.main()
