"""`matchlake serve-stream`: folds each event into its user at once, and emits the new list."""
