"""Runs the tests and sums up as libtest does, for `cargo xtask test`. Arguments are names of test
modules; without one, all are run."""

import os
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))


class Timed(unittest.TextTestResult):
    """Says how long a test took, if it took long."""

    def startTest(self, test):
        super().startTest(test)
        self.began = time.monotonic()

    def addSuccess(self, test):
        seconds = time.monotonic() - self.began
        if seconds > 2:
            self.stream.write("(%.0f s) " % seconds)
        super().addSuccess(test)


def main(names):
    sys.path.insert(0, HERE)
    loader = unittest.defaultTestLoader
    suite = loader.loadTestsFromNames(names) if names else loader.discover(HERE)
    runner = unittest.TextTestRunner(stream=sys.stdout, verbosity=2, resultclass=Timed)
    result = runner.run(suite)
    for test, reason in result.skipped:
        print("---- %s stdout ----\nSKIP: %s" % (test.id(), " ".join(reason.split())))
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    # What skipped something has passed in libtest's eyes; xtask takes it out again.
    passed = result.testsRun - failed
    print(
        "test result: %s. %d passed; %d failed; 0 ignored"
        % ("FAILED" if failed else "ok", passed, failed)
    )
    return 1 if failed or not result.testsRun else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
