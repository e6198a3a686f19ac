"""What policies are evaluated on: seeds of their starts, suites of races."""

from __future__ import annotations

# Added to the seed of an evaluation, so that no start is one that training saw (its seeds are smaller) and the starts
# that a best checkpoint was chosen by are not those that it is reported on.
VALIDATION_SEEDS, TEST_SEEDS = 1 << 29, 1 << 30
CONFIRMING_SEEDS = [VALIDATION_SEEDS + (number << 25) for number in (1, 2, 3, 4)]  # of those who would be the best
MAX_TASK_SEED = 1 << 28  # above it are the seeds of evaluation starts (racing.evaluation.evaluate)
SUITES = ("follow", "defend", "grid", "braking")  # of races, see racing.evaluation.race.suites.drive_suite
