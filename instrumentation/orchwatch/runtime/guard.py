"""A process beside a supervisor that ends its agents once the supervisor is gone, however it went.

`PYTHON -I -S guard.py PID MARK GRACE`. It waits for the process to end, then ends all that carry
the mark: agents of any command, and what they have started, also in groups of their own. The
kernel's `PR_SET_PDEATHSIG` would reach an agent but nothing that it started, and falls with the
thread that started it, not with the process. A pipe that each agent watches would ask something of
every command, and a forked child of the supervisor would hold it open.
"""

import os
import sys

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(__file__))))
    from orchwatch.runtime import processes

    supervisor, mark, grace_s = sys.argv[1:]
    if os.getppid() == int(supervisor):
        processes.wait(int(supervisor))
    # What it was just starting when it was killed shows its mark only once it runs.
    processes.end_all(
        lambda: processes.marked(lambda found: found == mark), float(grace_s), settle_s=0.5
    )
