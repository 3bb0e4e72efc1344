"""The steps of a training job."""
