"""The bundled tiny weights (see ``zoo/``) and the words they were taught."""
