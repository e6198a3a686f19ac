"""What launchers have in common whose jobs work on another disk than this one.

files.py    files there, seen from here;  addresses.py: by the address that the command line takes
sync.py     from there to the outputs folder
tracks.py   tracks there
needs.py    what a job needs there beside the code
code.py     the packages and the code that are sent
usage.py    for how long machines have worked, and what that cost
"""
