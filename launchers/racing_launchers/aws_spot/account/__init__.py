"""An account of AWS, as jobs need it: client, objects of a bucket, stack, roles, secrets, prices, fleets."""
