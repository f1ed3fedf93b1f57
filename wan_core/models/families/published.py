"""The makers' own files on the Hugging Face Hub: where, and with which sums. Each number stands in several
public lists of the files, made independently; what none of them has is left open and taken from the Hub.
"""

from __future__ import annotations

from collections.abc import Mapping

from wan_core.contract.descriptions import PublishedFile

COMMITS: Mapping[str, str] = {
    "Wan-AI/Wan2.1-T2V-1.3B": "37ec512624d61f7aa208f7ea8140a131f93afc9a",
    "Wan-AI/Wan2.1-T2V-14B": "a064a6c71f5be440641209c07bf2a5ce7a2ff5e4",
    "Wan-AI/Wan2.1-I2V-14B-480P": "6b73f84e66371cdfe870c72acd6826e1d61cf279",
    "Wan-AI/Wan2.1-I2V-14B-720P": "8823af45fcc58a8aa999a54b04be9abc7d2aac98",
    "Wan-AI/Wan2.1-FLF2V-14B-720P": "c8db168d95d3ebeb63430b3b6d264885cb8a0df3",
    "Wan-AI/Wan2.1-VACE-1.3B": "574e6a744642ce3bee319afc31496b88bde8aac4",
    "Wan-AI/Wan2.1-VACE-14B": "539c162b1387eac9dc4c20bd3f74671309e76a4c",
    "Wan-AI/Wan2.2-T2V-A14B": "c8c270b13ee05bfa474194ac9fb07a5868a97cea",
    "Wan-AI/Wan2.2-I2V-A14B": "206a9ee1b7bfaaf8f7e4d81335650533490646a3",
    "Wan-AI/Wan2.2-TI2V-5B": "921dbaf3f1674a56f47e83fb80a34bac8a8f203e",
}
"""The commit of each repository that is meant."""

Sum = tuple[int, str]
"""Bytes and SHA-256 of a file; 0 and ``""`` are not known."""
UNKNOWN: Sum = (0, "")
WEIGHTS = "diffusion_pytorch_model"


def _file(repository: str, path: str, known: Sum = UNKNOWN, slot: str = "") -> PublishedFile:
    size, sha256 = known
    return PublishedFile(
        repository, path, revision=COMMITS[repository], sha256=sha256, bytes=size, slot=slot
    )


def shards(
    repository: str,
    count: int,
    known: Mapping[int, Sum] | None = None,
    *,
    index: Sum = UNKNOWN,
    folder: str = "",
) -> tuple[PublishedFile, ...]:
    """The index of a transformer and its shards.

    Args:
        known: what is known of shards, by their numbers from 1.
        index: what is known of the index.
        folder: where they lie in the repository, with a slash at the end.
    """
    known = known or {}
    return (
        _file(repository, f"{folder}{WEIGHTS}.safetensors.index.json", index),
        *(
            _file(
                repository,
                f"{folder}{WEIGHTS}-{number:05}-of-{count:05}.safetensors",
                known.get(number, UNKNOWN),
            )
            for number in range(1, count + 1)
        ),
    )


def _numbered(*sums: Sum) -> dict[int, Sum]:
    return dict(enumerate(sums, 1))


_T2V_1_3B = "Wan-AI/Wan2.1-T2V-1.3B"
_14B_BASE: tuple[Sum, ...] = (
    (9_887_603_256, "569d54a07279b89f8281421fccf27ee2459ea853ce6845d3536b8664b0070078"),
    (9_839_059_648, "b17ff172f262b4da91c31e8c46d3b7707f62cecfff6e18dd0072ab29eb350e46"),
    (9_839_059_744, "741fd1508cd0288f0bb0f4fb3df6734da521d5ff23746170c848564a367e2cea"),
    (9_839_059_744, "47b08ba289b127fc64979bc877ee07e1c87aeb8eb8cd47bcfd112682847981ba"),
    (9_839_059_744, "29e35f4cf0e3a61f4726c960f1babf71d65677a8c99fe704257d665c9498ee88"),
    (7_910_235_256, "91ac087a40b814331e87f5f015af11ba999275d48d2af49591b6bf7727d3c146"),
)
"""Text to video 14B; those of VACE 14B, which adds a seventh, are the same files."""

T2V_1_3B = (
    _file(
        _T2V_1_3B,
        f"{WEIGHTS}.safetensors",
        (5_676_070_424, "96b6b242ca1c2f24e9d02cd6596066fab6d310e2d7538f33ae267cb18d957e8f"),
    ),
)
T2V_14B = shards("Wan-AI/Wan2.1-T2V-14B", 6, _numbered(*_14B_BASE), index=(96_805, ""))
I2V_14B = {size: shards(f"Wan-AI/Wan2.1-I2V-14B-{size}", 7) for size in ("480P", "720P")}
"""By the picture size that they are for."""
FLF2V_14B = shards("Wan-AI/Wan2.1-FLF2V-14B-720P", 7)
VACE_1_3B = (
    _file(
        "Wan-AI/Wan2.1-VACE-1.3B",
        f"{WEIGHTS}.safetensors",
        (7_146_067_848, "c46a6f5f7d32c453c3983bbc59761ea41cd02ad584fb55d1a7ee2b76145847a2"),
    ),
)
VACE_14B = shards("Wan-AI/Wan2.1-VACE-14B", 7, _numbered(*_14B_BASE, (6_098_227_760, "")))
TI2V_5B = shards(
    "Wan-AI/Wan2.2-TI2V-5B",
    3,
    _numbered(
        (9_825_014_472, "720b06c4ade5e87c1246bba8ac95b664c638749cd9b102cf84d823bb44c026a1"),
        (9_995_661_736, "09ec5ef720d8396f6cfa51fbdcbdb2327e37722afd6e89fd38f1e7e5e782c283"),
        (178_558_176, "6306f7894c345de9093ad588771c2abfaeb668a81f7a6d9a918bd26ba3568e49"),
    ),
    index=(72_865, "bfa2337f1163e195d24151a72298daf34a620543898109be47e414c8daa5b3fe"),
)

_OF_EXPERTS: Mapping[str, Mapping[int, Sum]] = {
    "Wan-AI/Wan2.2-I2V-A14B/high": _numbered(
        (9_994_119_944, "aeea563f9d38ec434b6761c497027ed2843220ee3efaf8c92c815255ade955e3"),
        (9_943_937_936, "fe3b3fcab2b50ff967d971eafbf45e24269c66adacc0881fd6e7f72cd24051e8"),
        (9_943_979_184, "c5d7ddaae0ef24ab452d852a7a53dde7bdad598cd8542e6824e65b0666f39e7f"),
        (9_839_059_744, "4e954c73022c0c8cfc09ebe1ad9aa069571af0c8954c0ed3a6b77c5c3d6b542d"),
        (9_839_059_744, "7c7328fa67ab849427db27145740a3b6531f915ae05f08c0b77c356fd1120be3"),
        (7_595_559_224, "a95d645bfdac3bf13f96d52299fac1a416c7a3bc8741a3ea58e5b7fd0eb3505f"),
    ),
    "Wan-AI/Wan2.2-I2V-A14B/low": _numbered(
        (9_994_119_944, "1127e3dea8c08cd746e36d1a7047a3197449adf13d90725ae0a276aeccaf8521"),
        (9_943_937_936, "8250fff242339c31ccb55236e3e1cc25566a2c1d777d1833f3231391fd7d0006"),
        (9_943_979_184, "d0f75d2f41fdab239dbc0624c13ca1c56d79196f2aa0ac57f5f5c68cb53220ea"),
        (9_839_059_744, "aa6119d3ebf5bae827a1fe19dc8e7cba9dbc5f798635a49f80cc0629ed8a74bf"),
        (9_839_059_744, "686cedb30b1696e1ba7034c9287cf1e96471aa997815bb6c183dff9fc7994663"),
        (7_595_559_224, "8b024bda8fb709ba69ec91f1efa5edc19e173d40dcb5b0936050c985167a1be9"),
    ),
}


def experts(repository: str, expert: str) -> tuple[PublishedFile, ...]:
    """The files of one of two experts, ``"high"`` or ``"low"``."""
    known = _OF_EXPERTS.get(f"{repository}/{expert}")
    return shards(repository, 6, known, folder=f"{expert}_noise_model/")


UMT5_XXL = (
    _file(
        _T2V_1_3B,
        "models_t5_umt5-xxl-enc-bf16.pth",
        (11_361_920_418, "7cace0da2b446bbbbc57d031ab6cf163a3d59b366da94e5afe36745b746fd81d"),
    ),
    _file(
        _T2V_1_3B,
        "google/umt5-xxl/tokenizer.json",
        (16_837_417, "6e197b4d3dbd71da14b4eb255f4fa91c9c1f2068b20a2de2472967ca3d22602b"),
        slot="tokenizer",
    ),
)
VAE = (
    _file(
        _T2V_1_3B,
        "Wan2.1_VAE.pth",
        (507_609_880, "38071ab59bd94681c686fa51d75a1968f64e470262043be31f7a094e442fd981"),
    ),
)
VAE_2_2 = (
    _file(
        "Wan-AI/Wan2.2-TI2V-5B",
        "Wan2.2_VAE.pth",
        (2_818_839_170, "20eb789667fa5e60e7516bf509512f6cb61f01b0aa0695eadaea930c13892b36"),
    ),
)
CLIP = (
    _file(
        "Wan-AI/Wan2.1-I2V-14B-480P",
        "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth",
        (4_772_359_047, "628c9998b613391f193eb67ff68da9667d75f492911e4eb3decf23460a158c38"),
    ),
)
