"""Simple recommenders to compare with: popularity, biases, EASE."""
