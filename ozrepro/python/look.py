"""Says as JSON what is inside an image. Runs in the image, with the image's own Python (3.6 or newer) and nothing else.

Sent to that Python as text: it must import nothing of ozrepro and need nothing outside the standard library.
"""

import base64
import hashlib
import json
import os
import re
import stat
import subprocess
import sys

PASSED_OVER = (
    *("/dev", "/proc", "/run", "/sys", "/tmp", "/var/tmp", "/home", "/mnt", "/media"),  # noqa: S108
    *("/var/cache", "/var/log", "/var/lib/apt", "/var/lib/dnf", "/var/lib/rpm", "/etc/ld.so.cache", "/.singularity.d", "/.exec"),
    *(
        "/etc/group",
        "/etc/hosts",
        "/etc/localtime",
        "/etc/mtab",
        "/etc/passwd",
        "/etc/resolv.conf",
        "/etc/hostname",
        "/root/.cache",
    ),
    *("/environment", "/singularity", "/.run", "/.shell", "/.test", "/var/lib/dpkg/info", "/etc/machine-id", "/var/lib/systemd"),
)
"""What two builds of one definition, or two machines, never have alike: mounts, logs, indexes, and Apptainer's own notes."""


def tree(passed_over):
    # type: (frozenset[str]) -> tuple[str, int]
    """Return a digest over path, mode and content of all files, and how many they are; bytecode is passed over: it has dates."""
    total, count = hashlib.sha256(), 0
    for base, folders, files in os.walk("/"):
        folders[:] = sorted(name for name in folders if os.path.join(base, name) not in passed_over and name != "__pycache__")
        for name in sorted(files + [name for name in folders if os.path.islink(os.path.join(base, name))]):
            path = os.path.join(base, name)
            if path in passed_over or name.endswith((".pyc", ".pyo")):
                continue
            try:
                found = os.lstat(path)
                if stat.S_ISLNK(found.st_mode):
                    content = os.fsencode(os.readlink(path))
                elif stat.S_ISREG(found.st_mode):
                    content = digest(path)
                else:
                    continue
            except OSError as error:
                content = str(error.errno).encode()
                found = os.stat_result((0,) * 10)
            line = b"%s\0%o\0%s\n" % (os.fsencode(path), found.st_mode, content)
            total.update(line)
            count += 1
    return total.hexdigest(), count


def digest(path):
    # type: (str) -> bytes
    """Return the sha256 of a file."""
    found = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            found.update(block)
    return found.digest()


def mounts():
    # type: () -> frozenset[str]
    """Return all mount points but the root."""
    with open("/proc/self/mountinfo", "rb") as stream:
        lines = stream.read().decode("utf-8", "replace").splitlines()
    return frozenset(line.split()[4].replace("\\040", " ") for line in lines) - {"/"}


def distributions(folders):
    # type: (tuple[str, ...]) -> dict[str, tuple[str, list[str]]]
    """Return each Python distribution in folders by name: its version and the names that it can be imported by."""
    found = {}  # type: dict[str, tuple[str, list[str]]]
    for folder in folders:
        try:
            names = sorted(os.listdir(folder or "."))
        except OSError:
            continue
        for name in names:
            path = os.path.join(folder, name)
            if name.endswith(".dist-info"):
                file = os.path.join(path, "METADATA")
            elif name.endswith(".egg-info"):
                file = os.path.join(path, "PKG-INFO") if os.path.isdir(path) else path
            else:
                continue
            title, version = fields(file)
            title = re.sub("[-_.]+", "-", title).lower()
            if title and title not in found:
                found[title] = (version, importable(path))
    return found


def fields(file):
    # type: (str) -> tuple[str, str]
    """Return name and version that a distribution's metadata says."""
    found = {}  # type: dict[str, str]
    try:
        with open(file, "rb") as stream:
            for raw in stream:
                line = raw.decode("utf-8", "replace").strip()
                if not line:
                    break
                key, _, value = line.partition(": ")
                found.setdefault(key, value)
    except OSError:
        pass
    return found.get("Name", ""), found.get("Version", "")


def importable(folder):
    # type: (str) -> list[str]
    """Return the names at the top of what a distribution has installed, as its list of files tells them."""
    names = set()
    try:
        with open(os.path.join(folder, "top_level.txt"), "rb") as stream:
            names.update(stream.read().decode("utf-8", "replace").split())
    except OSError:
        pass
    try:
        with open(os.path.join(folder, "RECORD"), "rb") as stream:
            lines = stream.read().decode("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        path = line.rpartition(",")[0].rpartition(",")[0].strip('"')
        first, mark, rest = path.partition("/")
        if mark and rest and first.isidentifier():
            names.add(first)
        elif not mark and first.endswith((".py", ".so")):
            names.add(first.partition(".")[0])
    return sorted(name for name in names if name.isidentifier() and not name.endswith(("__pycache__", "__mypyc")))


def system():
    # type: () -> list[str]
    """Return the packages of the image's own package tools, each as name and version: dpkg, apk, rpm, conda."""
    found = set()
    found.update(stanzas("/var/lib/dpkg/status", "Package: ", "Version: "))
    found.update(stanzas("/lib/apk/db/installed", "P:", "V:"))
    for base in ("/var/lib/rpm", "/usr/lib/sysimage/rpm"):
        if os.path.isdir(base):
            words = ["rpm", "-qa", "--qf", "%{NAME} %{VERSION}-%{RELEASE}\n"]
            try:
                found.update(subprocess.check_output(words, stderr=subprocess.DEVNULL).decode("utf-8", "replace").splitlines())
            except (OSError, subprocess.CalledProcessError):
                pass
            break
    for prefix in {sys.prefix, os.path.realpath(sys.prefix), "/opt/conda", "/opt/session"}:
        meta = os.path.join(prefix, "conda-meta")
        if os.path.isdir(meta):
            for name in os.listdir(meta):
                if name.endswith(".json"):
                    title, version, build = name[:-5].rsplit("-", 2)
                    found.add("%s %s %s" % (title, version, build))
    return sorted(line for line in found if line.strip())


def stanzas(file, name, version):
    # type: (str, str, str) -> set[str]
    """Return name and version of each stanza of a package database."""
    found = set()  # type: set[str]
    try:
        with open(file, "rb") as stream:
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return found
    for stanza in text.split("\n\n"):
        values = {}  # type: dict[str, str]
        for line in stanza.splitlines():
            for key in (name, version):
                if line.startswith(key):
                    values.setdefault(key, line[len(key) :].strip())
        if len(values) == 2 and "deinstall" not in stanza.partition("\nStatus: ")[2].partition("\n")[0]:
            found.add("%s %s" % (values[name], values[version]))
    return found


def main():
    # type: () -> None
    """Print it all, between two marks: what a site adds to a start may print too."""
    sha256, files = tree(mounts() | frozenset(PASSED_OVER))
    found = {
        "python": "%d.%d.%d" % sys.version_info[:3],
        "tree": sha256,
        "files": files,
        "distributions": distributions(tuple(sys.path)),
        "system": system(),
    }
    print("<ozrepro>" + base64.b64encode(json.dumps(found).encode()).decode() + "</ozrepro>")


if __name__ == "__main__":
    main()
