"""The Gibbs sampler of Matchbox."""
