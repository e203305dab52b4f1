"""The weights that we ship; MODEL_CARD.md beside them says how they were made."""
