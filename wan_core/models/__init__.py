"""Models: families with their presets, and the networks they are made of.

Public are the loaders, for components of plugins' families (``load="wan_core.models:load_vae"``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wan_core.contract.lazy import exports

if TYPE_CHECKING:
    from wan_core.models.loaders import load_image_encoder as load_image_encoder
    from wan_core.models.loaders import load_taehv as load_taehv
    from wan_core.models.loaders import load_text_encoder as load_text_encoder
    from wan_core.models.loaders import load_transformer as load_transformer
    from wan_core.models.loaders import load_vae as load_vae
    from wan_core.models.loaders import random_text_encoder as random_text_encoder
    from wan_core.models.loaders import random_transformer as random_transformer
    from wan_core.models.loaders import random_vae as random_vae
    from wan_core.models.stacks import load_stack as load_stack

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "load_image_encoder": "loaders",
        "load_stack": "stacks",
        "load_taehv": "loaders",
        "load_text_encoder": "loaders",
        "load_transformer": "loaders",
        "load_vae": "loaders",
        "random_text_encoder": "loaders",
        "random_transformer": "loaders",
        "random_vae": "loaders",
    },
)
