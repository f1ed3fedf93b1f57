"""Quantised weights: how files store them, what they are worth, and the linear layer that keeps them so.

``layouts`` tells from a header how each weight is stored (no torch), ``own`` what our own files say there,
``packed`` holds the numbers of one weight and unpacks them, ``source`` shows a quantised checkpoint as one of
plain tensors, ``linear`` is the layer, ``products`` multiplies without unpacking.
"""
