"""Recommenders: fits, models, splits and metrics. `from matchlake import ...` has the names."""
