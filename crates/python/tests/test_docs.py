"""The examples in the documentation are run."""

import doctest
import os
import re
import subprocess
import sys
import unittest

import sandboxlib
import sandboxlib._sandbox
import sandboxlib.python
from support import TestCase

HERE = os.path.dirname(os.path.abspath(__file__))


def document(*names):
    """A document, beside the tests where `cargo xtask test` puts it or where it is kept."""
    for name in names:
        path = os.path.join(HERE, name)
        if os.path.exists(path):
            return path
    raise FileNotFoundError(names)


class Documents(TestCase):
    def run_blocks(self, path):
        with open(path, encoding="utf-8") as file:
            blocks = re.findall(r"^```python\n(.*?)^```$", file.read(), re.M | re.S)
        self.assertTrue(blocks)
        for block in blocks:
            with self.subTest(block[:60]):
                # As a file: a function's source can be had of a file alone.
                program = os.path.join(self.directory(), "example.py")
                with open(program, "w", encoding="utf-8") as file:
                    file.write(block)
                done = subprocess.run([sys.executable, program], capture_output=True, text=True)
                self.assertEqual((done.returncode, done.stderr), (0, ""), done.stderr)

    def test_the_readme(self):
        self.run_blocks(document("README.md", "../README.md"))

    def test_the_page_about_python(self):
        self.run_blocks(document("python.md", "../../../docs/python.md"))

    def test_the_modules(self):
        for module in (sandboxlib, sandboxlib._sandbox, sandboxlib.python):
            tried = doctest.testmod(module)
            self.assertGreater(tried.attempted, 0)
            self.assertEqual(tried.failed, 0)

    def test_whatever_is_public_is_documented_and_typed(self):
        place = os.path.dirname(sandboxlib.__file__)
        self.assertTrue(os.path.exists(os.path.join(place, "py.typed")))
        for module, stub in ((sandboxlib, "__init__.pyi"), (sandboxlib.python, "python.pyi")):
            with open(os.path.join(place, stub)) as file:
                text = file.read()
            for name in module.__all__:
                thing = getattr(module, name)
                if callable(thing):
                    self.assertTrue(thing.__doc__, name)
                self.assertRegex(text, r"\b%s\b" % name)


if __name__ == "__main__":
    unittest.main()
