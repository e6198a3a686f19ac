"""Where the jobs of a sweep are executed: this machine, a SLURM cluster, Modal.

    plugin/          what Hydra finds: a launcher that hands its jobs to hydra_jobs.py
    launch.py        jobs are made, checked, shown, submitted, watched
    command.py       the same for another verb: racing evaluate launcher=slurm
    sweep.py         a sweep on disk
    payload.py       what a job calls;  worker.py: the process that calls it
    backend.py       what a place of execution must offer: local/, slurm/, modal/
    watch.py         waits for jobs, continues dead ones, completes MLflow;  table.py shows them
    record.py        a sweep's own run in MLflow, above those of its jobs
    verb.py          racing jobs

Nothing in racing/ imports this package.
"""
