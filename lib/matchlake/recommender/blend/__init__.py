"""A blend of models: the weighted ranks of their lists."""
