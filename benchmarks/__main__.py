"""`python -m benchmarks`: pins threads before anything is imported that starts some."""

import sys

from benchmarks.threads import pin_by_environment

pin_by_environment()

from benchmarks.command import main  # noqa: E402 - after the pins

sys.exit(main(sys.argv[1:]))
