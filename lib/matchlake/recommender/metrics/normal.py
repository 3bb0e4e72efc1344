"""Constants of the normal distribution, for calibration."""

DEVIATION = "rating_std"
"""The column of the predicted standard deviation."""

HALF_WIDTH = 1.6448536269514722
"""The interval of this many standard deviations around the score has 90% of a normal
distribution."""

HALF_LOG_2_PI = 0.5 * 1.8378770664093453
"""log(2 pi) / 2."""
