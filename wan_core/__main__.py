"""``python -m wan_core`` is the command ``wan-core``."""

from __future__ import annotations

import sys

from wan_core.cli import main

if __name__ == "__main__":
    sys.exit(main())
