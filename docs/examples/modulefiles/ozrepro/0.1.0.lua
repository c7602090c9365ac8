-- ozrepro for everybody on a cluster. Installed as PLACE/share/ozrepro/modulefiles/ozrepro/VERSION.lua; PLACE is found from there.
help([[
ozrepro runs named Python sessions from locks: modules, conda, containers or a plain virtual environment.
First commands, in the folder of a project:  ozrepro init   then   nox -s analysis
]])
whatis("Name: ozrepro")
whatis("Description: Named, locked Python sessions for supercomputers")
conflict("ozrepro")

local place = myFileName()
for _ = 1, 5 do
    place = place:match("^(.*)/[^/]*$")
end
-- Of its environment only ozrepro and nox: its Python must not hide the user's.
prepend_path("PATH", pathJoin(place, "commands"))
