"""Image sources, transforms, and the stream of batches."""
