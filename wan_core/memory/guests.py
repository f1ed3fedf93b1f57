"""Tensors that lie in host memory and are on a device for a time."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


class Guests:
    """Brings tensors to a device as a whole and points them back home later.

    What is at home stays there, so that leaving costs nothing: nothing is ever copied back. A tensor that was
    given other data while it was on the device keeps these, and they move to host memory.

    Args:
        device: where to.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._there: list[tuple[Tensor, Tensor, int]] = []  # tensor, home, where it was put

    @torch.inference_mode(False)
    def bring(self, tensors: Iterable[Tensor]) -> None:
        """Have them on the device; each once."""
        seen = {id(tensor) for tensor, _, _ in self._there}
        for tensor in tensors:
            if id(tensor) not in seen:
                seen.add(id(tensor))
                home = tensor.data
                tensor.data = home.to(self.device)
                self._there.append((tensor, home, tensor.data_ptr()))

    @torch.inference_mode(False)
    def withdraw(self) -> None:
        """Have none of them there any more."""
        for tensor, home, place in self._there:
            own = tensor.data_ptr() == place
            tensor.data = home if own else tensor.data.to(home.device)
        self._there = []
