"""One file per experiment; `get_config()` says only what differs from its base."""
