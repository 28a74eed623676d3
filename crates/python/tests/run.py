"""Runs the tests and sums up as libtest does, for `cargo xtask test`. Arguments are names of test
modules; without one, all are run."""

import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))


def main(names):
    sys.path.insert(0, HERE)
    loader = unittest.defaultTestLoader
    suite = loader.loadTestsFromNames(names) if names else loader.discover(HERE)
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(suite)
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
