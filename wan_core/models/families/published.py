"""The makers' own files on the Hugging Face Hub: where, and with which sums. Each number stands in several
public lists of the files, made independently; what none of them has is left open and taken from the Hub.
"""

from __future__ import annotations

from wan_core.contract.descriptions import PublishedFile


def _t2v_1_3b(path: str, sha256: str, size: int, slot: str = "") -> PublishedFile:
    return PublishedFile(
        "Wan-AI/Wan2.1-T2V-1.3B",
        path,
        revision="37ec512624d61f7aa208f7ea8140a131f93afc9a",
        sha256=sha256,
        bytes=size,
        slot=slot,
    )


T2V_1_3B = (
    _t2v_1_3b(
        "diffusion_pytorch_model.safetensors",
        "96b6b242ca1c2f24e9d02cd6596066fab6d310e2d7538f33ae267cb18d957e8f",
        5_676_070_424,
    ),
)
UMT5_XXL = (
    _t2v_1_3b(
        "models_t5_umt5-xxl-enc-bf16.pth",
        "7cace0da2b446bbbbc57d031ab6cf163a3d59b366da94e5afe36745b746fd81d",
        11_361_920_418,
    ),
    _t2v_1_3b(
        "google/umt5-xxl/tokenizer.json",
        "6e197b4d3dbd71da14b4eb255f4fa91c9c1f2068b20a2de2472967ca3d22602b",
        16_837_417,
        slot="tokenizer",
    ),
)
VAE = (
    _t2v_1_3b(
        "Wan2.1_VAE.pth",
        "38071ab59bd94681c686fa51d75a1968f64e470262043be31f7a094e442fd981",
        507_609_880,
    ),
)
# the commit is known from several lists, the sums of the shards from none: they are taken from the Hub
T2V_14B = tuple(
    PublishedFile(
        "Wan-AI/Wan2.1-T2V-14B",
        f"diffusion_pytorch_model{part}",
        revision="a064a6c71f5be440641209c07bf2a5ce7a2ff5e4",
    )
    for part in (
        ".safetensors.index.json",
        *(f"-{number:05}-of-00006.safetensors" for number in range(1, 7)),
    )
)


def experts(repository: str, expert: str) -> tuple[PublishedFile, ...]:
    """The files of one of two experts, ``"high"`` or ``"low"``."""
    return (
        PublishedFile(repository, f"{expert}_noise_model/diffusion_pytorch_model*.safetensors*"),
    )


def shards(repository: str, revision: str = "") -> tuple[PublishedFile, ...]:
    """All shards of a transformer with their index."""
    return (PublishedFile(repository, "diffusion_pytorch_model*.safetensors*", revision=revision),)


CLIP = (
    PublishedFile(
        "Wan-AI/Wan2.1-I2V-14B-480P", "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth"
    ),
)
VAE_2_2 = (PublishedFile("Wan-AI/Wan2.2-TI2V-5B", "Wan2.2_VAE.pth"),)
VACE_1_3B = (PublishedFile("Wan-AI/Wan2.1-VACE-1.3B", "diffusion_pytorch_model.safetensors"),)
