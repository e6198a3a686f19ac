"""Jobs of a sweep in containers of Modal.

backend.py   submits, polls, cancels, fetches results
app.py       what is sent: the image, the function and what it is given
worker.py    what a container does
sync.py      files from the volume to the outputs folder
gpus.py      names and prices
service.py   an app that is deployed: training on a web request
"""
