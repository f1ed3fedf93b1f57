"""How the bundled tiny weights are made: a toy world, its captions, a judge, and training scripts.

Nothing here ships in a wheel. See README.md for the one command that makes the weights again.
"""
