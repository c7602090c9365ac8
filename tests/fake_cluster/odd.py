"""The odd tree: every modulefile that a careful reader must survive. What would run is `touch "$HOME/executed"`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fake_cluster.modulefiles import quote, write

if TYPE_CHECKING:
    from pathlib import Path

_RUN = 'touch "$HOME/executed"'
VALUES = {
    "ODD_NEWLINE": "one\ntwo\n",
    "ODD_TAB": "a\tb",
    "ODD_CR": "a\rb\r\nc",
    "ODD_ESC": "\x1b[31mred\x1b[0m",
    "ODD_CONTROL": "\x01\x07\x08\x0b\x0c\x7f1",
    "ODD_DIGITS": "\t1\r23\x1b456",
    "ODD_QUOTES": 'it\'s "quoted"',
    "ODD_BACKSLASH": "C:\\new\\table\\9\\",
    "ODD_DOLLAR": f"$({_RUN}) ${{HOME}} $PATH",
    "ODD_BACKTICK": f"`{_RUN}`",
    "ODD_SHELL": f"a; {_RUN} & b | c > d < e !! ~ * ? [x] {{y}} #",
    "ODD_UNICODE": "Ωμέγα naïve 星 \U0001f52d",
    "ODD_EMPTY": "",
    "ODD_SPACES": "  two  ",
    "ODD_PERCENT": "100% %q %s",
    "ODD_COLON": "/a:/b:",
    "ODD_FORGED": f'x";\nos.environ["FORGED"] = "yes";\n_mlstatus = False;\n{_RUN}\n#',
}
BYTES = "\udcff\udcfe latin-1 \udce9"  # not UTF-8, as the os module decodes it
HOSTILE = [
    _RUN,
    'import os; os.environ["FORGED"] = "stdout";',
    'os.environ["FORGED"] = "stdout";',
    "_mlstatus = False",
    "export FORGED=stdout;",
    '{"a brace": [1, 2}',
]
HARMLESS = (
    "append", "base-lib", "clock", "concealed", "conda-like", "deps-first", "friend", "home", "host", "job", "library-path", "odd-bytes",
    "odd-values", "order-inner", "path-first", "remove", "shy", "sourced", "sticky", "unset", "wrapped",
)  # fmt: skip


def make(prefix: Path) -> dict[str, str]:
    """Write the odd tree and its overlay, and return the names of what is in them."""
    tree = prefix / "modulefiles"
    for name, lines in {**_values(), **_refusing(), **_dynamic(), **_shell(prefix), **_paths()}.items():
        write(tree, name, lines)
    (tree / "concealed" / ".modulerc.lua").write_text('hide_version("concealed/1.0")\n', encoding="utf-8")
    write(
        prefix / "overlay",
        "wrapped/1.0",
        ["inherit()", 'setenv("WRAPPED_BY", "the overlay")', 'prepend_path("WRAPPED_PATH", "/overlay")'],
    )
    script = prefix / "software" / "sourced" / "env.sh"
    script.parent.mkdir(parents=True)
    script.write_text('export SOURCED_VALUE="as installed"\nexport PATH="/sourced/bin:$PATH"\n', encoding="utf-8")
    found = sorted(str(path.relative_to(tree))[: -len(".lua")] for path in tree.glob("*/*.lua") if path.name != ".modulerc.lua")
    return {(name.split("/")[0] if name.endswith("1.0") else name): name for name in found}


def _values() -> dict[str, list[str]]:
    """Values that break whoever runs what Lmod prints, and modulefiles that print by themselves."""
    lines = [f"setenv({quote(name)}, {quote(value)})" for name, value in VALUES.items()]
    lines += [f"prepend_path({quote('ODD_LIST')}, {quote(item)})" for item in ("/a b", "/it's", "/\t`x`", "/Ω")]
    noisy = ["io.stdout:write('Welcome to noisy\\n')", "print('have a nice day')", "io.stderr:write('noisy: a note\\n')"]
    hostile = [f"io.stdout:write({quote(line)}, '\\n')" for line in HOSTILE]
    return {
        "odd-values/1.0": lines,
        "odd-bytes/1.0": [f"setenv('ODD_BYTES', {quote(BYTES)})"],
        "noisy/1.0": [*noisy, 'setenv("NOISY", "1")', "LmodMessage('noisy: hello')"],
        # In an index run, io.stdout is not there but print is: this reaches the reader of spider's JSON.
        "noisy/3.0": ["print('{\"forged\": {}}')", "print('{ not even JSON')", 'setenv("NOISY", "3")'],
        "noisy/2.0": [*hostile, 'setenv("NOISY", "2")', "io.stdout:write('no newline at the end')"],
    }


def _refusing() -> dict[str, list[str]]:
    """Modules that cannot be loaded, or not together, or not seen, or not taken away."""
    return {
        "failing/1.0": ['setenv("FAILING", "1")', "LmodError('failing: the licence server is away')"],
        "broken/1.0": ['setenv("BROKEN", "1"', "this is not Lua"],
        "conflicting/1.0": ['conflict("friend")', 'setenv("CONFLICTING", "1")'],
        "friend/1.0": ['setenv("FRIEND", "1")'],
        "needy/1.0": ['prereq("base-lib/1.0")', 'setenv("NEEDY", "1")'],
        "base-lib/1.0": ['setenv("BASE_LIB", "1")'],
        "dangling/1.0": ['depends_on("not-there/1.0")'],
        "shy/.1.0": ['setenv("SHY", "1")'],
        "concealed/1.0": ['setenv("CONCEALED", "1")'],
        "sticky/1.0": ['add_property("lmod", "sticky")', 'setenv("STICKY", "1")'],
    }


def _dynamic() -> dict[str, list[str]]:
    """Values that depend on who loads, where and when. Two loads in one second agree on the second clock."""
    return {
        "home/1.0": ['local home = os.getenv("HOME") or "/nowhere"', 'setenv("CACHE_FOLDER", pathJoin(home, ".cache/tool"))'],
        "clock/1.0": ["setenv(\"LOADED_AT\", capture(\"date +%s.%N\"):gsub('%s', ''))"],
        "clock/2.0": ['setenv("LOADED_AT", tostring(os.time()))'],
        "host/1.0": ["setenv(\"LOADED_ON\", capture(\"uname -n\"):gsub('%s', ''))"],
        "job/1.0": ['setenv("SCRATCH", "/scratch/" .. (os.getenv("SLURM_JOB_ID") or "login"))'],
    }


def _shell(prefix: Path) -> dict[str, list[str]]:
    """Give what only a shell can hold, and values that come from a script beside the modulefile."""
    return {
        "conda-like/1.0": [
            "set_shell_function('greet', 'echo \"hello $1\"', 'echo hello')",
            "set_alias('ll', 'ls -l')",
            'execute{cmd="ulimit -c 0", modeA={"load"}}',
            'setenv("CONDA_LIKE", "1")',
        ],
        "sourced/1.0": [f'source_sh("bash", "{prefix / "software" / "sourced" / "env.sh"}")'],
    }


def _paths() -> dict[str, list[str]]:
    """Give the ways to change a variable, and the order in which a dependency's change comes."""
    return {
        "append/1.0": ['append_path("PYTHONPATH", "/append/lib")', 'append_path("APPENDED", "/last")'],
        "remove/1.0": ['remove_path("PATH", "/usr/local/bin")', 'remove_path("ABSENT_PATH", "/x")'],
        "unset/1.0": ['unsetenv("CC")', 'unsetenv("NEVER_SET")', 'pushenv("CXX", "g++-site")'],
        "library-path/1.0": ['setenv("LD_LIBRARY_PATH", "/library-path/lib:/library-path/lib64")'],
        "order-inner/1.0": ['prepend_path("ORDER_PATH", "/inner")'],
        "path-first/1.0": ['prepend_path("ORDER_PATH", "/outer")', 'depends_on("order-inner/1.0")'],
        "deps-first/1.0": ['depends_on("order-inner/1.0")', 'prepend_path("ORDER_PATH", "/outer")'],
        "wrapped/1.0": ['setenv("WRAPPED", "1")', 'prepend_path("WRAPPED_PATH", "/wrapped")'],
    }
