"""Evolution of a policy's weights: the distribution that they are drawn from, and a population that drives at once."""
