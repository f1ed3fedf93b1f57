"""Handlers for the kinds of reference cases that the core itself computes, one module a topic."""
