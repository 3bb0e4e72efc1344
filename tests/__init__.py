"""A package: some distributions bring a `tests` of their own, which would come first."""
