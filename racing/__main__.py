"""`python -m racing`: the command line, wherever its script is not on the path."""

import sys

from racing.cli import main

sys.exit(main())
