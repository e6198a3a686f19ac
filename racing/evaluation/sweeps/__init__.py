"""How a policy degrades as its cars differ from their vehicle."""
