"""The only code that touches the outside world: broker, lake, Delta tables, secrets, tracking."""
