"""Sending events to the listener of a run and to the observers among the plugins."""

from __future__ import annotations

from wan_core.contract.events import Event, Listener, Note
from wan_core.plugins import Plugins, brief


class Broadcast:
    """Calls everybody who listens. An observer of a plugin that fails is reported once and left out."""

    def __init__(self, listen: Listener | None, plugins: Plugins) -> None:
        self._listen = listen
        self._observers = dict(plugins.observers())

    def __call__(self, event: Event) -> None:
        if self._listen:
            self._listen(event)
        for name, observer in list(self._observers.items()):
            try:
                observer(event=event)
            except (Exception, SystemExit) as error:
                del self._observers[name]
                self(Note(f"{name} stopped watching: {brief(error)}", "warning"))
