"""Policies drive on a page, people against them."""
