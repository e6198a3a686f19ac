"""Races of entrants against each other: driven, judged, drawn."""
