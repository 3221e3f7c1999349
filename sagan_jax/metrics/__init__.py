"""Numbers about images; nothing here knows how they were made."""
