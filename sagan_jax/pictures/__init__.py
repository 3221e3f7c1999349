"""Pictures made of images: grids and sample sheets."""
