"""Where the jobs of a sweep are executed: this machine, a SLURM cluster, Modal, AWS.

hydra_jobs.py    jobs of Hydra's multirun, handed to launch.py; ../hydra_plugins is what Hydra finds
launch.py        jobs are decided, checked (preflight.py), shown, written down, submitted, watched
sweep.py         a sweep on disk;  job.py: the folder of one job
payload.py       what a job calls;  worker.py: the process that calls it
backend.py       what a place of execution must offer, and how a job goes on: local/, slurm/, modal/, aws_spot/
remote/          what places have in common whose jobs work on another disk
watch.py         polls the jobs, resubmits lost ones;  table.py shows them, job_progress.py is what it shows
sweep_record.py  the sweep's own run in MLflow, the parent of its jobs' runs;  collector.py: the process that uploads it
"""
