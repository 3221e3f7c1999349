"""What lies on a disk: files written whole, locks, manifests, foreign formats."""
