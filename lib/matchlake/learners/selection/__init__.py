"""Filter selection: scores each feature separately against the label, and keeps the best."""
