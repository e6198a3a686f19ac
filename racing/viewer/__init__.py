"""The page on which one watches policies drive, and drives against them."""
