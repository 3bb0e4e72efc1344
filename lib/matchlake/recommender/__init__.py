"""The recommender engine: ids, blocks, kernels, fits, scoring, splits and metrics."""
