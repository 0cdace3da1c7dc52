"""Everything that knows Ray: its session, the searcher, the trainable, watchdog, nodes."""
