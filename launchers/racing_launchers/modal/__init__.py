"""`launcher=modal`: jobs in Modal containers.

backend.py   submits, polls, cancels, fetches results
app.py       what is sent: the image, the function and what it is given
worker.py    what a container does
volume.py    files on a Modal volume;  needs.py: what jobs need there
gpus.py      names and prices
service.py   an app that is deployed: training on a web request
"""
