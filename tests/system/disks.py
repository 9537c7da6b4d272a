"""disks.py -- small file systems of our own, which others fill up around a store.

    with Disk(folder, "ext4", 64 * MIB) as disk:
        disk.fill()        # What is left is taken by others, to the last block.
        disk.free()        # They go away again.

They are mounted in a mount namespace of this process and its children: whatever happens to the test, they go
with it. Where the machine cannot mount (no root, no loop devices), disk_kinds() says why, and tests skip.
"""
import ctypes
import functools
import os
import pathlib
import shutil
import subprocess

MIB = 1 << 20
CLONE_NEWNS = 0x20000
KINDS = ("ext4", "xfs", "tmpfs")
# The smallest that mkfs.xfs makes; the image is sparse, and takes what is written.
SIZE_MIN = {"ext4": 4 * MIB, "xfs": 300 * MIB, "tmpfs": 1 * MIB}


def run(*words):
    result = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise OSError(f"{' '.join(map(str, words))}: {result.stderr.strip() or result.stdout.strip()}")


@functools.lru_cache(None)
def enter_namespace():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0:
        raise OSError(f"unshare: {os.strerror(ctypes.get_errno())}")
    run("mount", "--make-rprivate", "/")


class Disk:
    def __init__(self, folder, kind, size):
        self.path = pathlib.Path(folder)
        self.kind = kind
        self.size = max(size, SIZE_MIN[kind])
        self.image = self.path.with_suffix(".img")
        self.ballast = self.path / "others"

    def __enter__(self):
        enter_namespace()
        self.path.mkdir(parents=True)
        if self.kind == "tmpfs":
            run("mount", "-t", "tmpfs", "-o", f"size={self.size}", "zr", self.path)
            return self
        with open(self.image, "wb") as image:
            image.truncate(self.size)
        # Nothing reserved for root: full is full, whoever we are.
        run(*(["mkfs.ext4", "-q", "-F", "-m", "0"] if self.kind == "ext4" else ["mkfs.xfs", "-q", "-f"]), self.image)
        run("mount", "-o", "loop", self.image, self.path)
        return self

    def __exit__(self, *_):
        run("umount", "-l", self.path)
        self.image.unlink(missing_ok=True)

    @property
    def left(self):
        stat = os.statvfs(self.path)
        return stat.f_bavail * stat.f_frsize

    def fill(self, leave=0):
        """Others take all but so many bytes."""
        self.ballast.mkdir(exist_ok=True)
        number = len(list(self.ballast.iterdir()))
        step = 1 << 30
        with open(self.ballast / str(number), "wb") as file:
            end = 0
            while step >= 4096:
                try:
                    if self.left - step < leave:
                        raise OSError
                    os.posix_fallocate(file.fileno(), end, step)
                    end += step
                except OSError:
                    step //= 2
            file.flush()
        return end

    def free(self):
        """They go away again."""
        shutil.rmtree(self.ballast, ignore_errors=True)


@functools.lru_cache(None)
def why_not(kind):
    """Why this machine cannot mount it; "" if it can."""
    probe = pathlib.Path(os.environ.get("TMPDIR", "/tmp")) / f"zr-probe-{os.getpid()}-{kind}"
    if os.geteuid() != 0:
        return "mounting needs root"
    if kind != "tmpfs" and shutil.which(f"mkfs.{kind}") is None:
        return f"there is no mkfs.{kind} (Debian: {'e2fsprogs' if kind == 'ext4' else 'xfsprogs'})"
    try:
        with Disk(probe, kind, 0):
            return ""
    except OSError as failure:
        return f"{kind} cannot be mounted here: {failure}"
    finally:
        probe.with_suffix(".img").unlink(missing_ok=True)
        if probe.exists():
            probe.rmdir()
