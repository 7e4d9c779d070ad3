"""Weights: official names, where their files come from, and how pixels enter them."""
