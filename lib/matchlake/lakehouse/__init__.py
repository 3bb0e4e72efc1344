"""What spans tables: declarations, views, grants, erasure."""
