"""Recommenders: fits, models, splits and metrics. `matchlake` exports the public names."""
