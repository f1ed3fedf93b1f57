"""The linear map from the tiny VAE's latents to colours: ``python -m zoo.fit_preview [FILE]``.

Prints the rows that ``wan_core/models/vae/preview.py`` holds, and how near they come
on unseen clips. Takes a minute or two on one core.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

import wan_core
from wan_core.models.vae import WanVAE, vae_descriptor
from wan_core.models.vae.dialects import DIALECTS
from wan_core.models.vae.preview import Colours, fit_colours, mean_colours
from wan_core.weights import load_into, open_weights
from zoo.train_vae import SHARES
from zoo.training import psnr, say
from zoo.world import draw_mixture

BUNDLED = Path(wan_core.__file__).parent / "models" / "tiny" / "vae.safetensors"
CLIPS = 48
SIZE = (
    9,
    96,
    96,
)  # short: a clip's first latent looks different from the others, and both have to count


def load(file: Path) -> WanVAE:
    """A VAE of any file in float32."""
    source = open_weights(file)
    with torch.device("meta"):
        vae = WanVAE.of(vae_descriptor(source))
    load_into(vae, source, DIALECTS, dtype=torch.float32)
    return vae.eval()


@torch.no_grad()
def main() -> None:
    vae = load(Path(sys.argv[1]) if len(sys.argv) > 1 else BUNDLED)
    seen, unseen = (draw_mixture(SHARES, CLIPS, seed, size=SIZE) for seed in (1, 2))
    latents, unknown = (
        torch.cat([vae.encode(c[None])[0] for c in clips]) for clips in (seen, unseen)
    )
    exact = fit_colours(latents, seen, vae.config)
    rows = [tuple(round(x, 4) for x in row) for row in (*exact.rows, exact.base)]
    for row in rows:
        say(f"({', '.join(f'{x:.4f}' for x in row)}),")
    *colours, base = ((red, green, blue) for red, green, blue in rows)
    got = Colours(colours, base)(unknown)
    near = psnr(got, mean_colours(unseen, vae.config))
    say(f"unseen clips: {float(near.mean()):.1f} dB, worst {float(near.min()):.1f} dB")


if __name__ == "__main__":
    main()
