"""In an instance with systemd: python cloud_init.py FOLDER brings its network up, and runs its user data, as root.

See inside.py, which is both and systemd, too.
"""

import runpy
import subprocess
import sys
import threading
from pathlib import Path

inside = runpy.run_path(str(Path(__file__).with_name("inside.py")))
inside["bring_network_up"]()
inside["connect_to_aws"](sys.argv[1])
subprocess.run(["bash", f"{sys.argv[1]}/user_data"])
threading.Event().wait()
