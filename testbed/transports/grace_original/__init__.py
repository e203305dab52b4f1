"""The original GRACE, from a checkout and weights that the user has; nothing of it is here."""
