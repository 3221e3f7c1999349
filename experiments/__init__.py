"""One file per experiment; `get_config()` sets only what differs from its base."""
