"""Invented data for both vendors: believable, awkward where real data is, same for same seed."""
