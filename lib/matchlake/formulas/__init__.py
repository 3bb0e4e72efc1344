"""The expression tree of features and its renderers."""
