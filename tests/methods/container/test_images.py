"""Images that are not built from a definition of the user's: files, references, other methods' locks; and where Apptainer is from."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from ozrepro.methods.reading import load_lock
from tests.fake_cluster import Site
from tests.fake_cluster.channel import Channel
from tests.fake_cluster.containers import QUICK, TAG, Containers
from tests.fake_cluster.fixtures import OrdinaryProject
from tests.fake_cluster.registry import Registry
from tests.methods.container.contained import HUB, contained, python
from tests.methods.modules.modular import modular
from tests.python.test_unreachable_index import user_settings
from tests.wheels import make_wheel


def container_of(project: OrdinaryProject) -> dict[str, object]:
    """Return the content of the lock's section of an image."""
    lock = load_lock(project.root, "work")
    assert lock is not None
    return dict(next(section for section in lock.sections if section.method == "container").content)


def on_path(project: OrdinaryProject, containers: Containers, *folders: Path) -> OrdinaryProject:
    """Return the project of a user who has these folders on PATH instead of Apptainer's."""
    words = [word for word in project.environ["PATH"].split(":") if word != str(containers.bin)]
    return dataclasses.replace(project, environ={**project.environ, "PATH": ":".join((*map(str, folders), *words))})


@pytest.fixture
def plain(ordinary: OrdinaryProject, hub: Registry, images_cache: Path, containers: Containers) -> OrdinaryProject:
    """Give a project with the base image as `base.sif`, and its session not described yet."""
    project = contained(ordinary, hub, images_cache)
    project.account.give(Path(shutil.copy(containers.base, project.root / "base.sif")))
    return project


class TestGivenImages:
    def test_a_file_is_locked_and_used_where_it_lies_and_another_one_is_drift(
        self, plain: OrdinaryProject, containers: Containers
    ) -> None:
        plain.spec('[container]\nimage = "base.sif"\n')
        plain.offline.done("lock")
        section = container_of(plain)
        assert (section["sha256"], section["image"]) == (containers.base_sif_digest, "base.sif")
        assert python(plain.offline, "import sys; print(sys.version.split()[0])") == "3.11.2\n"
        assert (plain.prefix() / "image.sif").resolve() == plain.root / "base.sif"
        image = plain.root / "base.sif"
        image.write_bytes(image.read_bytes()[:-1] + b"!")
        for words in (("run", "work", "--", "true"), ("build",), ("lock", "--check", "--here")):
            said = plain.ozrepro(*words)
            assert said.returncode == 3, said.stderr
            assert "base.sif: is another image than the one that was locked" in said.stderr
        plain.done("lock")
        assert python(plain, "print(1)") == "1\n"
        image.unlink()
        said = plain.ozrepro("run", "work", "--", "true")
        assert said.returncode == 3
        assert "base.sif: No such file or directory" in said.stderr

    def test_a_reference_is_pinned_and_fetched_by_its_digest(
        self, plain: OrdinaryProject, hub: Registry, containers: Containers
    ) -> None:
        plain.spec(f'[container]\nimage = "docker://python:{TAG}"\n')
        plain.done("lock")
        assert container_of(plain)["base"] == [
            {"bootstrap": "docker", "from": f"docker.io/{HUB}:{TAG}", "digest": containers.index}
        ]
        assert f"GET /v2/{HUB}/manifests/{containers.index}" in hub.asked()
        assert python(plain.offline, "print(1)") == "1\n"

    def test_a_base_that_cannot_be_pinned_is_said_by_lock_and_status(
        self, plain: OrdinaryProject, containers: Containers
    ) -> None:
        plain.write("sessions/work.def", f"Bootstrap: oci\nFrom: {containers.layout}\n")
        plain.spec('[container]\ndefinition = "sessions/work.def"\n')
        said = plain.offline.ozrepro("lock")
        assert said.returncode == 0, said.stderr
        assert f"the base oci {containers.layout} is not pinned" in said.stderr
        assert f"yes; its base is not pinned: oci {containers.layout}\n" in plain.done("status")
        assert python(plain.offline, "print(1)") == "1\n"


MODULES = """
methods = ["modules", "container"]
imports = ["alpha", "setuptools"]

[modules]
load = ["{name}"]
[modules.venv]
system-site-packages = true
requirements = ["alpha"]

[container]
from = "modules"
base = "python.sif"
module = "apptainer/latest"
"""


class TestFromOtherMethods:
    def test_a_venv_s_lock_makes_an_image_that_follows_it(self, plain: OrdinaryProject) -> None:
        wheels = plain.root.parent / "wheels, it's: more"
        make_wheel(wheels, "alpha", "1.0", requires=("beta",))
        make_wheel(wheels, "beta", "2.0")
        plain = dataclasses.replace(plain, environ={**plain.environ, "PIP_FIND_LINKS": wheels.as_uri()})
        plain.spec(
            'methods = ["container", "venv"]\nimports = ["alpha", "beta"]\n'
            '[venv]\nrequirements = ["alpha"]\n[container]\nfrom = "venv"\nbase = "base.sif"\n'
        )
        plain.offline.done("lock", APPTAINER_BINDPATH="/nowhere/at/all", APPTAINERENV_PATH="/nowhere")
        assert python(plain.offline, "import alpha, beta, sys; print(beta.VERSION, sys.prefix)") == "2.0 /opt/session\n"
        said = plain.ozrepro("diff", "work", "venv", "container")
        assert said.stdout == "no difference in what both locks name\n"
        assert "not compared, as one lock alone has the name: python; ozrepro build work tells" in said.stderr
        text = plain.done("export", "work", "--format", "def")
        assert text.splitlines() == container_of(plain)["generated"]
        assert str(plain.root) not in text
        make_wheel(wheels, "beta", "3.0")
        plain.done("lock", "--method", "venv", "--upgrade")
        said = plain.ozrepro("run", "work", "--", "true")
        assert said.returncode == 3
        assert "container.linux-64 was built from venv.any, which has changed since" in said.stderr
        assert "venv.any" in plain.ozrepro("lock", "--check").stderr
        plain.done("lock")
        assert python(plain, "import beta; print(beta.VERSION)") == "3.0\n"

    @pytest.mark.network
    def test_an_exported_definition_builds_without_ozrepro(self, plain: OrdinaryProject) -> None:
        settings = {**dict.fromkeys(("PIP_NO_INDEX", "PIP_FIND_LINKS", "PIP_CONFIG_FILE"), ""), **user_settings()}
        plain.spec('[venv]\nrequirements = ["six==1.16.0"]\n[container]\nfrom = "venv"\nbase = "base.sif"\n')
        locked = plain.ozrepro("lock", "--method", "venv", **settings)
        if locked.returncode != 0 and ("Request failed" in locked.stderr or "dns error" in locked.stderr):
            pytest.skip("no package index can be reached")
        plain.done("export", "work", "--format", "def", "--output", "own.def")
        done = plain.run("apptainer", "build", "own.sif", "own.def", **QUICK)
        assert done.returncode == 0, done.stderr
        said = plain.run("apptainer", "exec", "own.sif", "python", "-c", "import six, sys; print(six.__version__, sys.prefix)")
        assert said.stdout == "1.16.0 /opt/session\n", said.stderr

    def test_a_conda_lock_makes_an_image_with_the_same_packages(self, plain: OrdinaryProject, channel: Channel) -> None:
        packages = next((plain.programs.parent / "lib").glob("python3*/site-packages"))
        plain.write(
            "rattler.def",
            f"Bootstrap: localimage\nFrom: base.sif\n\n%files\n    {packages}/rattler /usr/lib/python3/dist-packages/rattler\n",
        )
        done = plain.run("apptainer", "build", "rattler.sif", "rattler.def", **QUICK)
        assert done.returncode == 0, done.stderr
        project = dataclasses.replace(plain, environ={**plain.environ, "CONDA_CHANNEL_ALIAS": channel.alias})
        project.spec(
            'methods = ["conda", "container"]\nimports = ["numpy"]\n[conda]\ndependencies = ["python=3.10", "numpy=1.22", "activates"]\n'
            '[container]\nfrom = "conda"\nbase = "rattler.sif"\n'
        )
        project.offline.done("lock")
        assert "2 methods, same versions" in project.done("status")
        assert project.done("diff", "work", "conda", "container") == "no difference\n", "before anything is built"
        for name in ("conda", "container"):
            project.offline.done("build", "--method", name)
        assert project.done("diff", "work", "conda", "container") == "no difference\n"
        lines = container_of(project)["generated"]
        assert project.offline.done("export", "work", "--format", "def").splitlines() == lines
        code = "import numpy, os, sys; print(numpy.__version__, sys.prefix, os.environ['ACTIVATES_JSON'])"
        words = ("run", "work", "--method", "container", "--", "python", "-c", code)
        assert project.offline.done(*words) == "1.22.3 /opt/session from env_vars.d\n"
        assert str(channel.prefix) not in project.lock().read_text()

    def test_a_modules_lock_makes_an_image_and_what_the_index_lacks_is_listed(
        self, plain: OrdinaryProject, apptainer_site: Site, containers: Containers
    ) -> None:
        project = modular(on_path(plain, containers), apptainer_site).project
        assert isinstance(project, OrdinaryProject)
        name = apptainer_site.names["python-bare"]
        provided = apptainer_site.packages["python-bare"]
        make_wheel(project.wheelhouse, "alpha", "1.0")
        names = ("_distutils_hack", "pkg_resources", "setuptools")
        make_wheel(project.wheelhouse, "setuptools", provided["setuptools"], modules={f"{word}.py": "" for word in names})
        software = apptainer_site.prefix / "apps" / "software" / "python"
        tree = next(path for path in software.resolve().iterdir() if path.name == name.partition("/")[2])
        project.write(
            "python.def",
            f"Bootstrap: localimage\nFrom: base.sif\n\n%files\n    {tree} /opt/python\n\n%post\n    cp -a /opt/python/. /usr/local\n    rm -r /opt/python\n",
        )
        done = project.run(containers.program, "build", "python.sif", "python.def", **QUICK)
        assert done.returncode == 0, done.stderr
        project.spec(MODULES.format(name=name))
        said = project.offline.ozrepro("lock")
        assert said.returncode == 0, said.stderr
        assert f"pip {provided['pip']} of the modules has no wheel in any index: the image is made without it" in said.stderr
        for method in ("modules", "container"):
            project.offline.done("build", "--method", method)
        assert project.done("diff", "work", "modules", "container") == f"- pip {provided['pip']}\n"


class TestWhereApptainerIs:
    def test_a_module_is_asked_for_by_name_and_loaded_and_its_removal_is_drift(
        self, plain: OrdinaryProject, apptainer_site: Site, containers: Containers
    ) -> None:
        project = modular(on_path(plain, containers), apptainer_site).project
        project.spec('[container]\nimage = "base.sif"\n')
        said = project.ozrepro("lock")
        assert said.returncode == 4
        assert 'Apptainer is a module here: write module = "apptainer/latest" into [container]' in said.stderr
        project.spec('[container]\nimage = "base.sif"\nmodule = "apptainer/latest"\n')
        project.done("lock")
        code = f"import os; print(os.path.isdir({str(apptainer_site.prefix / 'fred')!r}), os.environ.get('MODULEPATH'))"
        for calling in (project, dataclasses.replace(project, environ={**project.environ, "LMOD_CMD": ":"})):
            assert calling.done("run", "work", "--", "python", "-c", code) == "True None\n"
        (apptainer_site.prefix / "apps" / "modulefiles" / "core" / "apptainer" / "latest.lua").unlink()
        said = project.ozrepro("run", "work", "--", "true")
        assert said.returncode == 3
        assert "apptainer/latest" in said.stderr

    def test_what_the_module_of_the_program_reads_is_followed_and_compared(
        self, plain: OrdinaryProject, apptainer_site: Site, containers: Containers
    ) -> None:
        module = apptainer_site.prefix / "apps" / "modulefiles" / "core" / "apptainer" / "latest.lua"
        with module.open("a") as stream:
            stream.write('if os.getenv("SCRATCH") then append_path("APPTAINER_BINDPATH", os.getenv("SCRATCH"), ",") end\n')
            stream.write('if os.getenv("FABRIC") == "ib" then setenv("APPTAINER_FABRIC", "ib") end\n')
        project = modular(on_path(plain, containers), apptainer_site).project
        project.spec('[container]\nimage = "base.sif"\nmodule = "apptainer/latest"\n')
        said = project.ozrepro("lock")
        assert (said.returncode, "FABRIC, read by apptainer/latest" in said.stderr) == (1, True)
        assert 'add to [tool.ozrepro] of pyproject.toml: site-variables = ["FABRIC"]' in said.stderr
        (project.root / "pyproject.toml").write_text('[tool.ozrepro]\nsite-variables = ["FABRIC"]\n')
        project.done("lock")
        scratch = project.root.parent / "scratch"
        scratch.mkdir()
        code = f"import os; print(os.path.isdir({str(scratch)!r}))"
        assert project.done("run", "work", "--", "python", "-c", code, SCRATCH=str(scratch)) == "True\n"
        assert project.done("run", "work", "--", "python", "-c", code) == "False\n"
        assert project.ozrepro("run", "work", "--", "true", FABRIC="ib").returncode == 3

    def test_singularity_is_taken_where_that_is_the_program_s_name(self, plain: OrdinaryProject, containers: Containers) -> None:
        folder = plain.root.parent / "bin"
        folder.mkdir()
        (folder / "singularity").symlink_to(containers.program)
        project = on_path(plain, containers, folder)
        project.spec('[container]\nimage = "base.sif"\n')
        project.done("lock")
        assert python(project, "print(1)") == "1\n"
        assert python(project, "import os; print(os.environ['SINGULARITY_NAME'])") == "image.sif\n"


HOSTILE = (
    ('image = "base.sif"', 'image = "../other.sif"', "container.image: the lock has '../other.sif', and the spec 'base.sif'"),
    ("\nimports = ", '\nbind = ["/:/host"]\nimports = ', "container.bind: the lock has ('/:/host',), and the spec ()"),
    ("\nimports = ", '\npass = ["LD_PRELOAD"]\nimports = ', "container.pass: the lock has ('LD_PRELOAD',), and the spec ()"),
    ("\nimports = ", '\ngenerated = ["Bootstrap: docker"]\nimports = ', "generated: and `from` are given together"),
    ('\nsha256 = "', '\nsha256 = "0; rm -rf /', "is not a sha256 digest"),
    ("\ntool = ", "\nextra = 1\ntool = ", "unknown key"),
)


def test_a_section_with_what_the_spec_does_not_ask_for_is_refused(plain: OrdinaryProject) -> None:
    plain.spec('imports = ["json"]\n\n[container]\nimage = "base.sif"\n')
    plain.done("lock")
    text = plain.lock().read_text()
    for old, new, said in HOSTILE:
        assert text.count(old) == 1
        plain.lock().write_text(text.replace(old, new))
        for words in (("run", "work", "--", "true"), ("build",)):
            done = plain.ozrepro(*words)
            assert done.returncode == 3, (new, done.stderr)
            assert said in done.stderr
