"""Real, tiny wheels and sdists, made on the spot: a package index that needs no network."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import zipfile
from pathlib import Path


def make_wheel(
    folder: Path,
    name: str,
    version: str = "1.0",
    *,
    requires: tuple[str, ...] = (),
    modules: dict[str, str] | None = None,
    tag: str = "py3-none-any",
    python: str = "",
    unlisted: dict[str, str] | None = None,
) -> Path:
    """Write a wheel and return its path. `modules` maps file names inside it to their text; `unlisted` has files not recorded."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = name.replace("-", "_")
    info = f"{plain}-{version}.dist-info"
    files = dict(modules or {f"{plain}.py": f"VERSION = {version!r}\n"})
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {item}" for item in requires]
    lines += [f"Requires-Python: {python}"] if python else []
    files[f"{info}/METADATA"] = "\n".join(lines) + "\n"
    pure = str(tag.endswith("-none-any")).lower()
    files[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: {pure}\nTag: {tag}\n"
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(text.encode())}\n"
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    files |= unlisted or {}
    wheel = folder / f"{plain}-{version}-{tag}.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            # A fixed date: the same wheel has the same hash, wherever and whenever it is made.
            archive.writestr(zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0)), text)
    return wheel


BACKEND = """
import base64, hashlib, os, zipfile


def get_requires_for_build_wheel(config_settings=None):
    return ["helper-tool>=1"]


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    import helper_tool

    name, version = {name!r}, {version!r}
    info = f"{{name}}-{{version}}.dist-info"
    files = {{
        f"{{name}}.py": f"BUILT_WITH = {{helper_tool.VERSION!r}}\\n",
        f"{{info}}/METADATA": f"Metadata-Version: 2.1\\nName: {{name}}\\nVersion: {{version}}\\n",
        f"{{info}}/WHEEL": "Wheel-Version: 1.0\\nGenerator: tests\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }}
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{{path}},sha256={{digest}},{{len(text)}}\\n"
    files[f"{{info}}/RECORD"] = f"{{record}}{{info}}/RECORD,,\\n"
    filename = f"{{name}}-{{version}}-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(wheel_directory, filename), "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return filename
"""


def make_sdist(folder: Path, name: str, version: str = "1.0", *, metadata: str = "2.2", first: str = "") -> Path:
    """Write an sdist whose own backend asks for `helper-tool` only when it is run, and return its path.

    With `metadata` 2.1 an installer has to ask the backend what it requires (PEP 643); `first` is a line that the backend runs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    top = f"{name}-{version}"
    system = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    project = f'[project]\nname = "{name}"\nversion = "{version}"\n' if metadata == "2.2" else ""
    files = {
        "pyproject.toml": project + system,
        "backend.py": f"{first}\n{BACKEND.format(name=name, version=version)}",
        "PKG-INFO": f"Metadata-Version: {metadata}\nName: {name}\nVersion: {version}\n",
    }
    path = folder / f"{top}.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for inner, text in files.items():
            entry = tarfile.TarInfo(f"{top}/{inner}")
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    return path
