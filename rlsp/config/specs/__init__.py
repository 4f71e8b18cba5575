"""Specs: what a study file may say, as typed classes; imports neither torch nor pandas."""
