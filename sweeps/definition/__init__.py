"""A study as data: the file, its sections and values, and what they resolve to."""
