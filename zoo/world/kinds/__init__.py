"""Kinds of scenes. A new kind is one more file here and one more line in ``zoo.world.KINDS``."""
