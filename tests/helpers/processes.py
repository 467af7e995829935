"""What Linux says of other processes."""

from pathlib import Path


def state(pid: int) -> str:
    """R, S, T (stopped), Z, ..., or nothing where there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""
