"""In an instance with systemd: python cloud_init.py FOLDER brings its network up, and runs its user data, as root.

See inside.py, which is both and systemd, too.
"""

import subprocess
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from inside import bring_network_up, connect_to_aws

bring_network_up()
connect_to_aws(sys.argv[1])
subprocess.run(["bash", f"{sys.argv[1]}/user_data"])
threading.Event().wait()
