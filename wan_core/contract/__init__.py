"""The contract: what plugins and the core share. Importing it never imports torch."""

from __future__ import annotations

CONTRACT_VERSION = (1, 0)
"""Major and minor version. A plugin made for another major version is not loaded."""
