"""Simple baseline recommenders: popularity and biases."""
