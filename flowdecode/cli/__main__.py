"""`python -m flowdecode.cli`, the same as `flowdecode`."""

import sys

from flowdecode.cli import main

sys.exit(main())
