"""Sandboxes for commands."""

import asyncio
import errno
import gc
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time
import unittest

import sandboxlib
from sandboxlib import Limits, Mount, Sandbox
from support import PATH, TestCase, find


def sh(script):
    return ["sh", "-c", script]


class Run(TestCase):
    def setUp(self):
        self.sandbox = Sandbox("/")

    def test_it_is_a_completed_process_with_more(self):
        result = self.sandbox.run(sh("echo out; echo err >&2; exit 3"), capture_output=True, text=True)
        self.assertIsInstance(result, subprocess.CompletedProcess)
        self.assertEqual((result.returncode, result.stdout, result.stderr), (3, "out\n", "err\n"))
        self.assertIsNone(result.limit)
        self.assertGreater(result.usage.wall, 0)
        self.assertGreater(result.usage.peak_memory, 0)
        self.assertEqual(result.enforcement.backend, "userns")
        self.assertIn("network", result.enforcement.enforced)
        self.assertTrue(result.enforcement.kills_everything)

    def test_input_is_written_while_output_is_read(self):
        text = "0123456789" * 200_000
        result = self.sandbox.run(["cat"], input=text, capture_output=True, text=True)
        self.assertEqual(result.stdout, text)
        # Nobody has to read it.
        self.assertEqual(self.sandbox.run(["true"], input=text).returncode, 0)

    def test_signals_are_negative(self):
        self.assertEqual(self.sandbox.run(sh("kill -TERM $$")).returncode, -signal.SIGTERM)

    def test_check(self):
        with self.assertRaises(subprocess.CalledProcessError) as caught:
            self.sandbox.run(sh("echo a; exit 2"), capture_output=True, check=True)
        self.assertEqual((caught.exception.returncode, caught.exception.stdout), (2, b"a\n"))
        self.assertIsInstance(caught.exception, sandboxlib.SandboxError)

    def test_a_timeout_raises_and_a_limit_tells(self):
        began = time.monotonic()
        with self.assertRaises(subprocess.TimeoutExpired) as caught:
            self.sandbox.run(sh("echo a; sleep 8765"), capture_output=True, timeout=0.3)
        self.assertEqual(caught.exception.output, b"a\n")
        self.assertEqual(caught.exception.result.limit, "wall")
        result = Sandbox("/", limits={"wall": 0.3}).run(["sleep", "8765"])
        self.assertEqual((result.limit, result.returncode), ("wall", -9))
        self.assertLess(time.monotonic() - began, 60)
        self.assertEqual(find("sleep\0008765"), [])

    def test_limits_name_what_held_them(self):
        limits = Limits(memory=64 << 20, output=1000, processes=50)
        sandbox = Sandbox("/", limits=limits)
        self.assertEqual(set(sandbox.check().limits), {"memory", "output", "processes"})
        result = sandbox.run(sh("while :; do echo 0123456789; done"), capture_output=True)
        self.assertEqual((result.limit, len(result.stdout)), ("output", 1000))
        big = "python3 -c 'x = bytearray(10**9); import time; time.sleep(60)'"
        result = sandbox.run(sh(big), capture_output=True, env={"PATH": "/usr/bin:/bin"})
        self.assertEqual(result.limit, "memory", result)
        with self.assertRaises(sandboxlib.ConfigError):
            sandbox.run(["true"])  # Nobody reads it, so nobody holds the limit of output.

    def test_the_host_is_out_of_reach(self):
        mine = self.directory()
        pathlib.Path(mine, "secret").write_text("x")
        script = "ls -A /home /root; cat %s/secret; touch /etc/new; cat /proc/net/dev" % mine
        result = self.sandbox.run(sh(script), capture_output=True, text=True)
        self.assertIn("No such file", result.stderr)
        self.assertIn("Read-only file system", result.stderr)
        self.assertEqual(result.stdout.splitlines()[0], "/home:")
        self.assertEqual([l.split(":")[0].strip() for l in result.stdout.splitlines()[-1:]], ["lo"])
        self.assertFalse(os.path.exists("/etc/new"))

    def test_mounts_and_writable(self):
        mine = pathlib.Path(self.directory())
        (mine / "file").write_text("mine")
        sandbox = Sandbox(
            "/",
            mounts=[
                Mount.bind(mine, "/tmp/rw", writable=True),
                Mount.bind(os.fsencode(mine), b"/tmp/ro"),
                Mount.file("data\n", "/tmp/data"),
                Mount.symlink("data", "/tmp/link"),
                Mount.tmpfs("/tmp/small", size=4096),
                Mount.mask("/etc/passwd"),
            ],
        )
        script = (
            "cat /tmp/link /tmp/ro/file; echo new >/tmp/rw/new; echo x >/tmp/ro/x; "
            "cat /etc/passwd; head -c 99999 /dev/zero >/tmp/small/x"
        )
        result = sandbox.run(sh(script), capture_output=True, text=True)
        self.assertEqual(result.stdout, "data\nmine")
        self.assertEqual((mine / "new").read_text(), "new\n")
        for said in ("Read-only", "Permission denied", "No space"):
            self.assertIn(said, result.stderr)
        writable = Sandbox("/", writable=[mine])
        self.assertEqual(writable.run(["touch", mine / "more"]).returncode, 0)
        self.assertTrue((mine / "more").exists())

    def test_root_is_a_directory(self):
        root = self.busybox_root()
        sandbox = Sandbox(pathlib.Path(root), env=PATH, cwd="/data")
        self.assertEqual(sandbox.run(["pwd"], capture_output=True).stdout, b"/data\n")
        self.assertEqual(sandbox.run(["touch", "x"]).returncode, 0)
        self.assertTrue(os.path.exists(os.path.join(root, "data/x")))
        closed = Sandbox(root, env=PATH, writable=False)
        self.assertEqual(closed.run(["touch", "/data/y"], stderr=subprocess.DEVNULL).returncode, 1)

    def test_bytes_that_are_no_text_pass(self):
        odd = b"\xff\xfe"
        result = self.sandbox.run([b"printf", b"%s", odd], capture_output=True, env={b"X": odd})
        self.assertEqual(result.stdout, odd)
        result = self.sandbox.run(["printenv", "X"], capture_output=True, env={b"X": odd})
        self.assertEqual(result.stdout, odd + b"\n")
        self.assertEqual(
            self.sandbox.run(["printf", "a\\r\\nb"], capture_output=True, text=True).stdout, "a\nb"
        )

    def test_the_environment_is_empty_and_files_are_passed_by_number(self):
        self.assertEqual(self.sandbox.run(["/usr/bin/env"], capture_output=True).stdout, b"")
        read, write = os.pipe()
        self.addCleanup(os.close, read)
        with os.fdopen(write, "wb"):
            done = self.sandbox.run(sh("echo here >&5; ls /proc/self/fd >&5"), pass_fds={write: 5})
        self.assertEqual(done.returncode, 0)
        self.assertEqual(os.read(read, 100).split()[:5], [b"here", b"0", b"1", b"2", b"3"])
        with self.assertRaises(OSError) as caught:
            self.sandbox.run(["true"], pass_fds=[9999])
        self.assertEqual(caught.exception.errno, errno.EBADF)

    def test_ids(self):
        run = Sandbox("/", user=(12, 34)).run(["id", "-u"], capture_output=True)
        self.assertEqual(run.stdout, b"12\n")
        run = Sandbox("/", user="root", hostname="box").run(sh("id -g; hostname"), capture_output=True)
        self.assertEqual(run.stdout, b"0\nbox\n")

    def test_a_prepared_sandbox_runs_from_many_threads(self):
        prepared = self.sandbox.prepare()
        got = []

        def work(number):
            got.append(prepared.run(["echo", str(number)], capture_output=True, text=True).stdout)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(sorted(got), sorted("%d\n" % n for n in range(16)))

    def test_the_interpreter_goes_on_while_a_command_runs(self):
        turns = []
        done = threading.Event()

        def count():
            while not done.is_set():
                turns.append(None)
                time.sleep(0.01)

        thread = threading.Thread(target=count)
        thread.start()
        self.sandbox.run(["sleep", "1"])
        done.set()
        thread.join()
        self.assertGreater(len(turns), 5)


class Warm(TestCase):
    """Sandboxes that stand ready."""

    def warm(self, count, **config):
        prepared = Sandbox("/", **config).prepare()
        prepared.warm(count)
        self.until(lambda: prepared.warmed == count)
        return prepared

    def until(self, true):
        for _ in range(400):
            if true():
                return
            time.sleep(0.05)
        self.fail("it does not come to that")

    def taken(self, prepared, run):
        """Runs something in a sandbox that stood ready, which the count of them tells."""
        self.until(lambda: prepared.warmed)
        before = parked()
        result = run()
        # What is left of one that was used is buried when there is time.
        self.until(lambda: not before <= parked())
        return result

    def test_a_run_sees_nothing_of_an_earlier_one(self):
        prepared = self.warm(1)
        script = (
            "ls -A /tmp /dev/shm /home; cat /proc/sys/kernel/hostname; echo $$; id -u; "
            "echo secret | tee /tmp/left /dev/shm/left /home/left >/dev/null 2>&1; sleep 3456 &"
        )
        seen = [
            self.taken(
                prepared, lambda: prepared.run(sh(script), stdout=-1, stderr=-1, text=True).stdout
            )
            for _ in range(4)
        ]
        self.assertEqual(seen, [seen[0]] * 4)
        # What stood ready is as it is where nothing does.
        cold = Sandbox("/").prepare()
        self.assertEqual(cold.run(sh(script), stdout=-1, stderr=-1, text=True).stdout, seen[0])
        self.until(lambda: not find("sleep\0003456"))

    def test_more_runs_than_stand_ready(self):
        prepared = self.warm(2)
        processes = [prepared.popen(["cat"], stdin=-1, stdout=-1) for _ in range(6)]
        for number, process in enumerate(processes):
            with process:
                word = b"%d" % number
                self.assertEqual(process.communicate(word), (word, None))
        self.until(lambda: prepared.warmed == 2)
        for _ in range(8):
            self.assertEqual(prepared.run(["true"], capture_output=True).returncode, 0)

    def test_what_holds_is_what_holds_of_one_that_is_made_for_the_run(self):
        limits = Limits(wall=0.5, memory=64 << 20, processes=30, open_files=40, output=4000)
        config = {"limits": limits, "hostname": "warm", "mounts": [Mount.file("x", "/tmp/file")]}
        prepared = self.warm(1, **config)
        cold = Sandbox("/", **config).prepare()
        self.assertEqual(prepared.enforcement, cold.enforcement)
        script = "grep -E 'Cap|NoNewPrivs|Seccomp' /proc/self/status; ulimit -n; hostname; ls /tmp"
        for command, limit in (
            (sh(script), None),
            (sh("sleep 2345"), "wall"),
            (sh("while :; do echo 0123456789; done"), "output"),
        ):

            def run(of):
                return of.run(command, capture_output=True, env={"PATH": "/usr/bin:/bin"})

            warm, told = self.taken(prepared, lambda: run(prepared)), run(cold)
            self.assertEqual(warm.limit, limit)
            self.assertEqual(
                (warm.limit, warm.returncode, warm.stdout, warm.stderr),
                (told.limit, told.returncode, told.stdout, told.stderr),
            )
            self.assertIsNotNone(warm.usage.peak_memory)
        # A limit of the run alone.
        with self.assertRaises(subprocess.TimeoutExpired):
            self.warm(1).run(["sleep", "2345"], capture_output=True, timeout=0.2)
        self.until(lambda: not find("sleep\0002345"))

    def test_its_time_begins_when_the_command_does(self):
        prepared = self.warm(1, limits={"wall": 1})
        time.sleep(1.2)
        result = self.taken(prepared, lambda: prepared.run(["true"], capture_output=True))
        self.assertEqual((result.limit, result.returncode), (None, 0))
        self.assertLess(result.usage.wall, 1)

    def test_they_end_with_what_keeps_them(self):
        # Another test may have left some that are about to go.
        self.until(lambda: not parked())
        with Sandbox("/").prepare() as prepared:
            prepared.warm(2)
            self.until(lambda: prepared.warmed == 2)
            self.assertEqual(len(parked()), 2)
            prepared.warm(1)
            self.until(lambda: prepared.warmed == 1 and len(parked()) == 1)
            prepared.warm(0)
            self.assertEqual((prepared.warmed, parked()), (0, set()))
            prepared.warm(1)
        self.assertEqual((prepared.warmed, parked()), (0, set()))
        # It goes on, with sandboxes that are made for each run.
        self.assertEqual(prepared.run(["true"]).returncode, 0)
        other = self.warm(1)
        self.assertEqual(len(parked()), 1)
        del other
        gc.collect()
        self.assertEqual(parked(), set())

    def test_they_end_with_a_killed_caller(self):
        program = (
            "import sandboxlib\n"
            "prepared = sandboxlib.Sandbox('/').prepare()\n"
            "prepared.warm(1)\n"
            "print(prepared.warmed, flush=True)\n"
            "input()\n"
        )
        words = [sys.executable, "-c", program]
        with subprocess.Popen(words, stdin=-1, stdout=-1, text=True) as caller:
            self.assertEqual(caller.stdout.readline(), "1\n")
            (init,) = parked(caller.pid)
            caller.kill()
        self.until(lambda: not os.path.exists("/proc/%d" % init))

    def test_async(self):
        prepared = self.warm(2)

        async def main():
            runs = [
                prepared.run_async(["cat"], input=str(n), capture_output=True, text=True)
                for n in range(6)
            ]
            return [result.stdout for result in await asyncio.gather(*runs)]

        before = parked()
        self.assertEqual(asyncio.run(main()), [str(n) for n in range(6)])
        self.until(lambda: not before & parked())

    def test_errors_are_the_same(self):
        prepared = self.warm(1)
        for _ in range(2):
            self.until(lambda: prepared.warmed)
            with self.assertRaises(FileNotFoundError) as caught:
                prepared.run(["nonesuch"], capture_output=True)
            self.assertIn("find the command", caught.exception.step)
        with self.assertRaises(sandboxlib.WorkingDirectoryError):
            prepared.run(["true"], capture_output=True, cwd="/nonesuch")
        self.assertEqual(prepared.run(["true"], capture_output=True).returncode, 0)

    def test_who_starts_a_helper_has_none(self):
        if not shutil.which("bwrap"):
            self.skipTest("no bwrap (package bubblewrap)")
        sandbox = Sandbox("/", backends="bubblewrap", prefer=["host-secrets"])
        with sandbox.prepare() as prepared:
            with self.assertRaises(sandboxlib.SandboxError):
                prepared.warm(1)
            self.assertEqual(prepared.warmed, 0)


def parked(caller=None):
    """The init programs that are children of this process (or of another), each of which has no
    child: the sandboxes that stand ready."""
    found = set()
    for task in os.listdir("/proc/%s/task" % (caller or "self")):
        try:
            with open("/proc/%s/task/%s/children" % (caller or "self", task)) as file:
                children = file.read().split()
            for child in children:
                with open("/proc/%s/task/%s/children" % (child, child)) as file:
                    if not file.read().split():
                        found.add(int(child))
        except OSError:
            pass  # It has ended meanwhile.
    return found


class Errors(TestCase):
    def test_a_command_that_is_not_there(self):
        with self.assertRaises(FileNotFoundError) as caught:
            Sandbox("/").run(["nonesuch"])
        error = caught.exception
        self.assertIsInstance(error, sandboxlib.SandboxError)
        self.assertEqual((error.errno, error.filename, error.started), (errno.ENOENT, "nonesuch", False))
        self.assertIn("find the command", error.step)
        self.assertRaises(PermissionError, Sandbox("/").run, ["/etc/passwd"])

    def test_a_working_directory_that_is_not_there_hints_at_what_is_hidden(self):
        mine = os.path.realpath(self.directory())
        with self.assertRaises(sandboxlib.WorkingDirectoryError) as caught:
            Sandbox("/", usual_mounts=False).run(["true"], cwd=mine)
        error = caught.exception
        self.assertEqual((error.errno, error.filename), (errno.ENOENT, mine))
        self.assertTrue(any("readable" in hint for hint in error.hints), error.hints)
        self.assertIn("hint: ", str(error))

    def test_what_cannot_be_enforced_is_refused(self):
        with self.assertRaises(sandboxlib.UnsupportedError) as caught:
            Sandbox("/", backends=["chroot"]).prepare()
        self.assertTrue(str(caught.exception))
        self.assertRaises(sandboxlib.ConfigError, Sandbox("/", backends="nonesuch").prepare)
        self.assertRaises(ValueError, Sandbox("/", mounts=[Mount.bind("/etc", "/a/../b")]).prepare)
        self.assertRaises(ValueError, Sandbox("/", seccomp="bogus").prepare)
        self.assertRaises(ValueError, Sandbox("/", prefer=["bogus"]).prepare)
        self.assertRaises(sandboxlib.SandboxError, Sandbox("/nonesuch").run, ["true"])
        self.assertRaises(TypeError, Sandbox, "/", limits={"bogus": 1})
        self.assertRaises(ValueError, Sandbox("/").run, [])

    def test_exceptions_are_what_they_say(self):
        error = sandboxlib.CommandNotFoundError("words", errno.ENOENT, "name")
        self.assertEqual((error.errno, error.filename, str(error)), (errno.ENOENT, "name", "words"))


class Processes(TestCase):
    def setUp(self):
        self.sandbox = Sandbox("/")

    def test_popen_talks(self):
        with self.sandbox.popen(["cat"], stdin=-1, stdout=-1, text=True) as process:
            process.stdin.write("hello\n")
            process.stdin.flush()
            self.assertEqual(process.stdout.readline(), "hello\n")
            self.assertIsNone(process.poll())
        self.assertEqual(process.returncode, 0)
        self.assertEqual(process.result.limit, None)

    def test_communicate(self):
        process = self.sandbox.popen(sh("cat; echo err >&2"), stdin=-1, stdout=-1, stderr=-1)
        self.assertEqual(process.communicate(b"in" * 100_000), (b"in" * 100_000, b"err\n"))
        self.assertEqual(process.returncode, 0)

    def test_waiting_can_time_out_and_kills_nothing(self):
        with self.sandbox.popen(["sleep", "60"]) as process:
            with self.assertRaises(subprocess.TimeoutExpired):
                process.wait(timeout=0.1)
            self.assertIsNone(process.poll())
            process.terminate()
            self.assertEqual(process.wait(), -signal.SIGTERM)
            process.kill()
            process.terminate()

    def test_dropping_a_process_kills_it_and_says_so(self):
        process = self.sandbox.popen(["sleep", "6543"])
        with self.assertWarns(ResourceWarning):
            del process
            gc.collect()
        for _ in range(200):
            if not find("sleep\0006543"):
                break
            time.sleep(0.05)
        self.assertEqual(find("sleep\0006543"), [])

    def test_an_exception_in_the_block_kills(self):
        with self.assertRaises(KeyError):
            with self.sandbox.popen(["sleep", "5432"]) as process:
                raise KeyError
        self.assertEqual(process.poll(), -9)

    def test_ctrl_c_ends_the_tree(self):
        program = (
            "import sandboxlib, signal, sys\n"
            # Whoever runs this in the background of a shell has it ignored.
            "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "print('ready', flush=True)\n"
            "try:\n"
            "    sandboxlib.Sandbox('/').run(['sh', '-c', 'sleep 4321 & sleep 4321'])\n"
            "except KeyboardInterrupt:\n"
            "    print('interrupted', flush=True)\n"
        )
        with subprocess.Popen([sys.executable, "-c", program], stdout=-1, text=True) as caller:
            self.assertEqual(caller.stdout.readline(), "ready\n")
            for _ in range(400):
                if len(find("sleep\0004321")) >= 2:
                    break
                time.sleep(0.05)
            caller.send_signal(signal.SIGINT)
            self.assertEqual(caller.stdout.readline(), "interrupted\n")
        for _ in range(200):
            if not find("sleep\0004321"):
                break
            time.sleep(0.05)
        self.assertEqual(find("sleep\0004321"), [])

    def test_the_tree_dies_with_a_killed_caller(self):
        program = "import sandboxlib; sandboxlib.Sandbox('/').run(['sleep', '3210'])"
        with subprocess.Popen([sys.executable, "-c", program]) as caller:
            for _ in range(400):
                if find("sleep\0003210"):
                    break
                time.sleep(0.05)
            self.assertTrue(find("sleep\0003210"))
            caller.kill()
        for _ in range(200):
            if not find("sleep\0003210"):
                break
            time.sleep(0.05)
        self.assertEqual(find("sleep\0003210"), [])

    def test_a_signal_handler_runs_meanwhile_and_the_command_goes_on(self):
        seen = []
        before = signal.signal(signal.SIGALRM, lambda *_: seen.append(1))
        self.addCleanup(signal.signal, signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        self.assertEqual(self.sandbox.run(["sleep", "1"]).returncode, 0)
        self.assertEqual(seen, [1])

    def test_nothing_is_left_open(self):
        def count():
            gc.collect()
            return len(os.listdir("/proc/self/fd"))

        self.sandbox.run(["true"], input=b"x", capture_output=True)
        for _ in range(100):
            before = count()
            time.sleep(0.02)
            if count() == before:
                break
        for _ in range(20):
            self.sandbox.run(["true"], input=b"x", capture_output=True)
            with self.sandbox.popen(["cat"], stdin=-1, stdout=-1):
                pass
            with self.assertRaises(FileNotFoundError):
                self.sandbox.run(["nonesuch"])
        for _ in range(200):
            if count() <= before:
                break
            time.sleep(0.02)
        self.assertLessEqual(count(), before)


class Async(TestCase):
    def setUp(self):
        self.sandbox = Sandbox("/")

    def test_runs_go_side_by_side(self):
        async def main():
            runs = [
                self.sandbox.run_async(["cat"], input=str(n), capture_output=True, text=True)
                for n in range(8)
            ]
            return [result.stdout for result in await asyncio.gather(*runs)]

        self.assertEqual(asyncio.run(main()), [str(n) for n in range(8)])

    def test_cancelling_ends_the_tree(self):
        async def main():
            with self.assertRaises(asyncio.TimeoutError):
                await asyncio.wait_for(self.sandbox.run_async(["sleep", "2109"]), 0.5)

        asyncio.run(main())
        for _ in range(200):
            if not find("sleep\0002109"):
                break
            time.sleep(0.05)
        self.assertEqual(find("sleep\0002109"), [])

    def test_popen(self):
        async def main():
            process = await self.sandbox.popen_async(["cat"], stdin=-1, stdout=-1)
            async with process:
                self.assertEqual(await process.communicate(b"x"), (b"x", None))
                self.assertEqual(await process.wait(), 0)

        asyncio.run(main())

    def test_errors_are_the_same(self):
        async def main(**options):
            await self.sandbox.run_async(options.pop("args", ["true"]), **options)

        self.assertRaises(FileNotFoundError, asyncio.run, main(args=["nonesuch"]))
        self.assertRaises(TypeError, asyncio.run, main(bogus=1))
        with self.assertRaises(sandboxlib.CalledProcessError):
            asyncio.run(main(args=["false"], check=True))


if __name__ == "__main__":
    unittest.main()
