"""From bytes to typed rows, or to the reason why not."""
