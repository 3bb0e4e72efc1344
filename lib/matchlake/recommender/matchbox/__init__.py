"""Matchbox: Bayesian matrix factorization with side features, sampled by Gibbs."""
