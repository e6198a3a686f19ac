"""Where the jobs of a sweep are executed: this machine, a SLURM cluster, Modal.

hydra_jobs.py    jobs of Hydra's multirun; ../hydra_plugins is what Hydra finds
launch.py        jobs are made, checked, shown, submitted, watched
sweep.py         a sweep on disk
payload.py       what a job calls;  worker.py: the process that calls it
backend.py       what a place of execution must offer: local/, slurm/, modal/
watch.py         waits for jobs, continues dead ones, completes MLflow;  table.py shows them
sweep_record.py      a sweep's own run in MLflow, above those of its jobs
job.py           the folder of one job
"""
