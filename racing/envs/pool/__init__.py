"""A pool of policies that the learner races against: how it does against each, which one it meets next, who joins."""
