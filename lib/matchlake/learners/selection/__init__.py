"""Filter selection: features are scored one by one against the label, and the best are kept."""
