"""Model monitoring: drift of the features, quality on labelled rows, and alerts to train again."""
