"""Entry point, for `python -m` as well as for `python path/to/fake_agent`."""

import sys

package = __package__
if not package:
    # Run as a folder: name the package after it, without importing what lies above.
    sys.path[0], package = sys.path[0].rstrip("/").rpartition("/")[::2]

if __name__ == "__main__":
    __import__(f"{package}.agent", fromlist=["main"]).main(sys.argv[1:])
