"""``wan-core models pull``: fetches the published files of a family, exactly those that are meant."""
