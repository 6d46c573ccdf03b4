"""Scoring by published protocols, one file each, as pure functions of arrays; no torch."""
