"""`launcher=local`: jobs in processes of this machine."""
