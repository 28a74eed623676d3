"""Python code that nobody trusts: each row of what people ask for, and the ways out."""

import gc
import json
import os
import pathlib
import random
import socket
import subprocess
import sys
import threading
import time
import unittest

import sandboxlib
from sandboxlib import _data
from sandboxlib.python import (
    BadAnswer,
    CodeError,
    Died,
    LimitExceeded,
    NotData,
    PythonSandbox,
)
from support import TestCase, find

#: Ways out of sandboxes that are made of Python, as they were published. Each would reach the
#: host's files or programs if it got out of the language; here it is let out of it, and then
#: looks for the secret.
ESCAPES = {
    "subclasses": """
for cls in ().__class__.__base__.__subclasses__():
    if cls.__name__ == "_wrap_close":
        value = cls.__init__.__globals__["popen"]("cat " + secret).read()
""",
    "builtins by a subclass's globals": """
for cls in ().__class__.__base__.__subclasses__():
    try:
        builtins = cls.__init__.__globals__["__builtins__"]
        builtins = builtins if isinstance(builtins, dict) else vars(builtins)
        value = builtins["open"](secret).read()
        break
    except (AttributeError, KeyError):
        pass
""",
    "frames": """
import sys
frame = sys._getframe()
while frame.f_back:
    frame = frame.f_back
value = frame.f_builtins["open"](secret).read()
""",
    "traceback frames": """
try:
    raise ValueError
except ValueError as error:
    frame = error.__traceback__.tb_frame
    while frame.f_back:
        frame = frame.f_back
    value = frame.f_globals["__builtins__"].open(secret).read()
""",
    "gc": """
import gc
for thing in gc.get_objects():
    if isinstance(thing, dict) and callable(thing.get("popen")) and "fork" in thing:
        value = thing["popen"]("cat " + secret).read()
        break
""",
    "ctypes": """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
fd = libc.open(secret.encode(), 0)
value = ctypes.create_string_buffer(100)
got = libc.read(fd, value, 99) if fd >= 0 else -1
value = value.value.decode() if got > 0 else ""
libc.execv
""",
    "format string walk": """
import os
class Thing:
    def __init__(self): self.os = os
walked = "{0.__init__.__globals__[__builtins__].open}".format(Thing())
value = Thing.__init__.__globals__["__builtins__"].open(secret).read()
""",
    "f-string": """
value = f"{(lambda: __import__('os').popen('cat ' + secret).read())()}"
""",
    "pickle": """
import pickle, os
class Evil:
    def __reduce__(self): return (os.popen, ("cat " + secret,))
value = pickle.loads(pickle.dumps(Evil())).read()
""",
    "code object": """
import types
function = types.FunctionType(compile("open(secret).read()", "x", "eval"), {"secret": secret})
value = function()
""",
    "loader": """
import sys
loader = [cls for cls in object.__subclasses__() if cls.__name__ == "BuiltinImporter"][0]
value = loader.load_module("posix").open(secret, 0)
""",
    "files of other processes": """
import os
value = ""
for name in os.listdir("/proc"):
    for place in ("root", "cwd"):
        path = "/proc/%s/%s%s" % (name, place, secret)
        if os.path.exists(path):
            value = open(path).read()
""",
    "open directories": """
import os
value = ""
for fd in range(3, 100):
    try:
        value = os.read(os.open(secret.lstrip("/"), os.O_RDONLY, dir_fd=fd), 99).decode()
    except OSError:
        pass
""",
}


class Values(TestCase):
    @classmethod
    def setUpClass(cls):
        cls.python = PythonSandbox()
        cls.session = cls.python.session()

    @classmethod
    def tearDownClass(cls):
        cls.session.close()
        cls.python.close()

    def test_data_crosses_as_it_is(self):
        for value in (
            None, True, 0, -1, 2**53, -(2**2000), 1.5, float("inf"), 2 + 3j, "", "é\0\ud800",
            b"\xff\0", bytearray(b"x"), [1, [2]], (1, (2,)), {1, 2}, frozenset("ab"), {},
            {"a": 1}, {1: "x", None: (2,), (1, 2): {3}}, {"$int": "5"}, {"$": []},
        ):
            got = self.session.eval("value", {"value": value})
            self.assertEqual((got, type(got)), (value, type(value)))

    def test_what_is_no_data_stays_where_it_is(self):
        for expression in ("object()", "print", "lambda: 1", "[object()]", "type", "iter([])"):
            with self.assertRaises(CodeError) as caught:
                self.session.eval(expression)
            self.assertEqual(caught.exception.type, "NotData")
        self.assertRaises(NotData, self.session.eval, "1", {"value": object()})
        endless = []
        endless.append(endless)
        self.assertRaises(NotData, self.session.eval, "1", {"value": endless})
        self.assertRaises(CodeError, self.session.exec, "x = []; x.append(x); raise ValueError(x)")
        self.assertNotIn("x", self.session.exec("y = 1"))

    def test_exec_returns_the_data_of_the_namespace(self):
        names = self.session.exec("import os\na = 1\ndef f(): pass\nb = {2}\nc = open")
        self.assertEqual((names["a"], names["b"]), (1, {2}))
        for name in ("os", "f", "c", "__builtins__", "__name__"):
            self.assertNotIn(name, names)
        some = self.python.exec("a = 1; b = object(); c = (2,)", returns=["a", "c"])
        self.assertEqual(some, {"a": 1, "c": (2,)})
        for name in ("b", "nonesuch"):
            self.assertRaises(CodeError, self.python.exec, "b = object()", returns=[name])
        # A deep one counts like any other.
        deep = self.session.exec("deep = 0\nfor _ in range(190): deep = [deep]")["deep"]
        self.assertEqual(str(deep).count("["), 190)

    def test_call(self):
        call = self.session.call
        self.assertEqual(call("def f(a, *, b): return a * b", 2, b=3), 6)
        self.assertEqual(call("f", 4, b=5), 20)
        self.assertEqual(call("math:hypot", 3.0, 4.0), 5.0)
        self.assertEqual(call("os.path:join", "a", "b"), "a/b")

        def here(words):
            import re

            return [re.sub("a", "b", word) for word in words]

        self.assertEqual(call(here, ["a", "ca"]), ["b", "cb"])
        self.assertRaises(CodeError, call, "x = 1")

    def test_an_exception_comes_as_text(self):
        with self.assertRaises(CodeError) as caught:
            self.session.exec("print('before')\ndef f():\n    return 1 / 0\nf()")
        error = caught.exception
        self.assertEqual((error.type, error.message), ("ZeroDivisionError", "division by zero"))
        self.assertIn("return 1 / 0", error.traceback)
        self.assertNotIn("_guest", error.traceback)
        self.assertEqual(error.stdout, "before\n")
        # The session goes on.
        self.assertEqual(self.session.eval("1"), 1)
        for code in ("raise SystemExit(3)", "raise KeyboardInterrupt", "a b", "\0"):
            self.assertRaises(CodeError, self.session.exec, code)

    def test_output_is_captured_for_each_call(self):
        self.session.exec("import sys; print('out'); print('err', file=sys.stderr)")
        self.assertEqual((self.session.last.stdout, self.session.last.stderr), ("out\n", "err\n"))
        self.session.exec("import os\nos.write(1, b'raw')\nif os.fork(): os.wait()\nelse: os.write(1, b'sub'); os._exit(0)")
        self.assertEqual(self.session.last.stdout, "rawsub")
        self.session.eval("1")
        self.assertEqual(self.session.last.stdout, "")

    def test_a_session_keeps_and_a_fresh_one_does_not(self):
        self.session.exec("kept = 5")
        self.assertEqual(self.session.eval("kept"), 5)
        self.python.exec("kept = 6; open('file', 'w').write('x')")
        self.assertRaises(CodeError, self.python.eval, "kept")
        self.assertEqual(self.python.eval("__import__('os').listdir('.')"), [])

    def test_calls_from_many_threads(self):
        got = []
        threads = [
            threading.Thread(target=lambda n=n: got.append(self.python.eval(str(n))))
            for n in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(sorted(got), list(range(6)))


class Walls(TestCase):
    """What the code can reach."""

    @classmethod
    def setUpClass(cls):
        cls.python = PythonSandbox(limits={"wall": 120})

    @classmethod
    def tearDownClass(cls):
        cls.python.close()

    def test_the_published_ways_out_reach_nothing(self):
        secret = pathlib.Path(self.directory(), "secret")
        secret.write_text("reached")
        for name, code in ESCAPES.items():
            with self.subTest(name):
                # It works where nothing stops it, so it is an attack ...
                bare = "secret = %r\n%s\nprint('VALUE', value)" % (str(secret), code)
                done = subprocess.run([sys.executable, "-c", bare], capture_output=True, text=True)
                works = "reached" in done.stdout or name == "open directories" or (
                    name == "loader" and "VALUE" in done.stdout
                )
                self.assertTrue(works, done.stderr)
                # ... and here it runs and finds nothing.
                try:
                    got = self.python.exec(code, {"secret": str(secret)}).get("value", "")
                except CodeError as error:
                    self.assertIn(error.type, ("FileNotFoundError", "PermissionError"), error.traceback)
                    got = ""
                self.assertNotIn("reached", str(got))
                self.assertEqual(got, "")

    def test_no_file_but_its_own_installation(self):
        walk = """
import os
def seen():
    found = set()
    for place, directories, files in os.walk("/"):
        if place == "/":
            directories[:] = [name for name in directories if name not in ("proc", "dev")]
        found.update(os.path.join(place, name) for name in files)
    return sorted(found)
found = seen()
"""
        found = self.python.exec(walk)["found"]
        installation = {sys.prefix + "/lib", sys.base_prefix + "/lib", "/usr/lib", "/usr/local/lib"}
        allowed = tuple(installation) + ("/usr/share/zoneinfo/", "/run/sandboxlib/")
        others = [path for path in found if not path.startswith(allowed)]
        known = {
            "/etc/passwd", "/etc/group", "/etc/ld.so.cache", "/etc/localtime",
            os.path.realpath(sys.executable), sys.executable,
            os.path.join(sys.prefix, "pyvenv.cfg"),
        }
        others = [path for path in others if path not in known and "/bin/python" not in path]
        self.assertEqual(others, [])
        self.assertEqual(self.python.eval("__import__('os').path.expanduser('~')"), "/home")
        self.assertEqual(self.python.eval("dict(__import__('os').environ).get('SECRET')"), None)

    def test_the_installation_cannot_be_changed(self):
        for path in (os.__file__, sys.executable, "/etc/passwd", "/run/sandboxlib/_guest.py"):
            with self.assertRaises(CodeError) as caught:
                self.python.exec("open(%r, 'a')" % path)
            self.assertIn(caught.exception.type, ("OSError", "PermissionError"))

    def test_no_process_of_the_host_is_seen(self):
        code = "[n for n in __import__('os').listdir('/proc') if n.isdigit()]"
        self.assertLess(len(self.python.eval(code)), 5)
        with self.assertRaises(CodeError):
            self.python.exec("import os; os.kill(%d, 0)" % os.getpid())

    def test_no_descriptor_is_left_from_the_caller(self):
        read, write = os.pipe()
        os.set_inheritable(write, True)
        fds = self.python.eval("sorted(map(int, __import__('os').listdir('/proc/self/fd')))")
        os.close(read)
        os.close(write)
        # Three streams, two pipes, and the directory that is being listed.
        self.assertEqual(fds, [0, 1, 2, 3, 4, 5])


class Rows(TestCase):
    """What people have asked for."""

    def test_permit_modules(self):
        with PythonSandbox(modules=["math", "json"]) as python:
            self.assertEqual(python.exec("import math, json; x = json.dumps(1)")["x"], "1")
            self.assertEqual(python.exec("from math import pi; x = pi > 3")["x"], True)
            for code in ("import os", "import socket", "from os import path", "import xml.dom"):
                with self.assertRaises(CodeError) as caught:
                    python.exec(code)
                self.assertEqual(caught.exception.type, "ImportError")
            self.assertRaises(CodeError, python.exec, "def f():\n    import os\nf()")

    def test_forbid_modules(self):
        with PythonSandbox(deny=["socket", "ctypes"]) as python:
            self.assertTrue(python.exec("import math, os; x = 1"))
            for code in ("import socket", "import ctypes", "import importlib; importlib.import_module('socket')", "import http.client"):
                with self.assertRaises(CodeError) as caught:
                    python.exec(code)
                self.assertIn(caught.exception.type, ("ImportError", "ModuleNotFoundError"))
        self.assertRaises(ValueError, PythonSandbox, modules=[], deny=["os"])

    def test_files(self):
        real = pathlib.Path(self.directory(), "real.txt")
        real.write_text("real")
        files = {"a.txt": "text", "sub/b.bin": b"\0", "/data/c": real, "own.py": "def f(): return 7"}
        with PythonSandbox(files=files, modules=["own"]) as python:
            code = "x = open('a.txt').read(), open('sub/b.bin', 'rb').read(), open('/data/c').read()"
            self.assertEqual(python.exec(code)["x"], ("text", b"\0", "real"))
            self.assertEqual(python.call("own:f"), 7)
            self.assertEqual(python.exec("import own; x = own.f()")["x"], 7)
            self.assertRaises(CodeError, python.exec, "open('a.txt', 'w')")
            self.assertRaises(CodeError, python.exec, "open('/data/c', 'w')")
            self.assertTrue(python.exec("open('new', 'w').write('x'); y = 1"))
        self.assertEqual(real.read_text(), "real")

    def test_a_directory_floats_as_the_root(self):
        root = pathlib.Path(self.directory())
        (root / "data").mkdir()
        (root / "data/in").write_text("in")
        (root / "out").mkdir()
        with PythonSandbox(root=root, writable=["/out"]) as python:
            self.assertEqual(python.exec("x = open('/data/in').read()")["x"], "in")
            python.exec("open('/out/made', 'w').write('made')")
            self.assertRaises(CodeError, python.exec, "open('/data/new', 'w')")
        self.assertEqual((root / "out/made").read_text(), "made")
        self.assertEqual(sorted(p.name for p in root.iterdir()), ["data", "out"])

    def test_time_memory_output_and_processes_are_limited(self):
        limits = {"cpu_time": 2, "memory": 150 << 20, "output": 10_000, "processes": 20, "wall": 60}
        with PythonSandbox(limits=limits) as python:
            for limit, code in (
                ("cpu-time", "while True: pass"),
                ("memory", "x = bytearray(10**9)"),
                ("output", "while True: print('0123456789')"),
                ("processes", "import os, time\nfor _ in range(100):\n    if os.fork() == 0: time.sleep(9)"),
            ):
                with self.subTest(limit):
                    with self.assertRaises(LimitExceeded) as caught:
                        python.exec(code)
                    self.assertEqual(caught.exception.limit, limit)
            with self.assertRaises(LimitExceeded) as caught:
                python.exec("print('said', flush=True); import time; time.sleep(99)", timeout=2)
            self.assertEqual((caught.exception.limit, caught.exception.stdout), ("wall", "said\n"))
            self.assertEqual(python.eval("1"), 1)

    def test_an_endless_loop_in_a_session_ends_the_session(self):
        with PythonSandbox() as python, python.session() as session:
            self.assertRaises(LimitExceeded, session.exec, "while True: pass", timeout=0.5)
            self.assertRaises(sandboxlib.SandboxError, session.eval, "1")

    def test_network(self):
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen()
            port = server.getsockname()[1]
            connect = "import socket; socket.create_connection(('127.0.0.1', %d), 5).close(); x = 1" % port
            with PythonSandbox() as python:
                with self.assertRaises(CodeError) as caught:
                    python.exec(connect)
                self.assertEqual(caught.exception.type, "ConnectionRefusedError")
                self.assertRaises(CodeError, python.exec, "import socket; socket.getaddrinfo('example.org', 1)")
            with PythonSandbox(network=True) as python:
                self.assertEqual(python.exec(connect)["x"], 1)

    def test_native_modules(self):
        with PythonSandbox() as python:
            code = "import sqlite3, zlib, _decimal; x = sqlite3.connect(':memory:').execute('select 40 + 2').fetchone()"
            self.assertEqual(python.exec(code)["x"], (42,))

    def test_numpy(self):
        try:
            import numpy  # noqa: F401
        except ImportError:
            self.skipTest("no numpy")
        with PythonSandbox(preload=["numpy"], modules=["numpy"]) as python:
            code = "import numpy; x = float(numpy.linalg.det(numpy.eye(30) * 2)); y = numpy.arange(4).tolist()"
            names = python.exec(code)
            self.assertAlmostEqual(names["x"], 2.0**30, 2)
            self.assertEqual(names["y"], [0, 1, 2, 3])

    def test_another_interpreter(self):
        other = "/usr/bin/python3"
        if not os.path.exists(other):
            self.skipTest("no %s" % other)
        with PythonSandbox(interpreter=other) as python:
            self.assertEqual(python.eval("__import__('sys').executable"), other)

    def test_what_was_ahead_is_used_and_replaced(self):
        with PythonSandbox(ahead=2) as python:
            self.assertEqual(len(python._spare), 2)
            first = python._spare[0]
            self.assertEqual(python.eval("1"), 1)
            self.assertNotIn(first, python._spare)
            for _ in range(200):
                if len(python._spare) == 2:
                    break
                time.sleep(0.05)
            self.assertEqual(len(python._spare), 2)
            # One that has died meanwhile is not taken.
            python._spare[0]._child.kill()
            python._spare[0]._child.wait(None)
            self.assertEqual(python.eval("2"), 2)
        with self.assertRaises(ValueError):
            python.eval("1")

    def test_nothing_is_left(self):
        def count():
            return len(os.listdir("/proc/self/fd")), len(find("/run/sandboxlib/_guest.py"))

        before = count()
        for _ in range(3):
            with PythonSandbox() as python, python.session() as session:
                session.eval("1")
        python = PythonSandbox()
        del python
        gc.collect()
        for _ in range(200):
            if count() <= before:
                break
            time.sleep(0.05)
        self.assertLessEqual(count(), before)


    def test_nothing_is_made_on_the_host_so_a_killed_caller_leaves_nothing(self):
        temporary = self.directory()
        program = (
            "from sandboxlib.python import PythonSandbox\n"
            "with PythonSandbox() as python:\n"
            "    print(python.eval('6 * 7'), flush=True)\n"
            "    input()\n"
        )
        package = os.path.dirname(sandboxlib.__file__)
        before = sorted(path for path, _, _ in os.walk(package) if "__pycache__" not in path)
        ours = len(find("/run/sandboxlib/_guest.py"))
        with subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=dict(os.environ, TMPDIR=temporary),
        ) as caller:
            self.assertEqual(caller.stdout.readline(), b"42\n")
            self.assertEqual(os.listdir(temporary), [])
            caller.kill()
        self.assertEqual(os.listdir(temporary), [])
        after = sorted(path for path, _, _ in os.walk(package) if "__pycache__" not in path)
        self.assertEqual(after, before)
        for _ in range(200):
            if len(find("/run/sandboxlib/_guest.py")) <= ours:
                break
            time.sleep(0.05)
        self.assertLessEqual(len(find("/run/sandboxlib/_guest.py")), ours)

    def test_the_root_has_nothing_in_it_and_cannot_be_written_to(self):
        with PythonSandbox() as python:
            self.assertEqual(python.eval("__import__('os').listdir('/home')"), [])
            seen = python.eval("sorted(__import__('os').listdir('/'))")
            known = {"bin", "dev", "etc", "home", "lib", "lib32", "lib64", "opt", "proc", "run"}
            known |= {"tmp", "usr", "var"} | {path.split("/")[1] for path in [sys.prefix, sys.base_prefix]}
            self.assertLessEqual(set(seen), known | {package_root()})
            for place in ("/new", "/run/new", "/usr/new"):
                with self.assertRaises(CodeError) as caught:
                    python.exec("open(%r, 'w')" % place)
                self.assertIn("Read-only file system", caught.exception.message)
        with self.assertRaises(ValueError):
            PythonSandbox(writable=["/home"])


def package_root():
    """Where the interpreter's packages are, from the root."""
    return os.path.realpath(sandboxlib.__file__).split("/")[1]


class Answers(TestCase):
    """Code that meddles with the answers. It can say what it likes, as data, and harms nobody."""

    def forged(self, data, size=None, then="os._exit(0)"):
        size = len(data) if size is None else size
        code = "import os\nos.write(4, (%d).to_bytes(8, 'big') + %r)\n%s" % (size, data, then)
        return code

    def test_forged_answers_are_data_or_errors(self):
        with PythonSandbox(largest=100_000) as python:
            self.assertEqual(python.eval("1"), 1)
            forged = self.forged(b'{"value": [1]}')
            self.assertEqual(python.exec(forged), [1])
            for data, size in (
                (b"not json", None),
                (b'{"value": {"$pickle": "x"}}', None),
                (b'{"value": {"$set": [[1]]}}', None),
                (b'{"neither": 1}', None),
                (b'{"error": {"type": 1}}', None),
                (b"[" * 50_000, None),
                (b"x", 1 << 60),
                (b'{"value": 1}more', 12),
                (b"\xff\xfe", None),
            ):
                with self.subTest(data[:30]), self.assertRaises(BadAnswer):
                    python.exec(self.forged(data, size))
            with self.assertRaises(BadAnswer):
                python.eval("'x' * 200_000")
            for data, size in ((b"{", 50), (b"", 0)):
                with self.subTest(data), self.assertRaises((Died, BadAnswer)):
                    python.exec(self.forged(data, size))
            self.assertRaises(Died, python.exec, "import os; os._exit(3)")
            self.assertRaises(Died, python.exec, "import os; os.kill(os.getpid(), 9)")
            with self.assertRaises((Died, LimitExceeded)):
                python.exec("import os, time; os.close(4); time.sleep(60)", timeout=1)
            self.assertEqual(python.eval("2"), 2)

    def test_what_takes_longer_than_its_size_says_is_refused(self):
        prime = (1 << 61) - 1
        colliding = [{"$int": hex(n * prime)} for n in range(1, 2000)]
        began = time.monotonic()
        for value in (
            {"$set": colliding},
            {"$dict": [[key, 0] for key in colliding]},
        ):
            self.assertRaises(NotData, _data.loads, json.dumps(value))
        self.assertRaises(NotData, _data.loads, "1" * 100_000)
        self.assertRaises(NotData, _data.loads, "[" * 1_000_000)
        self.assertRaises(NotData, _data.loads, "[" * 900 + "]" * 900)
        self.assertEqual(_data.loads('{"$int": "0x%s"}' % ("f" * 100_000)).bit_length(), 400_000)
        self.assertLess(time.monotonic() - began, 20)

    def test_any_bytes_are_data_or_refused(self):
        chooser = random.Random(5)
        pieces = ['{', '}', '[', ']', '"$int"', '"$set"', '"$dict"', '"$complex"', '"$bytes"',
                  ':', ',', '1', '1.5', '"a"', 'null', '"0x1"', '"YQ=="', '"$frozenset"', ' ', 'NaN']
        refused = 0
        for _ in range(20_000):
            text = "".join(chooser.choice(pieces) for _ in range(chooser.randrange(1, 12)))
            try:
                value = _data.loads(text)
            except NotData:
                refused += 1
            else:
                self.assertTrue(_data.is_data(value))
        self.assertGreater(refused, 1000)


if __name__ == "__main__":
    unittest.main()
