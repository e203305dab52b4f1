"""Rate controllers; each registers itself by name."""
