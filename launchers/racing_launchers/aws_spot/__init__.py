"""`launcher=aws_spot`: jobs on spot instances of AWS.

backend.py    submits, polls, cancels, fetches results;  launching.py: asks for instances
checks.py     what is looked at before anything is submitted;  settings.py: the keys
place.py      a job's place in the bucket, and who may write there;  spec.py: what an attempt is told
supervised.py launcher.supervise=asg: groups that look after themselves
inputs.py     runs of this machine that a job needs
code.py       the archive of the code;  launches.py: the instances that a job has had
account/      AWS: client, bucket, stack, roles, secrets, prices, fleets, groups
instance/     what runs on an instance
"""
