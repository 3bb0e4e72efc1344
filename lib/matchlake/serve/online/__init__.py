"""The online store: gold tables by key, in PostgreSQL or in memory-mapped Arrow files."""
