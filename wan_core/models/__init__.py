"""Models: families with their presets, and the networks they are made of."""
