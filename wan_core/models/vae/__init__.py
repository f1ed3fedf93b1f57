"""The Wan video auto-encoders: descriptors (without torch), networks, streams, tiling, previews."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wan_core.contract.lazy import exports

if TYPE_CHECKING:
    from wan_core.models.vae.descriptor import LIGHT21 as LIGHT21
    from wan_core.models.vae.descriptor import WAN21 as WAN21
    from wan_core.models.vae.descriptor import WAN22 as WAN22
    from wan_core.models.vae.descriptor import VaeConfig as VaeConfig
    from wan_core.models.vae.descriptor import VaeDescriptor as VaeDescriptor
    from wan_core.models.vae.dialects import DIALECTS as DIALECTS
    from wan_core.models.vae.end_frame import decode_with_end_frame as decode_with_end_frame
    from wan_core.models.vae.end_frame import encode_with_end_frame as encode_with_end_frame
    from wan_core.models.vae.files import vae_descriptor as vae_descriptor
    from wan_core.models.vae.model import WanVAE as WanVAE
    from wan_core.models.vae.preview import colours_of as colours_of
    from wan_core.models.vae.preview import latent_preview as latent_preview
    from wan_core.models.vae.sizes import VaeMemory as VaeMemory
    from wan_core.models.vae.sizes import decoder_memory as decoder_memory
    from wan_core.models.vae.sizes import encoder_memory as encoder_memory
    from wan_core.models.vae.state import DecoderState as DecoderState
    from wan_core.models.vae.state import EncoderState as EncoderState
    from wan_core.models.vae.streams import encode_pieces as encode_pieces
    from wan_core.models.vae.taehv import Taehv as Taehv
    from wan_core.models.vae.taehv import TaehvState as TaehvState
    from wan_core.models.vae.taehv_files import TAEW21 as TAEW21
    from wan_core.models.vae.taehv_files import TAEW22 as TAEW22
    from wan_core.models.vae.taehv_files import TaehvConfig as TaehvConfig
    from wan_core.models.vae.taehv_files import taehv_config as taehv_config
    from wan_core.models.vae.taehv_files import verify_taehv as verify_taehv
    from wan_core.models.vae.tiling import InPlaceTiling as InPlaceTiling
    from wan_core.models.vae.tiling import RampTiling as RampTiling

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "DIALECTS": "dialects",
        "DecoderState": "state",
        "EncoderState": "state",
        "InPlaceTiling": "tiling",
        "LIGHT21": "descriptor",
        "RampTiling": "tiling",
        "TAEW21": "taehv_files",
        "TAEW22": "taehv_files",
        "Taehv": "taehv",
        "TaehvConfig": "taehv_files",
        "TaehvState": "taehv",
        "VaeConfig": "descriptor",
        "VaeDescriptor": "descriptor",
        "VaeMemory": "sizes",
        "WAN21": "descriptor",
        "WAN22": "descriptor",
        "WanVAE": "model",
        "colours_of": "preview",
        "decode_with_end_frame": "end_frame",
        "decoder_memory": "sizes",
        "encode_pieces": "streams",
        "encode_with_end_frame": "end_frame",
        "encoder_memory": "sizes",
        "latent_preview": "preview",
        "taehv_config": "taehv_files",
        "vae_descriptor": "files",
        "verify_taehv": "taehv_files",
    },
)
