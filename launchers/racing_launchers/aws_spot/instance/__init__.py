"""What runs on an instance: user_data.sh sets it up, worker.py looks after the job, job_process.py does it.

metadata.py    what AWS tells the instance, above all that it is taken away
uploads.py     from its disk to the bucket
"""
