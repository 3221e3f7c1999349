"""Where images come from: sources, transforms, and the stream of batches."""
