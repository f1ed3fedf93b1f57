"""The table's test: a command line that must refuse, and must not have touched anything."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for table and makers, whatever the import mode
