"""A probe of the contract: LongCat-Video as a plugin would bring it, with random weights."""
