"""Campaigns: several trainings, their validation against each other, the deployment of the winners."""
