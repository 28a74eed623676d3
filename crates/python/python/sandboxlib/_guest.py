"""The inside of a Python sandbox: reads what to do from one descriptor, answers to another.

Nothing here is a wall. Code that runs here can change all of it, and whoever reads the answers
knows that.
"""

import ast
import builtins
import importlib
import linecache
import os
import sys
import traceback
import types

MAIN = "__main__"


def read(fd, size):
    parts = []
    while size:
        part = os.read(fd, min(size, 1 << 20))
        if not part:
            os._exit(0)
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def write(fd, data):
    data = memoryview(len(data).to_bytes(8, "big") + data)
    while data:
        data = data[os.write(fd, data) :]


def permit(allowed, home):
    """Lets code of the user's import what is ``allowed`` alone. What that imports in turn is its
    own matter."""
    allowed = frozenset(allowed)
    real = builtins.__import__

    def of_user(scope):
        name, file = scope.get("__name__"), scope.get("__file__") or ""
        return name == MAIN or file.startswith(home + "/")

    def checked(name, globals=None, locals=None, fromlist=(), level=0):
        top = name.partition(".")[0]
        if level == 0 and of_user(globals or {MAIN: 0, "__name__": MAIN}):
            own = os.path.exists(os.path.join(home, top)) or os.path.exists(
                os.path.join(home, top + ".py")
            )
            if top not in allowed and not own:
                raise ImportError("module %r is not among the modules of this sandbox" % top)
        return real(name, globals, locals, fromlist, level)

    builtins.__import__ = checked


def forbid(names):
    """Makes each import of ``names`` fail, whoever asks."""
    for name in names:
        for loaded in [m for m in sys.modules if m == name or m.startswith(name + ".")]:
            sys.modules[loaded] = None
        sys.modules[name] = None


class Code:
    """The user's code, and the module in which it runs."""

    def __init__(self):
        self.module = types.ModuleType(MAIN)
        self.names = self.module.__dict__
        self.names["__builtins__"] = builtins
        sys.modules[MAIN] = self.module
        self.count = 0

    def compile(self, source, mode):
        self.count += 1
        name = "<sandbox %d>" % self.count
        # So that tracebacks show the lines.
        linecache.cache[name] = (len(source), None, source.splitlines(True), name)
        return compile(source, name, mode)

    def eval(self, source, names):
        self.names.update(names)
        return eval(self.compile(source, "eval"), self.names)

    def exec(self, source, names, returns):
        self.names.update(names)
        exec(self.compile(source, "exec"), self.names)
        if returns is not None:
            return {name: self.names[name] for name in returns}
        kept = {
            name: value
            for name, value in list(self.names.items())
            if type(name) is str and not name.startswith(("__", "$"))
        }
        return data.only_data(kept)

    def call(self, source, args, kwargs):
        if source.isidentifier():
            function = self.names[source]
        elif source.replace(".", "a").replace(":", "a", 1).isidentifier() and ":" in source:
            module, _, name = source.partition(":")
            function = importlib.import_module(module)
            for part in name.split("."):
                function = getattr(function, part)
        else:
            exec(self.compile(source, "exec"), self.names)
            kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
            made = [node.name for node in ast.parse(source).body if isinstance(node, kinds)]
            if not made:
                raise ValueError("the source defines no function")
            function = self.names[made[-1]]
        return function(*args, **kwargs)


def told(error):
    """An exception, as data."""
    try:
        message = str(error)
    except BaseException:
        message = "<no text>"
    # Without our own frames.
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    try:
        text = "".join(traceback.format_exception(type(error), error, trace))
    except BaseException:
        text = ""
    return {"type": type(error).__name__, "message": message, "traceback": text}


def flush():
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:
            pass


def main(requests, answers):
    os.set_inheritable(requests, False)
    os.set_inheritable(answers, False)
    setup = data.loads(read(requests, int.from_bytes(read(requests, 8), "big")))
    home = setup["home"]
    if setup["path"]:
        sys.path.insert(0, home)
    sys.argv = [""]
    code = Code()
    failed = None
    try:
        for name in setup["preload"]:
            importlib.import_module(name)
    except BaseException as error:
        failed = error
    if setup["modules"] is not None:
        permit(setup["modules"], home)
    forbid(setup["deny"])
    while True:
        request = data.loads(read(requests, int.from_bytes(read(requests, 8), "big")))
        kind = request.pop("do")
        try:
            if failed is not None:
                raise failed
            value = getattr(code, kind)(**request)
            answer = data.dumps({"value": value})
        except BaseException as error:
            answer = data.dumps({"error": told(error)})
        flush()
        write(answers, answer)


if __name__ == "__main__":
    # The data module lies beside this file.
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path.insert(0, here)
    import _data as data  # type: ignore

    sys.path.remove(here)
    main(int(sys.argv[1]), int(sys.argv[2]))
