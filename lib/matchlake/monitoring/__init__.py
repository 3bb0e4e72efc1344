"""Model quality: drift of inputs, quality where labels arrived, and when to train again."""
