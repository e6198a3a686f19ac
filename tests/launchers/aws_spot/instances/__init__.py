"""Instances of moto that really run: its unmodified user data, in a root and network of its own.

host.py      the machine under all of them: boots what moto has launched, gives notices, cuts the power
metadata.py  the metadata service of one instance, with the credentials of its role
inside.py    the first process in an instance;  systemd.py, shutdown, uv: what the user data finds on its PATH
"""
