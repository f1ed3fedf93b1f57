"""What plugin authors test with: the golden runner (:mod:`wan_core.testing.golden`) and helpers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wan_core.contract.lazy import exports

if TYPE_CHECKING:
    from wan_core.testing.names import inner_names as inner_names
    from wan_core.testing.names import names_used as names_used
    from wan_core.testing.stacks import check_stack as check_stack

__getattr__, __dir__, __all__ = exports(
    __name__, {"check_stack": "stacks", "inner_names": "names", "names_used": "names"}
)
